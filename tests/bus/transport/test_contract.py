"""One suite, two transports: what holds in memory holds on real Kafka."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bus.ports import Consumer
from bus.testing import TransportContract, memory_cluster
from bus.transport.kafka import KafkaTransport
from bus.transport.memory import MemoryCluster, MemoryConsumer


@pytest.fixture
def name(fresh: Callable[[str], str]) -> str:
    return f"{fresh('t')}.case.tested.v1"


class TestMemory(TransportContract):
    @pytest.fixture
    def transport(self) -> MemoryCluster:
        return memory_cluster()

    def silence(self, consumer: Consumer) -> None:
        assert isinstance(consumer, MemoryConsumer)
        consumer.evict()


@pytest.mark.kafka
class TestKafka(TransportContract):
    @pytest.fixture
    def transport(self, kafka: str) -> KafkaTransport:
        return KafkaTransport(bootstrap=kafka, deadline_s=10, session_timeout_ms=6_000, max_poll_interval_ms=3_000)

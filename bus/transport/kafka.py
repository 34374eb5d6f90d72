"""Makes the four Kafka ports for one cluster from its address; the `Transport` of real life.

Made by `bus.core.transport_of`. Heavy clients are imported where a port is made, so `agencybus --help` stays quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bus.transport.durability import refuse_weak_cluster
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_consumer import KafkaConsumer
from bus.transport.kafka_producer import KafkaProducer
from bus.transport.kafka_reader import KafkaReader


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTransport:
    """The cluster's address and the times that hold for its clients.

    Args:
        bootstrap: ``host:port``, several joined by commas.
        deadline_s: longest wait of one append, in seconds.
        session_timeout_ms: silence after which a group gives a member's partitions away.
        max_poll_interval_ms: longest time between two polls of a member.
        client_id: shown in the broker's logs and quotas.
    """

    bootstrap: str
    deadline_s: float = 30.0
    session_timeout_ms: int = 10_000
    max_poll_interval_ms: int = 300_000
    client_id: str = "agencybus"

    def producer(self) -> KafkaProducer:
        """A producer, not yet started."""
        return KafkaProducer(self.bootstrap, deadline_s=self.deadline_s, client_id=self.client_id)

    def consumer(self, topics: Sequence[str], *, group: str) -> KafkaConsumer:
        """A member of `group` reading `topics`. Raises Refused when they or the brokers may lose records."""
        refuse_weak_cluster(self.bootstrap, topics, session_timeout_ms=self.session_timeout_ms)
        return KafkaConsumer(
            self.bootstrap,
            topics,
            group=group,
            session_timeout_ms=self.session_timeout_ms,
            max_poll_interval_ms=self.max_poll_interval_ms,
            client_id=self.client_id,
        )

    def reader(self) -> KafkaReader:
        """A reader by position."""
        return KafkaReader(self.bootstrap, client_id=self.client_id)

    def admin(self) -> KafkaAdmin:
        """An administrator of topics and groups."""
        return KafkaAdmin(self.bootstrap, client_id=self.client_id)

"""The seams: both transports offer exactly what the ports ask for, with the same words."""

from __future__ import annotations

import inspect

import pytest

from bus import ports
from bus.ports import TopicState
from bus.transport import kafka, kafka_admin, kafka_consumer, kafka_producer, kafka_reader, memory

PAIRS = [
    (ports.Transport, memory.MemoryCluster, kafka.KafkaTransport),
    (ports.Producer, memory.MemoryProducer, kafka_producer.KafkaProducer),
    (ports.Consumer, memory.MemoryConsumer, kafka_consumer.KafkaConsumer),
    (ports.Reader, memory.MemoryReader, kafka_reader.KafkaReader),
    (ports.Admin, memory.MemoryAdmin, kafka_admin.KafkaAdmin),
]


def methods(kind: type) -> dict[str, list[tuple[str, object]]]:
    """Public methods with the names and kinds of their parameters."""
    found = inspect.getmembers(kind, inspect.isfunction)
    return {
        name: [(p.name, p.kind) for p in inspect.signature(method).parameters.values()]
        for name, method in found
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("port", "in_memory", "on_kafka"), PAIRS, ids=[pair[0].__name__ for pair in PAIRS])
def test_both_transports_offer_each_port_with_the_same_parameters(port: type, in_memory: type, on_kafka: type) -> None:
    for implementation in (in_memory, on_kafka):
        offered = methods(implementation)
        assert {name: offered.get(name) for name in methods(port)} == methods(port)


@pytest.mark.parametrize(("port", "on_kafka"), [(pair[0], pair[2]) for pair in PAIRS[1:]])
def test_kafka_s_clients_have_nothing_a_test_in_memory_could_not_reach(port: type, on_kafka: type) -> None:
    assert set(methods(on_kafka)) == set(methods(port))


def test_a_topic_s_state_compares_by_what_it_says() -> None:
    assert TopicState("t", 3, 1) == TopicState("t", 3, 1, {})
    assert TopicState("t", 3, 1, {"retention.ms": "1"}) != TopicState("t", 3, 1)

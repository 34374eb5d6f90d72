"""The Kafka reader where a log has holes, and where a partition has another leader than the client knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bus.message import Partition
from bus.ports import TopicState
from bus.transport.kafka import KafkaTransport
from bus.transport.kafka_reader import KafkaReader


@pytest.mark.kafka
async def test_aborted_records_and_markers_are_passed_over_and_the_read_ends(
    kafka: str, fresh: Callable[[str], str]
) -> None:
    import aiokafka

    name = f"{fresh('t')}.case.tested.v1"
    transport = KafkaTransport(bootstrap=kafka)
    admin = transport.admin()
    admin.create(TopicState(name, 1, 1))
    admin.close()
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name)
    await producer.start()
    for value, keep in ((b"kept", True), (b"aborted", False)):
        await producer.begin_transaction()
        await producer.send_and_wait(name, value, partition=0)
        await (producer.commit_transaction() if keep else producer.abort_transaction())
    await producer.stop()
    place = Partition(name, 0)
    reader = transport.reader()
    assert reader.bounds([place]) == {place: (0, 4)}
    assert [r.value for r in reader.read(place, 0, 4)] == [b"kept"]
    assert list(reader.read(place, 1, 4)) == []
    reader.close()


@pytest.mark.kafka
def test_where_a_partition_starts_and_ends_is_asked_of_who_leads_it_now(
    kafka: str, fresh: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kafka-python goes on asking a former leader, and looks who leads only after five minutes."""
    place = Partition(f"{fresh('t')}.case.tested.v1", 0)
    transport = KafkaTransport(bootstrap=kafka)
    admin = transport.admin()
    admin.create(TopicState(place.topic, 1, 1))
    admin.close()
    reader = KafkaReader(kafka)
    consumer = reader._consumer
    look, ask = consumer._cluster.request_update, consumer._fetcher._send_list_offsets_requests
    looked: list[bool] = []

    def looks() -> Any:
        looked.append(True)
        return look()

    async def asks(timestamps: dict[Any, Any]) -> Any:
        return await ask(timestamps) if looked else ({}, set(timestamps))  # "not the leader", of each of them

    monkeypatch.setattr(consumer._cluster, "request_update", looks)
    monkeypatch.setattr(consumer._fetcher, "_send_list_offsets_requests", asks)
    assert reader.bounds([place]) == {place: (0, 0)}
    looked.clear()
    assert reader.at_time([place], 0) == {place: 0}
    reader.close()

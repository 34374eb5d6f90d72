"""The Kafka reader where a log has holes: an aborted transaction and the markers that end one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bus.message import Partition
from bus.ports import TopicState
from bus.transport.kafka import KafkaTransport


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

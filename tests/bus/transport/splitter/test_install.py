"""The splitter is in both clients before their first consumer is built, and works on a real broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bus.errors import Refused
from bus.message import Partition, Unreadable
from bus.ports import TopicState
from bus.transport.kafka import KafkaTransport
from bus.transport.splitter import aiokafka_records, codecs, install, kafka_python_records, split
from tests.bus.transport.splitter.encoder import batch, good, record
from tests.bus.transport.splitter.raw_produce import produce


def evil() -> list[bytes]:
    """What a broker stores and stock clients stop at, between good batches; offsets 0 to 10."""
    return [
        good(2),
        batch([record(0, value=b"a"), record(1, headers=[(b"\xff", b"x")]), record(2, value=b"c")]),
        batch([record(0, value=b"a"), record(1, value=b"b", length=3), record(2, value=b"c")], codec="gzip"),
        batch([record(0, value=bytes(64 << 20))], codec="zstd"),
        good(2, prefix="end"),
    ]


EXPECTED = [b"g0", b"g1", b"a", "header-key", b"c", b"a", "record-length", b"c", "bomb", b"end0", b"end1"]


def told(rows: list[Any]) -> list[object]:
    assert [row.offset for row in rows] == list(range(len(rows)))
    return [str(row.value.reason) if isinstance(row.value, Unreadable) else row.value for row in rows]


@pytest.fixture
def uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process whose first consumer is still to be built."""
    from aiokafka.consumer import fetcher as aio
    from kafka.consumer import fetcher, group

    monkeypatch.setattr(install, "_installed", set())
    for owner, name in (
        (aio, "MemoryRecords"), (aio, "PartitionRecords"), (aio, "FetchResult"), (fetcher, "MemoryRecords"),
        (group, "Fetcher"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, type(name, (), {"PartitionRecords": None, "_parse_fetched_data": None}))


@pytest.mark.usefixtures("uninstalled")
def test_both_clients_read_through_the_splitter_from_the_first_call_on() -> None:
    from aiokafka.consumer import fetcher as aio
    from kafka.consumer import fetcher, group

    for _ in range(2):
        install.into_aiokafka()
        install.into_kafka_python()
    assert aio.MemoryRecords is split.Batches
    assert aio.PartitionRecords is aiokafka_records.SplitPartitionRecords
    assert aio.FetchResult is aiokafka_records.SplitFetchResult
    assert fetcher.MemoryRecords is kafka_python_records.SizedBatches
    assert group.Fetcher is kafka_python_records.SplitFetcher


@pytest.mark.usefixtures("uninstalled")
def test_a_release_that_reads_by_other_names_is_refused_instead_of_left_unguarded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from aiokafka.consumer import fetcher as aio
    from kafka.consumer import fetcher

    monkeypatch.delattr(aio, "FetchResult")
    with pytest.raises(Refused, match=r"fetcher\.FetchResult"):
        install.into_aiokafka()
    monkeypatch.delattr(fetcher, "MemoryRecords")
    with pytest.raises(Refused, match=r"fetcher\.MemoryRecords"):
        install.into_kafka_python()


@pytest.mark.usefixtures("uninstalled")
@pytest.mark.parametrize("into", [install.into_aiokafka, install.into_kafka_python])
def test_without_a_codec_no_consumer_is_built(into: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(codecs._DECODERS, codecs.ZSTD)
    with pytest.raises(Refused, match="zstd does not decode"):
        into()


@pytest.fixture
async def topic(kafka: str, fresh: Callable[[str], str]) -> str:
    name = f"{fresh('t')}.case.tested.v1"
    admin = KafkaTransport(bootstrap=kafka).admin()
    admin.create(TopicState(name, 1, 1))
    admin.close()
    await produce(kafka, name, evil())
    return name


@pytest.mark.kafka
@pytest.mark.parametrize("one_by_one", [False, True])
async def test_aiokafka_goes_past_evil_batches_and_delivers_every_good_record(
    kafka: str, topic: str, one_by_one: bool
) -> None:
    import aiokafka

    install.into_aiokafka()
    consumer = aiokafka.AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        found: list[Any] = []
        while len(found) < len(EXPECTED):
            if one_by_one:
                found.append(await consumer.getone())
            else:
                found += [row for rows in (await consumer.getmany(timeout_ms=5_000)).values() for row in rows]
        assert told(found) == EXPECTED
        assert await consumer.position(aiokafka.TopicPartition(topic, 0)) == len(EXPECTED)
    finally:
        await consumer.stop()


@pytest.mark.kafka
async def test_our_consumer_and_our_reader_go_past_evil_batches(
    kafka: str, topic: str, fresh: Callable[[str], str]
) -> None:
    transport = KafkaTransport(bootstrap=kafka)
    consumer = transport.consumer([topic], group=fresh("g"))
    by_offset: dict[int, Any] = {}  # a member may be moved before it has committed, and read again
    while len(by_offset) < len(EXPECTED):
        by_offset |= {row.offset: row for row in consumer.poll(max_records=3, timeout=5)}
    consumer.commit({Partition(topic, 0): len(EXPECTED)})
    consumer.close()
    assert told([by_offset[offset] for offset in sorted(by_offset)]) == EXPECTED
    reader = transport.reader()
    place = Partition(topic, 0)
    assert told(list(reader.read(place, *reader.bounds([place])[place]))) == EXPECTED
    reader.close()

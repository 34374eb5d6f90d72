"""Reads a log through the real record readers of both clients, guarded or stock, without a broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher as aio
from aiokafka.record.memory_records import MemoryRecords as AioMemoryRecords
from aiokafka.structs import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords as PythonMemoryRecords

from bus.transport.splitter import aiokafka_records, kafka_python_records, split
from bus.transport.splitter.sightings import Sightings
from tests.bus.transport.splitter.encoder import Log

_PLACE = TopicPartition("t", 0)
_StockPartitionRecords = aio.PartitionRecords
if _StockPartitionRecords is aiokafka_records.SplitPartitionRecords:  # another test has installed the splitter
    _StockPartitionRecords = aiokafka_records.SplitPartitionRecords.__bases__[0]


class Aborted(NamedTuple):
    """A transaction that was given up, as kafka-python names it; aiokafka takes it as a pair."""

    producer_id: int
    first_offset: int


class Read(NamedTuple):
    """What one fetch gave: records, and where the next one begins."""

    records: list[Any]
    position: int


Reader = Callable[..., Read]


def aiokafka_guarded(data: bytes, position: int, *, limit: int | None = None, aborted: Sequence[Aborted] = ()) -> Read:
    records = split.Batches(data)
    if not records.has_next():
        assert records.size_in_bytes() == 0  # else aiokafka would skip an offset
        return Read([], position)
    part = aiokafka_records.SplitPartitionRecords(_PLACE, records, list(aborted), position, None, None, True, 1)
    records.bound(limit)
    return Read(list(part), part.next_fetch_offset)


def aiokafka_stock(data: bytes, position: int, *, limit: int | None = None, aborted: Sequence[Aborted] = ()) -> Read:
    part = _StockPartitionRecords(_PLACE, AioMemoryRecords(data), list(aborted), position, None, None, True, 1)
    return Read(list(part), part.next_fetch_offset)


def kafka_python_guarded(
    data: bytes, position: int, *, limit: int | None = None, aborted: Sequence[Aborted] = ()
) -> Read:
    records = kafka_python_records.SizedBatches(data)
    part = kafka_python_records.SplitPartitionRecords(
        position, _PLACE, records, limit=limit, isolation_level=IsolationLevel.READ_COMMITTED,
        aborted_transactions=list(aborted),
    )  # fmt: skip
    if not records.has_next() and records.size_in_bytes() > 0:
        raise AssertionError("kafka-python would raise")
    found = part.take() if bool(part) else []
    return Read(found, part.next_fetch_offset)


def kafka_python_stock(
    data: bytes, position: int, *, limit: int | None = None, aborted: Sequence[Aborted] = ()
) -> Read:
    part = Fetcher.PartitionRecords(
        position, _PLACE, PythonMemoryRecords(data), isolation_level=IsolationLevel.READ_COMMITTED,
        aborted_transactions=list(aborted),
    )  # fmt: skip
    return Read(part.take(), part.next_fetch_offset)


GUARDED: dict[str, Reader] = {"aiokafka": aiokafka_guarded, "kafka-python": kafka_python_guarded}
STOCK: dict[str, Reader] = {"aiokafka": aiokafka_stock, "kafka-python": kafka_python_stock}


def read_all(reader: Reader, log: Log, *, start: int = 0, aborted: Sequence[Aborted] = ()) -> list[Any]:
    """Everything in the log from `start` on, as a consumer fetches it. Fails when it stands still."""
    split.Batches.sightings = Sightings()
    found: list[Any] = []
    position = start
    still = 0
    while position < log.end:
        read = reader(log.fetch(position), position, limit=log.end, aborted=aborted)
        assert read.position >= position, "the position went back"
        assert read.position <= log.end, "the position went beyond the log"
        still = 0 if read.position > position else still + 1
        assert still < 5, "the reader stands still"
        found += read.records
        position = read.position
    return found

"""aiokafka's own classes tell the splitter where it stands; the stock ones stop where it goes on."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import pytest
from aiokafka.structs import ConsumerRecord, TopicPartition

from bus.transport.splitter import split
from bus.transport.splitter.aiokafka_records import SplitFetchResult, SplitPartitionRecords
from bus.transport.splitter.sightings import Sightings
from tests.bus.transport.splitter.encoder import batch, good, record
from tests.bus.transport.splitter.readers import aiokafka_stock

PLACE = TopicPartition("t", 4)


class Assignment:
    """A partition at `position` whose log ends at `highwater`."""

    active = True

    def __init__(self, position: int, highwater: int) -> None:
        self.state = SimpleNamespace(position=position, highwater=highwater, paused=False, consumed_to=self.move)

    def move(self, position: int) -> None:
        self.state.position = position

    def state_value(self, tp: TopicPartition) -> SimpleNamespace:
        assert tp == PLACE
        return self.state


def fetched(data: bytes, assignment: Assignment) -> SplitFetchResult:
    records = split.Batches(data)
    part = SplitPartitionRecords(PLACE, records, None, assignment.state.position, None, None, True, 1)
    return SplitFetchResult(PLACE, assignment=assignment, partition_records=part, backoff=0.0)


def test_a_record_says_all_that_aiokafka_s_own_would() -> None:
    records = split.Batches(data := batch([record(0, headers=[(b"h", b"1")]), record(1, key=None, value=None)]))
    ours = list(SplitPartitionRecords(PLACE, records, None, 0, None, None, True, 1))
    stock = aiokafka_stock(data, 0).records
    for name in [f.name for f in fields(ConsumerRecord)]:
        if name not in {"topic", "partition"}:  # the other reader has a place of its own
            assert [getattr(row, name) for row in ours] == [getattr(row, name) for row in stock], name
    assert {(row.topic, row.partition) for row in ours} == {PLACE}


def test_who_asked_aiokafka_to_read_values_gets_them_read() -> None:
    records = split.Batches(good(1))
    (row,) = SplitPartitionRecords(PLACE, records, None, 0, None, bytes.upper, True, 1)
    assert (type(row), row.value) == (ConsumerRecord, b"G0")


def test_the_log_s_end_bounds_what_a_batch_may_claim() -> None:
    split.Batches.sightings = Sightings()
    for _ in range(2):
        assignment = Assignment(0, 3)
        assert fetched(good(3, base=10**12), assignment).getall() == []
        assert assignment.state.position == 0
    (lost,) = fetched(good(3, base=10**12), assignment).getall()
    assert (lost.value.reason, assignment.state.position) == ("base-offset", 1)


def test_a_unit_may_end_in_the_middle_of_a_batch_and_go_on_there() -> None:
    assignment = Assignment(0, 5)
    result = fetched(good(5), assignment)
    assert [row.value for row in result.getall(2)] == [b"g0", b"g1"]
    assert assignment.state.position == 2
    assert result.getone().value == b"g2"
    assert [row.value for row in result.getall()] == [b"g3", b"g4"]
    assert (assignment.state.position, result.has_more()) == (5, False)


def test_the_partition_is_named_in_what_is_remembered() -> None:
    split.Batches.sightings = Sightings()
    fetched(batch([record(0)], base=7, flip_checksum=True), Assignment(7, 9)).getall()
    assert list(split.Batches.sightings._seen) == [("t", 4, 7)]


def test_the_stock_client_raises_for_ever_at_the_same_place() -> None:
    data = good(3) + batch([record(0, headers=[(b"\xff", b"")])], base=3)
    for _ in range(3):
        with pytest.raises(UnicodeDecodeError):
            aiokafka_stock(data, 0)

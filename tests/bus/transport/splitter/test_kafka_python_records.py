"""kafka-python's own classes tell the splitter where it stands; the stock ones spin where it goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.record import MemoryRecords

from bus.transport.splitter import split
from bus.transport.splitter.kafka_python_records import SizedBatches, SplitFetcher, SplitPartitionRecords
from bus.transport.splitter.sightings import Sightings
from tests.bus.transport.splitter.encoder import batch, good, record

PLACE = TopicPartition("t", 0)
EVIL = good(3) + batch([record(0, headers=[(b"\xff", b"")])], base=3)


def test_a_part_that_dies_is_drained_so_that_a_poll_raises_once_and_fetches_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part = SplitPartitionRecords(0, PLACE, SizedBatches(good(3)))

    def broken(_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(split.Batches, "next_batch", broken)
    with pytest.raises(ZeroDivisionError):
        part.take()
    assert not bool(part)


def test_the_stock_part_is_left_undrained_with_nothing_to_give_which_a_poll_turns_on_for_ever() -> None:
    part = Fetcher.PartitionRecords(0, PLACE, MemoryRecords(EVIL))
    assert len(part.take()) == 3
    with pytest.raises(Exception, match="UnicodeDecodeError"):
        part.take()
    assert [part.take() for _ in range(5)] == [[]] * 5
    assert bool(part), "it says that there is more"


def test_records_have_what_the_client_adds_up() -> None:
    part = SplitPartitionRecords(0, PLACE, SizedBatches(EVIL))
    rows = part.take()
    assert [row.offset for row in rows] == [0, 1, 2, 3]
    assert rows[0].headers == [("ce_id", b"0")]
    assert (part.leader_epoch, part.next_fetch_offset, bool(part)) == (5, 4, False)


def test_the_log_s_end_reaches_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    split.Batches.sightings = Sightings()
    made: list[SplitPartitionRecords] = []

    def parse(self: Any, fetch: Any) -> None:
        made.append(self.PartitionRecords(0, PLACE, SizedBatches(good(3, base=10**12))))

    monkeypatch.setattr(Fetcher, "_parse_fetched_data", parse)
    fetcher = SplitFetcher.__new__(SplitFetcher)
    for _ in range(3):
        fetcher._parse_fetched_data(SimpleNamespace(partition_data=SimpleNamespace(high_watermark=3)))
    assert [part.take() for part in made[:2]] == [[], []]
    (lost,) = made[2].take()
    assert (lost.value.reason, made[2].next_fetch_offset) == ("base-offset", 1)


@pytest.mark.parametrize(("key", "abort"), [(b"\0\0\0\0", True), (b"\0\0\0\1", False), (b"\0\0\0\0\0", True)])
def test_a_marker_says_whether_it_gives_up(key: bytes, abort: bool) -> None:
    batches = SizedBatches(batch([record(0, key=key)], attributes=0x30, producer=(7, 0, -1)))
    batches.place("t", 0, 0)
    found = batches.next_batch()
    assert found is not None
    assert next(found).abort is abort

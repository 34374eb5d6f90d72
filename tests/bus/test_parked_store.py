"""The rows of parked entries in memory are what the topic says, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bus.errors import Refused, Unreachable
from bus.message import Outgoing, Partition, Record
from bus.middleware.parking import Entry, entry_key
from bus.parked_store import ParkedStore
from bus.ports import Reader
from bus.testing import START, memory_cluster
from bus.transport.memory import MemoryCluster, MemoryReader
from tests.bus.delivery import GROUP, Rows, command, parked, parked_rows, redrive
from tests.bus.support import TOPIC
from tests.bus.test_parking import FAILURE

OTHER = "justice.note.written.v1"
ONE, TWO = Partition(TOPIC, 0), Partition(TOPIC, 1)
TOPIC_OF_PARKED = f"{GROUP}.parked"


def entry(offset: int = 3, *, place: Partition = ONE, key: bytes = b"c") -> Entry:
    return Entry(record=Record(place.topic, place.number, offset, 0, key, b"v", ()), failure=FAILURE)


class Breaking(Rows):
    """Rows whose reading breaks off after so many."""

    after = 9

    def reader(self) -> Reader:
        rows = self

        class Breaks(MemoryReader):
            def read(self, partition: Partition, start: int, end: int) -> Iterator[Record]:
                for count, record in enumerate(super().read(partition, start, end)):
                    if count == rows.after:
                        raise Unreachable("The leader is silent.")
                    yield record

        return Breaks(self.cluster)


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(TOPIC, OTHER, partitions=2)


def store(cluster: MemoryCluster, *owned: Partition, rows: Rows | None = None) -> ParkedStore:
    made = ParkedStore(GROUP, [TOPIC, OTHER], rows or Rows(cluster))
    made.own(frozenset(owned))
    return made


def test_the_topic_is_made_when_the_first_entry_is_parked_and_not_before(cluster: MemoryCluster) -> None:
    kept = store(cluster, ONE)
    kept.refresh()
    assert TOPIC_OF_PARKED not in cluster.topics
    kept.write([entry()])
    assert parked(cluster) == [entry()]
    assert kept.of(ONE).held(TOPIC, b"c"), "what is appended counts at once"


def test_an_entry_stands_on_the_partition_number_of_its_record(cluster: MemoryCluster) -> None:
    store(cluster, ONE, TWO).write([entry(place=TWO)])
    assert (parked(cluster, 0), parked(cluster, 1)) == ([], [entry(place=TWO)])


def test_a_new_owner_knows_what_was_parked_and_what_was_settled(cluster: MemoryCluster) -> None:
    first = store(cluster, ONE)
    first.write([entry(3), entry(4, key=b"d")])
    first.settle(entry(3))
    second = store(cluster, ONE)
    assert list(second.of(ONE)) == [entry(4, key=b"d")]
    assert (second.of(ONE).held(TOPIC, b"c"), second.of(ONE).held(TOPIC, b"d")) == (False, True)


def test_what_others_append_is_found_by_reading_on(cluster: MemoryCluster) -> None:
    kept = store(cluster, ONE, TWO)
    kept.write([entry()])
    command(cluster, "release")
    letter = replace(entry(9, place=TWO), due=START, action="7f", redrive=1)
    redrive(cluster, letter)
    assert kept.of(ONE).next(START) is None
    kept.refresh()
    assert kept.of(ONE).next(START) == entry()
    assert kept.of(TWO).next(START) == letter


def test_own_rows_read_back_in_the_order_of_the_log_give_the_same_state(cluster: MemoryCluster) -> None:
    kept = store(cluster, ONE)
    kept.write([entry()])
    command(cluster, "release")
    kept.write([entry()])  # it failed again: the release stands before it in the log
    kept.refresh()
    assert kept.of(ONE).next(START) is None
    assert [said.id for said in kept.of(ONE).spent()] == ["a1"]


def test_a_reading_that_breaks_off_leaves_the_state_as_it_was(cluster: MemoryCluster) -> None:
    rows = Breaking(cluster)
    kept = store(cluster, ONE, rows=rows)
    kept.write([entry()])
    kept.settle(entry())
    rows.after = 1
    with pytest.raises(Unreachable):
        kept.refresh()
    assert list(kept.of(ONE)) == [], "what was settled does not stand again"
    rows.after = 9
    kept.refresh()
    assert list(kept.of(ONE)) == []


def test_a_topic_that_somebody_else_makes_is_found_within_a_few_looks(cluster: MemoryCluster) -> None:
    kept = store(cluster, ONE)
    Rows(cluster).make()
    redrive(cluster, replace(entry(), due=START, action="7f"))
    for _ in range(5):
        kept.refresh()
    assert len(kept.of(ONE)) == 1


def test_partitions_that_stay_go_on_and_new_ones_are_read_from_the_start(cluster: MemoryCluster) -> None:
    other = store(cluster, ONE, TWO)
    other.write([entry()])
    other.write([entry(place=TWO)])
    kept = store(cluster, ONE)
    other.write([entry(5)])
    kept.own(frozenset([ONE, TWO]))
    assert [e.record.offset for e in kept.of(ONE)] == [3, 5]
    assert list(kept.of(TWO)) == [entry(place=TWO)]
    kept.own(frozenset([TWO]))
    with pytest.raises(KeyError):
        kept.of(ONE)


def test_a_second_topic_of_the_same_number_is_read_from_the_start_too(cluster: MemoryCluster) -> None:
    place = Partition(OTHER, 0)
    store(cluster, ONE, place).write([entry(place=place)])
    kept = store(cluster, ONE)
    kept.own(frozenset([ONE, place]))
    assert list(kept.of(place)) == [entry(place=place)]
    assert list(kept.of(ONE)) == []


def test_while_the_topic_cannot_be_read_nothing_is_known(cluster: MemoryCluster) -> None:
    rows = Rows(cluster)
    store(cluster, ONE).write([entry()])
    rows.reads_away = True
    kept = ParkedStore(GROUP, [TOPIC], rows)
    with pytest.raises(Unreachable):
        kept.own(frozenset([ONE]))
    rows.reads_away = False
    kept.own(frozenset([ONE]))
    assert kept.of(ONE).held(TOPIC, b"c")


def test_what_could_not_be_stored_does_not_count(cluster: MemoryCluster) -> None:
    rows = Rows(cluster, away=lambda place: True)
    kept = store(cluster, ONE, rows=rows)
    with pytest.raises(Unreachable):
        kept.write([entry()])
    assert not kept.of(ONE).held(TOPIC, b"c")


def test_a_command_that_is_done_is_removed_by_the_owner_of_its_topic_alone(cluster: MemoryCluster) -> None:
    Rows(cluster).make()
    command(cluster, "release")
    elsewhere = store(cluster, Partition(OTHER, 0))
    elsewhere.tidy(Partition(OTHER, 0))
    assert parked_rows(cluster)[b"!a1"] is not None
    store(cluster, ONE).tidy(ONE)
    assert parked_rows(cluster)[b"!a1"] is None


def test_a_row_that_nobody_can_read_is_passed_over_with_an_alarm_and_one_of_a_newer_program_is_not(
    cluster: MemoryCluster, caplog: pytest.LogCaptureFixture
) -> None:
    Rows(cluster).make()
    place = Partition(TOPIC_OF_PARKED, 0)
    cluster.store(place, [Outgoing(entry_key(entry()), b"junk\xff"), Outgoing(None, b"x"), Outgoing(b"!x", b"\x00")])
    redrive(cluster, entry(4))
    assert len(store(cluster, ONE).of(ONE)) == 1
    assert "passed over" in caplog.text
    cluster.store(place, [Outgoing(entry_key(entry()), b"\x1f")])
    with pytest.raises(Refused, match="newer version"):
        store(cluster, ONE)

"""Reading letters and their bytes: bounded chunks, whatever order is asked for, and foreign records named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bus.errors import UsageError
from bus.letter_desk import _CHUNK_BYTES, ACTIONS, _chunks, _runs
from bus.message import Outgoing, Partition, Record
from bus.middleware.dead_letter import dead_record
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from tests.bus.letters import DECODE, GROUP, TOPIC, desk_on, fill, make_topics
from tests.bus.test_letters import RECORD, letter


@pytest.fixture
def cluster() -> MemoryCluster:
    made = memory_cluster()
    make_topics(made)
    return made


def test_the_bytes_come_back_in_the_order_asked_for(cluster: MemoryCluster) -> None:
    records = {(one.partition, one.offset): one for one in fill(cluster, 50)}
    desk = desk_on(cluster)
    letters = list(desk.read([GROUP]).ledger.letters.values())
    mixed = [*letters[::-3], *letters[1::7]]
    found = list(desk.records(mixed))
    assert [one for one, _ in found] == mixed
    assert all(record == records[one.place.number, one.offset] for one, record in found)


def test_a_letter_whose_bytes_are_nowhere_has_no_record(cluster: MemoryCluster) -> None:
    gone = letter(structs.replace(_large(), topic="justice.gone.away.v1"), DECODE)
    beyond = letter(structs.replace(_large(), topic=TOPIC, partition=99), DECODE)
    late = letter(structs.replace(_large(), topic=TOPIC, partition=0), DECODE)
    assert [record for _, record in desk_on(cluster).records([gone, beyond, late])] == [None, None, None]


def test_another_record_at_the_place_of_one_that_is_gone_is_not_taken_for_it(cluster: MemoryCluster) -> None:
    fill(cluster, 1)
    (there,) = cluster.logs[Partition(TOPIC, 0)]
    left = structs.replace(_large(), topic=TOPIC, partition=0, offset=0, timestamp=there.timestamp)
    before = structs.replace(left, timestamp=there.timestamp - 1)  # its topic was deleted and made again
    found = desk_on(cluster).records([letter(left, DECODE), letter(before, DECODE)])
    assert [record for _, record in found] == [there, None]


def _large() -> Record:
    return structs.replace(RECORD, value=b"x" * 960_000)


def test_foreign_records_are_named_on_both_topics(cluster: MemoryCluster) -> None:
    fill(cluster, 3)
    cluster.store(Partition(f"{GROUP}.dead", 0), [Outgoing(b"k", b"v")])
    cluster.store(Partition(ACTIONS, 0), [Outgoing(b"k", b"v")])
    found = desk_on(cluster).read([GROUP])
    assert {one.place.topic for one in found.strays} == {f"{GROUP}.dead", ACTIONS}
    assert len(found.ledger.letters) == 3


def test_a_letter_that_a_crash_stored_twice_counts_once(cluster: MemoryCluster) -> None:
    (record, *_) = fill(cluster, 3)
    cluster.store(Partition(f"{GROUP}.dead", 0), [dead_record(record, DECODE, group=GROUP)])
    assert len(desk_on(cluster).read([GROUP]).ledger.letters) == 3


def test_groups_are_those_with_a_topic_of_dead_letters(cluster: MemoryCluster) -> None:
    make_topics(cluster, group="other")
    desk = desk_on(cluster)
    assert desk.groups() == [GROUP, "other"]
    assert desk.groups("other") == ["other"]
    with pytest.raises(UsageError, match="called otherwise"):
        desk.groups("nobody")


def test_without_the_topic_of_actions_every_letter_is_open(cluster: MemoryCluster) -> None:
    fill(cluster, 3)
    cluster.admin().delete(ACTIONS)
    assert desk_on(cluster).read([GROUP]).ledger.counts()["open"] == 3  # type: ignore[index]  # a StrEnum is its text


def test_a_long_read_is_told_of(cluster: MemoryCluster) -> None:
    fill(cluster, 5_001)
    said: list[str] = []
    desk_on(cluster, progress=said.append).read([GROUP])
    assert said == [f"Reading {GROUP}.dead: 5,000 of 5,001 records"]


def test_a_case_log_makes_a_group_a_workflow_s(cluster: MemoryCluster) -> None:
    make_topics(cluster, group="workflow.x", topic="workflow.x.cases")
    desk = desk_on(cluster)
    assert (desk.case_partitions("workflow.x"), desk.case_partitions(GROUP)) == (3, None)


@given(st.lists(st.integers(0, 9_000_000), max_size=30))
def test_a_chunk_holds_no_more_than_memory_shall(sizes: list[int]) -> None:
    letters = [replace(letter(), id=f"{n:016x}", size=size) for n, size in enumerate(sizes)]
    chunks = list(_chunks(letters))
    assert [one for chunk in chunks for one in chunk] == letters
    assert all(len(chunk) == 1 or sum(one.size for one in chunk) <= _CHUNK_BYTES for chunk in chunks)


@given(st.sets(st.tuples(st.sampled_from([Partition("a", 0), Partition("b", 1)]), st.integers(0, 5_000))))
def test_each_wanted_place_is_in_exactly_one_stretch(wanted: set[tuple[Partition, int]]) -> None:
    runs = list(_runs(sorted(wanted)))
    for place, offset in wanted:
        assert sum(there == place and start <= offset < end for there, start, end in runs) == 1
    assert sum(end - start for _, start, end in runs) <= 200 * len(wanted)

"""The merge: records of one case partition in time order, nothing lost, nothing taken while an older one may come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.unit import FULL, Fetched, Hole, Lane, Merge
from bus.message import Partition, Record

A, B = "a.x.y.v1", "b.x.y.v1"


def record(topic: str, offset: int, timestamp: int) -> Record:
    return Record(topic, 0, offset, timestamp, b"k", b"v", ())


def lane() -> Lane:
    return Lane({A: 0, B: 0})


def test_records_of_two_topics_come_in_time_order() -> None:
    it = lane()
    it.add(A, [record(A, 0, 10), record(A, 1, 30)], start=0, position=2, seen=99)
    it.add(B, [record(B, 0, 20)], start=0, position=1, seen=99)
    assert [r.timestamp for r in it.take(9, now=0, patience_ms=100)] == [10, 20, 30]


def test_a_topic_with_unread_records_is_waited_for_without_limit() -> None:
    it = lane()
    it.add(A, [record(A, 0, 10)], start=0, position=1, seen=None)
    it.add(B, [], start=0, position=0, seen=None)
    assert it.take(9, now=0, patience_ms=100) == []
    assert it.take(9, now=10_000, patience_ms=100) == []


def test_a_topic_read_to_its_end_before_the_record_was_written_is_asked_again_first() -> None:
    it = lane()
    it.add(B, [], start=0, position=0, seen=5)
    it.add(A, [record(A, 0, 10)], start=0, position=1, seen=11)
    assert it.take(9, now=0, patience_ms=100) == []
    it.add(B, [], start=0, position=0, seen=10)
    assert len(it.take(9, now=1, patience_ms=100)) == 1


def test_an_opening_is_taken_before_an_event_stamped_up_to_its_lead_earlier_and_no_more() -> None:
    it = Lane({A: 0, B: 0}, B, 100)
    it.add(A, [record(A, 0, 10), record(A, 1, 30)], start=0, position=2, seen=999)
    it.add(B, [record(B, 0, 109), record(B, 1, 131)], start=0, position=2, seen=999)
    assert [r.timestamp for r in it.take(9, now=0, patience_ms=100)] == [109, 10, 30, 131]


def test_an_opening_waits_for_other_topics_only_up_to_its_moment_less_the_lead() -> None:
    it = Lane({A: 0, B: 0}, B, 100)
    it.add(A, [], start=0, position=0, seen=8)
    it.add(B, [record(B, 0, 109)], start=0, position=1, seen=999)
    assert it.take(9, now=0, patience_ms=100) == []
    it.add(A, [], start=0, position=0, seen=9)
    assert len(it.take(9, now=0, patience_ms=100)) == 1


def test_clocks_that_differ_delay_by_the_patience_and_no_more() -> None:
    it = lane()
    it.add(B, [], start=0, position=0, seen=5)
    it.add(A, [record(A, 0, 10)], start=0, position=1, seen=5)
    assert it.take(9, now=1_000, patience_ms=100) == []
    assert it.take(9, now=1_099, patience_ms=100) == []
    assert len(it.take(9, now=1_100, patience_ms=100)) == 1


def test_a_fetch_that_does_not_continue_the_last_one_is_a_hole() -> None:
    it = lane()
    it.add(A, [record(A, 0, 10)], start=0, position=1, seen=None)
    with pytest.raises(Hole, match="expected 1"):
        it.add(A, [record(A, 5, 10)], start=5, position=6, seen=None)


def test_positions_follow_what_was_taken_and_pass_markers_at_the_end() -> None:
    it = lane()
    it.add(A, [record(A, 0, 10), record(A, 1, 20)], start=0, position=4, seen=99)
    it.add(B, [], start=0, position=7, seen=99)
    assert it.positions == {A: 0, B: 7}
    it.take(1, now=0, patience_ms=0)
    assert it.positions == {A: 1, B: 7}
    it.take(1, now=0, patience_ms=0)
    assert it.positions == {A: 4, B: 7}


def test_records_given_back_are_taken_again_in_the_same_order() -> None:
    it = lane()
    it.add(A, [record(A, 0, 10), record(A, 1, 30)], start=0, position=2, seen=99)
    it.add(B, [record(B, 0, 20)], start=0, position=1, seen=99)
    first = it.take(3, now=0, patience_ms=0)
    it.give_back(first)
    assert it.positions == {A: 0, B: 0}
    assert it.take(3, now=0, patience_ms=0) == first


def test_time_is_known_only_when_nothing_waits_and_all_is_read() -> None:
    it = lane()
    assert it.time() is None
    it.add(A, [], start=0, position=0, seen=50)
    assert it.time() is None
    it.add(B, [], start=0, position=0, seen=40)
    assert it.time() == 40
    it.add(A, [record(A, 0, 60)], start=0, position=1, seen=70)
    assert it.time() is None


def test_a_merge_drops_what_it_does_not_own_and_says_what_is_full() -> None:
    merge = Merge()
    merge.lanes[0] = lane()
    full = [record(A, n, n) for n in range(FULL)]
    a0, a1 = Partition(A, 0), Partition(A, 1)
    merge.add(Fetched({a0: full, a1: full}, {a0: 0, a1: 0}, {a0: FULL, a1: FULL}, {}))
    assert list(merge.full()) == [a0]


def chunks(records: list[Record], sizes: Iterator[int]) -> Iterator[list[Record]]:
    rest = records
    while rest:
        size = next(sizes)
        yield rest[:size]
        rest = rest[size:]


@given(
    times=st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 50)), max_size=40),
    cuts=st.lists(st.integers(1, 5), min_size=1),
    limit=st.integers(1, 7),
)
def test_whatever_the_fetches_every_record_is_taken_once_in_time_order(
    times: list[tuple[str, int]], cuts: list[int], limit: int
) -> None:
    by_topic = {topic: sorted(t for name, t in times if name == topic) for topic in (A, B)}
    stored = {topic: [record(topic, n, t) for n, t in enumerate(by_topic[topic])] for topic in (A, B)}
    sizes = iter(cuts * 50)
    fetches = {topic: list(chunks(stored[topic], sizes)) for topic in (A, B)}
    it, taken = lane(), []
    while any(fetches.values()) or any(it.queues.values()):
        for topic in (A, B):
            got = fetches[topic].pop(0) if fetches[topic] else []
            start = it._fetched[topic]
            done = not fetches[topic]
            it.add(topic, got, start=start, position=start + len(got), seen=1_000 if done else None)
        taken.extend(it.take(limit, now=0, patience_ms=100))
    assert sorted(taken, key=lambda r: (r.topic, r.offset)) == stored[A] + stored[B]
    assert [r.timestamp for r in taken] == sorted(r.timestamp for r in taken)


def told(offset: int) -> Record:
    return Record("g.parked", 0, offset, 5, b"k", b"v", ())


def test_what_stands_aside_is_taken_at_once_and_nothing_waits_for_it() -> None:
    lane = Lane({"a": 0, "g.parked": 3}, aside="g.parked")
    lane.add("g.parked", [told(3), told(5)], start=3, position=6, seen=None)
    lane.add("a", [], start=0, position=0, seen=9)
    assert lane.time() == 9
    assert lane.take(5, now=0, patience_ms=0) == []
    assert lane.take_aside(1) == [told(3)]
    assert lane.positions == {"a": 0, "g.parked": 5}
    assert lane.take_aside(9) == [told(5)]
    assert lane.positions == {"a": 0, "g.parked": 6}
    lane.give_back([told(5)])
    assert lane.positions["g.parked"] == 5
    assert lane.take_aside(9) == [told(5)]
    assert lane.take_aside(9) == []


def test_the_time_of_a_partition_is_that_of_the_last_record_until_it_is_caught_up() -> None:
    lane = Lane({"a": 0, "b": 0})
    records = [Record("a", 0, n, 10 * n, b"k", b"v", ()) for n in range(4)]
    lane.add("a", records, start=0, position=4, seen=99)
    lane.add("b", [], start=0, position=0, seen=99)
    assert lane.now() == -1
    taken = lane.take(3, now=0, patience_ms=0)
    assert lane.now() == 20
    lane.give_back(taken[2:])
    assert lane.now() == 19
    lane.take(9, now=0, patience_ms=0)
    assert lane.now() == 99

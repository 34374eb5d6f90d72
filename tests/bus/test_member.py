"""A member of a group: whose turn it is, what a commit says, and what happens when partitions are dealt out anew."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest

from bus import member
from bus.errors import Fenced, Refused, Unreachable, UsageError
from bus.member import Member
from bus.message import Partition
from bus.middleware.dedupe import MemorySeen
from bus.parked_store import ParkedStore
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from tests.bus.delivery import GROUP, PLACE, Desk, outgoing
from tests.bus.support import TOPIC

OTHER = Partition(TOPIC, 1)


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(TOPIC, partitions=2)


def store(cluster: MemoryCluster, place: Partition, *texts: str) -> None:
    cluster.store(place, [outgoing(text, case=text[0]) for text in texts])


def a_member(cluster: MemoryCluster, **how: object) -> tuple[Member, Desk]:
    """A member and the parts it is made of."""
    desk = Desk(cluster)
    made = Member(
        desk.consumer,
        desk.pipeline,
        ParkedStore(GROUP, [TOPIC], desk.rows),
        group=GROUP,
        monotonic=desk.time,
        **how,  # type: ignore[arg-type]  # the arguments of `Member`
    )
    return made, desk


def test_while_one_partition_waits_the_others_move_and_no_more_of_it_is_fetched(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, *(f"a{n}" for n in range(3)))
    store(cluster, OTHER, *(f"b{n}" for n in range(3)))
    desk = Desk(cluster)
    got: list[tuple[float, str]] = []
    more = ["b3"]
    for text, leave in desk.walk(until_s=200):
        if desk.time.seconds > 50 and more:
            store(cluster, OTHER, more.pop())
            store(cluster, PLACE, "a3")

        def handle(text: str) -> None:
            if text == "a0" and desk.time.seconds < 100:
                raise Unreachable("the registry of a is down")
            got.append((desk.time.seconds, text))

        leave(handle, text)
    assert [text for _, text in got if text[0] == "a"] == ["a0", "a1", "a2", "a3"]
    assert [text for _, text in got if text[0] == "b"] == ["b0", "b1", "b2", "b3"]
    at = {text: seconds for seconds, text in got}
    assert max(at["b0"], at["b1"], at["b2"]) < 5
    assert at["b3"] < 100 <= at["a0"]


def test_a_partition_that_waits_is_paused_so_its_records_do_not_pile_up(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, "a0")
    made, desk = a_member(cluster)
    made.poll()
    (hand, _) = made.hands()
    attempt = made.next(hand)
    assert attempt is not None
    made.failed(hand, Unreachable("down"), where="")
    store(cluster, PLACE, *(f"a{n}" for n in range(1, 9)))
    assert made.next(hand) is None
    made.poll()
    assert len(hand.records) == 1
    assert desk.time.seconds == 0.5, "the poll waited for as long as the partition does"
    assert made.next(hand) is attempt, "the same try goes on"
    made.handled(hand)
    made.poll()
    assert len(hand.records) == 8


def test_a_long_queue_of_work_is_interrupted_to_stay_a_member(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, *(f"a{n}" for n in range(10)))
    desk = Desk(cluster)
    for text, leave in desk.walk(until_s=200):

        def handle(_: str) -> None:
            desk.time.seconds += 20

        leave(handle, text)
    polls = desk.consumer.polls
    assert max(b - a for a, b in pairwise(polls)) <= 60


def test_a_turn_ends_so_that_other_partitions_have_theirs(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "_RECORDS", 2)
    store(cluster, PLACE, "a0", "a1", "a2", "a3")
    store(cluster, OTHER, "b0")
    made, _ = a_member(cluster)
    made.poll(max_records=9)
    order = []
    for _ in range(3):
        for hand in made.hands():
            while (attempt := made.next(hand)) is not None:
                order.append(attempt.message.event.text)  # type: ignore[attr-defined]
                made.handled(hand)
        made.poll(max_records=9)
    assert order == ["a0", "a1", "b0", "a2", "a3"]


def test_a_commit_says_what_is_dealt_with_and_nothing_more(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, "a0", "a1", "a2")
    made, desk = a_member(cluster)
    made.poll()
    (hand, _) = made.hands()
    made.next(hand)
    made.handled(hand)
    made.next(hand)
    made.commit()
    assert desk.committed() == 1
    made.failed(hand, ValueError(), where="")
    made.commit()
    assert desk.committed() == 1


def test_what_was_caused_is_made_durable_before_each_commit_and_a_failure_of_it_commits_nothing(
    cluster: MemoryCluster,
) -> None:
    store(cluster, PLACE, "a0")
    said: list[int] = []
    broken = [True]

    def before() -> None:
        said.append(desk.committed() if GROUP in cluster.groups else 0)
        if broken[0]:
            raise UsageError("the answer is refused")

    made, desk = a_member(cluster, before_commit=before)
    made.poll()
    (hand, _) = made.hands()
    made.next(hand)
    made.handled(hand)
    with pytest.raises(UsageError):
        made.commit()
    assert (said, desk.committed()) == ([0], 0)
    broken[0] = False
    made.commit()
    assert desk.committed() == 1


def test_after_a_rebalance_nothing_in_hand_counts_and_the_rest_is_read_again(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, "a0", "a1", "a2")
    seen = MemorySeen()
    got: list[str] = []
    desk = Desk(cluster, seen=seen)
    joined: list[Desk] = []
    for text, leave in desk.walk(until_s=10):
        leave(got.append, text)
        if text == "a0":
            desk.subscription.commit()
            other = Desk(cluster, seen=seen)
            other.consumer.poll(max_records=1, timeout=0)  # a rebalance begins
            joined.append(other)
            desk.time.seconds += 2
        if joined and desk.time.seconds > 5:
            joined.pop().consumer.close()
    assert got == ["a0", "a1", "a2"]
    assert desk.committed() == 3


def test_partitions_kept_through_a_rebalance_are_taken_up_from_their_commit_and_nothing_is_in_hand_twice(
    cluster: MemoryCluster,
) -> None:
    store(cluster, PLACE, "a0", "a1", "a2")
    made, desk = a_member(cluster)
    made.poll()
    (hand, _) = made.hands()
    made.next(hand)
    made.handled(hand)
    made.commit()
    other = Desk(cluster)
    other.consumer.poll(max_records=1, timeout=0)  # a rebalance begins
    other.consumer.close()  # and leaves this member what it had
    assert made.poll()
    (again, _) = made.hands()
    assert again is not hand
    assert [record.offset for record in again.records] == [1, 2]
    made.next(again)
    made.handled(again)
    made.commit()
    assert desk.committed() == 2


def test_a_partition_that_comes_back_is_committed_from_where_others_have_brought_it(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, "a0", "a1", "a2")
    made, desk = a_member(cluster)
    made.poll()
    (hand, _) = made.hands()
    made.next(hand)
    made.handled(hand)
    desk.consumer.evict()
    Desk(cluster).run(lambda text: None, until_s=5)
    assert desk.committed() == 3
    made.poll()
    made.commit()
    assert desk.committed() == 3
    made._fence(PLACE)
    assert desk.committed() == 3


def test_while_partitions_are_being_dealt_out_nothing_is_in_hand(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, "a0")
    made, _ = a_member(cluster)
    other, third = Desk(cluster), Desk(cluster)
    for _ in range(3):
        made.poll()
        other.consumer.poll(max_records=1, timeout=0)
    (hand,) = made.hands()
    assert len(hand.records) == 1
    third.consumer.poll(max_records=1, timeout=0)  # joins, and the other one has not heard yet
    made.poll()
    assert list(made.hands()) == []
    assert made.next(hand) is None
    assert not made.ready


def test_a_commit_that_another_member_s_ownership_refuses_never_overwrites_its_commit(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, "a0", "a1")
    made, desk = a_member(cluster)
    made.poll()
    (hand, _) = made.hands()
    made.next(hand)
    made.handled(hand)
    desk.consumer.evict()
    other = Desk(cluster)
    other.run(lambda text: None, until_s=5)
    assert other.committed() == 2
    made.commit()
    assert other.committed() == 2
    assert made.next(hand) is None
    assert list(made.hands()) == []


def test_a_commit_that_is_refused_without_a_rebalance_has_what_was_in_hand_read_again(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, "a0", "a1", "a2")
    desk = Desk(cluster)
    got: list[str] = []
    refusing = [True]
    commit = desk.consumer.commit

    def refuse_once(positions: Mapping[Partition, int]) -> None:
        if refusing:
            refusing.pop()
            raise Fenced("a rebalance begins")
        commit(positions)

    desk.consumer.commit = refuse_once  # type: ignore[method-assign]
    for text, leave in desk.walk(until_s=10):
        leave(got.append, text)
        desk.time.seconds += 2  # a commit is due
    assert got == ["a0", "a1", "a2"]
    assert desk.committed() == 3


def test_a_commit_that_cannot_be_reached_is_tried_again(
    cluster: MemoryCluster, caplog: pytest.LogCaptureFixture
) -> None:
    store(cluster, PLACE, "a0")
    made, desk = a_member(cluster)
    made.poll()
    (hand, _) = made.hands()
    made.next(hand)
    made.handled(hand)
    commit = desk.consumer.commit

    def silent(positions: Mapping[Partition, int]) -> None:
        raise Unreachable("the coordinator is silent")

    desk.consumer.commit = silent  # type: ignore[method-assign]
    made.commit()
    assert "tried again" in caplog.text
    desk.consumer.commit = commit  # type: ignore[method-assign]
    made.commit()
    assert desk.committed() == 1


def test_a_member_without_partitions_or_with_an_outage_beyond_its_budget_is_not_ready(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, "a0")
    made, desk = a_member(cluster)
    assert not made.ready
    made.poll()
    assert made.ready
    (hand, _) = made.hands()
    made.next(hand)
    made.failed(hand, Unreachable("down"), where="")
    assert made.ready
    desk.time.seconds += 301
    made.next(hand)
    made.failed(hand, Unreachable("down"), where="")
    assert not made.ready
    desk.time.seconds += 60
    made.next(hand)
    made.handled(hand)
    assert made.ready


def test_a_store_that_is_away_beyond_the_budget_is_an_alarm_too(
    cluster: MemoryCluster, caplog: pytest.LogCaptureFixture
) -> None:
    store(cluster, PLACE, "a0")
    made, desk = a_member(cluster)
    desk.rows.away = lambda place: desk.time.seconds < 400
    made.poll()
    (hand, _) = made.hands()
    made.next(hand)
    made.failed(hand, Refused("no"), where="")
    assert made.ready
    desk.time.seconds = 301
    made.poll()
    made.next(hand)
    assert not made.ready
    assert sum("longer than its budget" in line for line in caplog.messages) == 1
    desk.time.seconds = 401
    made.poll()
    made.next(hand)
    assert made.ready
    assert len(desk.letters()) == 1


def test_a_member_that_owns_nothing_of_a_partition_does_not_park_on_it(cluster: MemoryCluster) -> None:
    made, _ = a_member(cluster)
    with pytest.raises(Fenced, match="another member"):
        made._fence(PLACE)


def test_leaving_ends_the_membership_and_commits_nothing(cluster: MemoryCluster) -> None:
    store(cluster, PLACE, "a0")
    made, desk = a_member(cluster)
    made.poll()
    (hand, _) = made.hands()
    made.next(hand)
    made.handled(hand)
    made.leave()
    assert desk.committed() == 0
    assert not cluster.groups[GROUP].members

"""A consumer group in memory: its assignor agrees with the client's, and no partition ever has two owners."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from kafka.coordinator.assignors.range import RangePartitionAssignor

from bus.message import Partition
from bus.transport.memory_groups import Group, Member, assign_range

TOPICS = ("a.x.y.v1", "b.x.y.v1", "c.x.y.v1")
counts = st.fixed_dictionaries({topic: st.integers(1, 7) for topic in TOPICS})
subscriptions = st.lists(st.sets(st.sampled_from(TOPICS), min_size=1), min_size=1, max_size=5)


def places(sizes: dict[str, int]) -> list[Partition]:
    return [Partition(topic, number) for topic, size in sizes.items() for number in range(size)]


@given(counts, subscriptions)
def test_partitions_are_shared_as_the_client_s_range_assignor_shares_them(
    sizes: dict[str, int], wanted: list[set[str]]
) -> None:
    members: dict[Member, tuple[str, ...]] = {f"member-{n}": tuple(sorted(t)) for n, t in enumerate(wanted)}
    ours = assign_range(members, places(sizes))
    theirs = RangePartitionAssignor.assign(
        SimpleNamespace(partitions_for_topic=lambda topic: set(range(sizes[topic]))),
        [
            SimpleNamespace(member_id=name, group_instance_id=None, metadata=SimpleNamespace(topics=topics))
            for name, topics in members.items()
        ],
    )
    assert set(theirs) == set(ours)
    for name, answer in theirs.items():
        assert ours[name] == {Partition(topic, n) for topic, numbers in answer.assigned_partitions for n in numbers}


steps = st.lists(st.tuples(st.sampled_from(["poll", "poll", "leave"]), st.integers(0, 3)), max_size=40)


@given(steps, st.integers(1, 6))
def test_no_partition_ever_has_two_owners_and_a_settled_group_owns_all(moves: list[tuple[str, int]], size: int) -> None:
    group = Group("g")
    everything = places({TOPICS[0]: size})
    for move, member in moves:
        if move == "poll":
            group.take_part(member, (TOPICS[0],), everything)
        else:
            group.leave(member)
        owned = [place for mine in group.owned.values() for place in mine]
        assert len(owned) == len(set(owned))
        assert set(group.owned) <= set(group.members)
        if group.members and not group.preparing:
            assert set(owned) == set(everything)


def test_a_round_settles_when_the_last_member_has_polled_and_counts_as_a_generation() -> None:
    group, everything = Group("g"), places({TOPICS[0]: 2})
    assert group.take_part("one", (TOPICS[0],), everything)
    assert (group.generation, group.owned) == (1, {"one": frozenset(everything)})
    assert not group.take_part("one", (TOPICS[0],), everything), "nothing moves while nobody comes or goes"
    assert group.take_part("two", (TOPICS[0],), everything)
    assert (group.preparing, group.owned) == (True, {"one": frozenset(everything)}), "the owner may still commit"
    group.take_part("one", (TOPICS[0],), everything)
    assert (group.preparing, group.generation) == (False, 2)
    assert sorted(map(len, group.owned.values())) == [1, 1]


def test_a_group_everyone_has_left_is_settled_and_keeps_its_commits() -> None:
    group, everything = Group("g"), places({TOPICS[0]: 1})
    group.take_part("one", (TOPICS[0],), everything)
    group.commits[everything[0]] = 5
    group.leave("one")
    group.leave("one")
    assert (group.preparing, group.owned, group.members) == (False, {}, {})
    assert group.commits == {everything[0]: 5}

"""What is parked, as operators see it: the rows that stand, by key, in their order; nothing hides the others."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.parked import waiting
from bus.errors import UsageError
from bus.message import Outgoing, Partition
from bus.middleware.lanes import Parking
from bus.middleware.parking import Command, Mode, command_key, entry_key, pack_command
from bus.parked_desk import Held, ParkedDesk, row_id
from bus.ports import TopicState
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from tests.bus.letters import GROUP, TOPIC, make_topics
from tests.bus.parked import FAILED, NOW, entry, park, row

PARKED = Partition(f"{GROUP}.parked", 0)


@pytest.fixture
def cluster() -> MemoryCluster:
    made = memory_cluster()
    make_topics(made)
    return made


def desk_on(cluster: MemoryCluster, *groups: str) -> ParkedDesk:
    desk = ParkedDesk(cluster.reader(), cluster.topics, progress=lambda sentence: None)
    desk.read(groups or [GROUP])
    return desk


def held(cluster: MemoryCluster) -> list[Held]:
    found, unread = desk_on(cluster).held([GROUP])
    assert unread == []
    return found


def test_a_key_s_records_stand_together_in_their_order_behind_the_one_that_failed(cluster: MemoryCluster) -> None:
    park(cluster, entry(9, b"a", queued=True), entry(3, b"b"), entry(7, b"a"), entry(8, b"a", queued=True))
    found = {one.key: one for one in held(cluster)}
    assert [r.entry.record.offset for r in found[b"a"].rows] == [7, 8, 9]
    assert (found[b"a"].why, found[b"a"].due, found[b"a"].alone, found[b"a"].topic) == (FAILED, None, False, TOPIC)
    assert len(found[b"b"].rows) == 1


def test_rows_that_were_removed_or_rewritten_count_as_they_stand_now(cluster: MemoryCluster) -> None:
    park(cluster, entry(1, b"a"), entry(2, b"b"))
    desk = desk_on(cluster)
    cluster.store(PARKED, [Outgoing(entry_key(entry(1, b"a")), None)])
    park(cluster, entry(2, b"b", due=NOW))
    desk.read([GROUP])
    (one,) = desk.held([GROUP])[0]
    assert (one.key, one.due) == (b"b", NOW)


def test_what_waits_alone_and_topics_of_one_key_are_apart(cluster: MemoryCluster) -> None:
    park(
        cluster,
        entry(1, b"a", mode=Mode.ALONE, due=NOW),
        entry(2, b"a", mode=Mode.ALONE, due=NOW),
        entry(1, b"a", topic="justice.other.topic.v1"),
        entry(3, None),
    )
    found = held(cluster)
    assert sorted((one.alone, one.topic or "", one.case or "") for one in found) == [
        (False, "justice.other.topic.v1", "a"),
        (False, TOPIC, ""),
        (True, TOPIC, "a"),
        (True, TOPIC, "a"),
    ]


def test_what_failed_first_comes_first(cluster: MemoryCluster) -> None:
    park(cluster, entry(1, b"new", first=NOW + timedelta(hours=1)), entry(2, b"old"))
    assert [one.case for one in held(cluster)] == ["old", "new"]


def test_a_workflow_s_cases_are_read_from_its_case_log(cluster: MemoryCluster) -> None:
    cluster.admin().create(TopicState(f"{GROUP}.cases", 3, 1))
    place = Partition(f"{GROUP}.cases", 1)
    failed = entry(5, b"case-1", partition=1, topic="justice.other.topic.v1")
    cluster.store(
        place,
        [
            Outgoing(b"case-1", b"a case itself"),
            Outgoing(None, b"x"),
            row(entry(4, b"case-1", partition=1, queued=True), case=b"case-1"),
            row(failed, case=b"case-1"),
        ],
    )
    said = Command(id="1", do="release", topic=None, key=b"case-1", by="me", at=NOW)
    cluster.store(Partition(PARKED.topic, 1), [Outgoing(command_key(said), pack_command(said))])
    (one,) = held(cluster)
    assert (one.topic, one.case, one.place, len(one.rows), one.failed) == (None, "case-1", place, 2, failed)
    assert one.asked == said


def test_rows_as_workflows_write_them_are_a_case_each(cluster: MemoryCluster) -> None:
    cluster.admin().create(TopicState(f"{GROUP}.cases", 3, 1))
    rows = [waiting(case, entry(n, case.encode())).row() for n, case in enumerate(["case-1", "case-1", "case-2"])]
    cluster.store(Partition(f"{GROUP}.cases", 0), [Outgoing(*one) for one in rows])
    assert sorted((one.case, len(one.rows)) for one in held(cluster)) == [("case-1", 2), ("case-2", 1)]


def test_a_command_that_is_not_obeyed_yet_is_seen_at_its_key_only(cluster: MemoryCluster) -> None:
    park(cluster, entry(1, b"a"), entry(2, b"b"))
    said = Command(id="1", do="drop", topic=TOPIC, key=b"a", by="me", at=NOW)
    cluster.store(PARKED, [Outgoing(command_key(said), pack_command(said))])
    assert {one.case: one.asked for one in held(cluster)} == {"a": said, "b": None}


@pytest.mark.parametrize("raw", [b"", b"\x02\0\0\0\1{", b"\xff" * 9, b"\x03newer"])
def test_a_row_that_cannot_be_read_hides_no_other(cluster: MemoryCluster, raw: bytes) -> None:
    cluster.store(PARKED, [Outgoing(b"x\x000\x001", raw), Outgoing(b"!said", raw)])
    park(cluster, entry(1, b"a"))
    found, unread = desk_on(cluster).held([GROUP])
    assert [one.case for one in found] == ["a"]
    assert [one.place for one in unread] == [PARKED, PARKED]


def test_groups_are_those_that_can_park(cluster: MemoryCluster) -> None:
    desk = desk_on(cluster)
    assert desk.groups() == [GROUP]
    with pytest.raises(UsageError, match="called otherwise"):
        desk.groups("nobody")


def test_a_row_has_one_id_in_each_group() -> None:
    assert len({row_id("g", b"k"), row_id("h", b"k"), row_id("g", b"l"), row_id("gk", b"")}) == 4
    assert len(row_id("g", b"k")) == 16


steps = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([b"a", b"b"]), st.booleans(), st.booleans()), max_size=25)


@given(steps)
def test_operators_and_the_group_itself_see_the_same_queues(done: list[tuple[int, bytes, bool, bool]]) -> None:
    cluster = memory_cluster()
    make_topics(cluster)
    parking = Parking()
    for offset, key, queued, removed in done:
        one = entry(offset + 10 * (key == b"b"), key, queued=queued)
        out = Outgoing(entry_key(one), None) if removed else row(one)
        cluster.store(PARKED, [out])
        parking.apply(out.key or b"", out.value)
    found = held(cluster)
    assert sum(len(one.rows) for one in found) == len(parking)
    for lane in found:
        assert [r.entry for r in lane.rows] == list(parking.queue(TOPIC, lane.key))

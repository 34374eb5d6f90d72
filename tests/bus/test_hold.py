"""What stands aside and what goes on: parked keys, later tries, commands, redriven letters, stores that are away.

Told through a whole subscription, whose time is a number. Each story ends with what a new process would find.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from bus.errors import Refused, Unreachable
from bus.message import Outgoing, Partition, Record
from bus.middleware.dedupe import MemorySeen
from bus.middleware.parking import QUEUED, Entry, Mode
from bus.middleware.retry import Policy, RetryPolicy
from bus.testing import START, memory_cluster
from bus.transport.memory import MemoryCluster
from schemas.envelope import fingerprint
from tests.bus.delivery import (
    GROUP,
    PLACE,
    QUICK,
    Desk,
    Rows,
    command,
    outgoing,
    parked,
    parked_rows,
    redrive,
)
from tests.bus.support import TOPIC
from tests.bus.test_parking import FAILURE

PARKED = f"{GROUP}.parked"
UNORDERED = replace(QUICK, ordered=False, delay_s=60, delays=2)


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(TOPIC, partitions=1)


class Handler:
    """Notes what it handled; fails on texts in `bad`, with the error that stands there."""

    def __init__(self, **bad: Exception) -> None:
        self.bad: dict[str, Exception] = bad
        self.tried: list[str] = []
        self.handled: list[str] = []

    def __call__(self, text: str) -> None:
        self.tried.append(text)
        if text in self.bad:
            raise self.bad[text]
        self.handled.append(text)


def store(cluster: MemoryCluster, *texts: str) -> None:
    """Events named after their case: a1 is the first of case a."""
    cluster.store(PLACE, [outgoing(text, case=text[0]) for text in texts])


def waiting(cluster: MemoryCluster) -> list[str]:
    """The texts of parked entries, those that failed with a mark."""
    said = []
    for entry in parked(cluster):
        text = dict(entry.record.headers)["ce_id"]
        assert text is not None
        said.append(text.decode() + ("" if entry.queued else "!"))
    return said


def test_a_bug_parks_the_key_later_events_queue_behind_and_other_keys_go_on(
    cluster: MemoryCluster, caplog: pytest.LogCaptureFixture
) -> None:
    store(cluster, "a1", "b1", "a2", "b2", "a3")
    desk, handler = Desk(cluster), Handler(a1=ValueError("a secret"))
    desk.run(handler, until_s=10)
    assert handler.tried == ["a1", "a1", "a1", "b1", "b2"]
    assert waiting(cluster) == ["a1!", "a2", "a3"]
    assert desk.committed() == 5, "parked counts as dealt with once its copy is stored"
    (alarm,) = [r.message for r in caplog.records if r.levelname == "ERROR"]
    assert "offset 0 (" in alarm
    assert "its key is parked on g.parked: ValueError in handler (bug) at" in alarm
    assert "secret" not in alarm
    assert desk.letters() == []


def test_a_parked_copy_has_every_byte_and_says_where_and_why(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2")
    Desk(cluster).run(Handler(a1=ValueError()), until_s=10)
    first, second = parked(cluster)
    (original, later) = cluster.logs[PLACE]
    assert (first.record, second.record) == (original, later)
    assert (first.failure.stage, first.failure.error, first.failure.attempt) == ("handler", "ValueError", 3)
    assert (second.failure.stage, second.failure.error, second.failure.attempt) == (QUEUED, "ValueError", 0)


def test_a_new_owner_keeps_the_key_parked(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2")
    Desk(cluster).run(Handler(a1=ValueError()), until_s=10)
    store(cluster, "a3", "b1")
    handler = Handler()
    Desk(cluster).run(handler, until_s=10)
    assert handler.tried == ["b1"]
    assert waiting(cluster) == ["a1!", "a2", "a3"]


def test_a_release_hands_the_queue_over_in_order_and_then_live_events_flow(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2", "b1")
    Desk(cluster).run(Handler(a1=ValueError()), until_s=10)
    command(cluster, "release", key="a")
    store(cluster, "a3")
    desk, handler = Desk(cluster), Handler()
    desk.run(handler, until_s=10)
    assert handler.tried == ["a1", "a2", "a3"]
    assert set(parked_rows(cluster).values()) == {None}, "each is settled, and so is the command"


def test_a_release_that_comes_while_it_runs_is_taken_up_within_two_seconds(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2")
    desk, handler = Desk(cluster), Handler(a1=ValueError())
    said: list[float] = []
    poll = desk.consumer.poll

    def polling(**bounds: object) -> list[Record]:
        if not said and waiting(cluster) == ["a1!", "a2"]:
            said.append(desk.time.seconds)
            command(cluster, "release", key="a")
            handler.bad.clear()
        return poll(**bounds)  # type: ignore[arg-type]  # the bounds of `poll`

    desk.consumer.poll = polling  # type: ignore[method-assign]
    taken = []
    for text, leave in desk.walk(until_s=60):
        taken.append(desk.time.seconds)
        leave(handler, text)
    assert handler.handled == ["a1", "a2"]
    assert taken[-1] - said[0] < 2
    assert waiting(cluster) == []


def test_a_new_failure_parks_again_with_the_queue_intact(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2", "a3")
    Desk(cluster).run(Handler(a1=ValueError()), until_s=10)
    command(cluster, "release", key="a")
    handler = Handler(a2=KeyError())
    Desk(cluster).run(handler, until_s=20)
    assert handler.tried == ["a1", "a2", "a2", "a2"]
    assert sorted(waiting(cluster)) == ["a2!", "a3"]
    assert parked_rows(cluster)[b"!a1"] is None, "the release is spent"
    handler = Handler()
    Desk(cluster).run(handler, until_s=20)
    assert handler.tried == []
    command(cluster, "release", key="a", action="a2")
    Desk(cluster).run(handler, until_s=20)
    assert handler.tried == ["a2", "a3"]


def test_a_drop_makes_a_dead_letter_of_what_failed_and_lets_the_queue_go_on(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2")
    Desk(cluster).run(Handler(a1=ValueError()), until_s=10)
    command(cluster, "drop", key="a")
    desk, handler = Desk(cluster), Handler()
    desk.run(handler, until_s=10)
    assert handler.tried == ["a2"]
    (letter,) = desk.letters()
    assert (letter["ce_id"], letter["dead_error"], letter["dead_kind"]) == (b"a1", b"Dropped", b"refused")
    assert waiting(cluster) == []


def test_a_redriven_letter_is_handled_as_it_was_and_settled(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2")
    desk, handler = Desk(cluster), Handler(a1=Refused("no legal basis"))
    desk.run(handler, until_s=10)
    assert handler.tried == ["a1", "a2"]
    (letter,) = desk.letters()
    Rows(cluster).make()
    back = Entry(record=cluster.logs[PLACE][0], failure=FAILURE, due=START, redrive=1, action="7f")
    redrive(cluster, back)
    desk, handler = Desk(cluster), Handler(a1=Refused("still no legal basis"))
    desk.run(handler, until_s=10)
    assert handler.tried == ["a1"]
    assert waiting(cluster) == []
    again = desk.letters()[1]
    assert (again["dead_redrive"], again["dead_offset"]) == (b"1", b"0")
    assert again["dead_id"] != letter["dead_id"]


def test_a_redriven_letter_that_meets_a_bug_is_parked_with_its_history(cluster: MemoryCluster) -> None:
    store(cluster, "a1")
    Rows(cluster).make()
    back = Entry(record=cluster.logs[PLACE][0], failure=FAILURE, due=START, redrive=2, action="7f")
    cluster.groups.clear()
    desk = Desk(cluster, seen=MemorySeen())
    desk.consumer.poll(max_records=1, timeout=0)
    desk.consumer.commit({PLACE: 1})
    redrive(cluster, back)
    desk.run(Handler(a1=ValueError()), until_s=20)
    (entry,) = parked(cluster)
    assert (entry.redrive, entry.action, entry.due) == (2, "7f", None)
    assert (entry.failure.attempt, entry.failure.first) == (FAILURE.attempt + 3, FAILURE.first)


def test_an_event_that_had_its_effect_is_settled_without_the_handler_wherever_it_comes_from(
    cluster: MemoryCluster,
) -> None:
    seen = MemorySeen()
    store(cluster, "a1", "a2")
    Desk(cluster, seen=seen).run(Handler(a1=ValueError()), until_s=10)
    for text in ("a1", "a2"):
        seen.add(PLACE, fingerprint("/agencies/portal", text))
    command(cluster, "release", key="a")
    redrive(cluster, Entry(record=cluster.logs[PLACE][0], failure=FAILURE, due=START, redrive=1, action="7f"))
    handler = Handler()
    Desk(cluster, seen=seen).run(handler, until_s=10)
    assert handler.tried == []
    assert set(parked_rows(cluster).values()) == {None}


def test_what_is_invalid_or_refused_is_a_dead_letter_and_holds_nothing_back(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2")
    cluster.store(PLACE, [Outgoing(b"a", b"junk", outgoing("x").headers)])
    store(cluster, "a3")
    desk, handler = Desk(cluster), Handler(a1=Refused("no"))
    desk.run(handler, until_s=10)
    assert handler.tried == ["a1", "a2", "a3"]
    assert [letter["dead_kind"] for letter in desk.letters()] == [b"refused", b"invalid"]
    assert PARKED not in cluster.topics


def test_a_policy_may_park_what_a_rule_refuses(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2", "b1")
    handler = Handler(a1=Refused("the fee is not paid yet"))
    Desk(cluster, policy=replace(QUICK, refused="park")).run(handler, until_s=10)
    assert handler.tried == ["a1", "b1"]
    assert waiting(cluster) == ["a1!", "a2"]


def test_what_a_rule_refuses_is_a_dead_letter_when_it_has_no_key_by_which_it_could_be_let_go(
    cluster: MemoryCluster,
) -> None:
    cluster.store(PLACE, [structs.replace(outgoing("a1"), key=None)])
    desk = Desk(cluster, policy=replace(QUICK, refused="park"))
    desk.run(Handler(a1=Refused("the fee is not paid yet")), until_s=10)
    assert waiting(cluster) == []
    assert [letter["dead_kind"] for letter in desk.letters()] == [b"refused"]


def test_where_order_does_not_matter_the_record_alone_is_tried_later_and_at_last_buried(
    cluster: MemoryCluster,
) -> None:
    store(cluster, "a1", "a2")
    desk, handler = Desk(cluster, policy=UNORDERED), Handler(a1=ValueError())
    desk.run(handler, until_s=50)
    assert handler.tried == ["a1", "a1", "a1", "a2"]
    (entry,) = parked(cluster)
    assert entry.mode is Mode.ALONE
    assert desk.committed() == 2
    desk = Desk(cluster, policy=UNORDERED, time=desk.time)
    desk.run(handler, until_s=130)
    assert handler.tried == ["a1"] * 3 + ["a2", "a1"], "one more after a minute"
    (later,) = parked(cluster)
    assert entry.due is not None
    assert later.due is not None
    assert 120 <= (later.due - entry.due).total_seconds() < 122, "the delay has doubled"
    desk = Desk(cluster, policy=UNORDERED, time=desk.time)
    desk.run(handler, until_s=400)
    assert handler.tried.count("a1") == 5
    assert [letter["dead_attempt"] for letter in desk.letters()] == [b"5"]
    assert waiting(cluster) == []


def test_where_order_does_not_matter_success_later_settles_it(cluster: MemoryCluster) -> None:
    store(cluster, "a1")
    desk, handler = Desk(cluster, policy=UNORDERED), Handler(a1=ValueError())
    for text, leave in desk.walk(until_s=200):
        if desk.time.seconds > 30:
            handler.bad.clear()
        leave(handler, text)
    assert handler.handled == ["a1"]
    assert waiting(cluster) == []


def test_a_record_too_large_to_be_parked_is_a_dead_letter_with_its_place(cluster: MemoryCluster) -> None:
    large = structs.replace(
        outgoing("a1", case="a"), headers=(*outgoing("a1", case="a").headers, ("x", b"h" * 949_500))
    )
    store(cluster, "a0")
    cluster.store(PLACE, [large])
    store(cluster, "a2")
    desk, handler = Desk(cluster), Handler(a0=ValueError())
    desk.run(handler, until_s=10)
    assert waiting(cluster) == ["a0!", "a2"]
    (letter,) = desk.letters()
    assert (letter["dead_offset"], letter["dead_stage"]) == (b"1", QUEUED.encode())
    assert desk.committed() == 3
    cluster = memory_cluster(TOPIC, partitions=1)
    cluster.store(PLACE, [large])
    desk = Desk(cluster)
    desk.run(Handler(a1=ValueError()), until_s=10)
    (letter,) = desk.letters()
    assert (letter["dead_offset"], letter["dead_stage"], letter["dead_error"]) == (b"0", b"handler", b"ValueError")


def test_while_the_topic_of_parked_entries_is_away_nothing_is_acknowledged_and_nothing_overtakes(
    cluster: MemoryCluster, caplog: pytest.LogCaptureFixture
) -> None:
    store(cluster, "b1", "a1", "a2", "b2")
    down = [True]
    rows = Rows(cluster, away=lambda place: place.topic == PARKED and down[0])
    desk, handler = Desk(cluster, rows=rows), Handler(a1=ValueError())
    desk.run(handler, until_s=60)
    assert handler.tried == ["b1", "a1", "a1", "a1"], "given up once; only the storing is tried again"
    assert desk.committed() == 1
    assert "waits, and nothing of it is acknowledged" in caplog.text
    down[0] = False
    desk, handler = Desk(cluster, rows=rows), Handler(a1=ValueError())
    desk.run(handler, until_s=60)
    assert handler.tried == ["a1", "a1", "a1", "b2"]
    assert waiting(cluster) == ["a1!", "a2"]


def test_a_store_that_comes_back_is_paid_what_is_owed_without_the_handler(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "b1")
    desk, handler = Desk(cluster), Handler(a1=ValueError())
    desk.rows.away = lambda place: desk.time.seconds < 40
    desk.run(handler, until_s=100)
    assert handler.tried == ["a1", "a1", "a1", "b1"]
    assert waiting(cluster) == ["a1!"]


def test_a_handled_entry_whose_tombstone_cannot_be_stored_is_not_handled_again(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2")
    Desk(cluster).run(Handler(a1=ValueError()), until_s=10)
    command(cluster, "release", key="a")
    desk, handler = Desk(cluster), Handler()
    desk.rows.away = lambda place: desk.time.seconds < 40
    desk.run(handler, until_s=100)
    assert handler.tried == ["a1", "a2"]
    assert waiting(cluster) == []


def test_what_is_parked_must_be_known_before_anything_is_handled(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2")
    Desk(cluster).run(Handler(a1=ValueError()), until_s=10)
    store(cluster, "a3", "b1")
    rows = Rows(cluster, reads_away=True)
    desk, handler = Desk(cluster, rows=rows), Handler()
    desk.run(handler, until_s=30)
    assert handler.tried == []
    assert not desk.subscription.ready


def test_a_member_that_has_lost_its_partition_parks_nothing(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2")
    old, handler, new = Desk(cluster), Handler(a1=ValueError()), Handler()
    for text, leave in old.walk(until_s=10):
        if handler.tried == ["a1", "a1"]:
            old.consumer.evict()  # the process was paused, the group has given the partition away
            Desk(cluster).run(new, until_s=5)
        leave(handler, text)
    assert new.handled == ["a1", "a2"]
    assert handler.tried == ["a1"] * 3
    assert PARKED not in cluster.topics


def test_a_member_that_has_read_nothing_yet_hears_that_its_partition_is_lost_before_it_parks_an_entry_again(
    cluster: MemoryCluster,
) -> None:
    store(cluster, "a1")
    Desk(cluster).run(Handler(a1=ValueError()), until_s=10)
    command(cluster, "release", key="a")
    old, handler, new = Desk(cluster), Handler(a1=ValueError()), Handler()
    for text, leave in old.walk(until_s=10):
        if handler.tried == ["a1", "a1"]:
            old.consumer.evict()  # paused in its handler; the release is obeyed by the next owner
            Desk(cluster).run(new, until_s=5)
        leave(handler, text)
    assert new.handled == ["a1"]
    assert waiting(cluster) == []


def test_a_member_that_has_lost_its_partition_makes_no_letter_of_what_is_too_large_to_queue(
    cluster: MemoryCluster,
) -> None:
    store(cluster, "a1")
    Desk(cluster).run(Handler(a1=ValueError()), until_s=10)
    store(cluster, "b1")
    large = outgoing("a2", case="a")
    cluster.store(PLACE, [structs.replace(large, headers=(*large.headers, ("x", b"h" * 949_500)))])
    old, handler, new = Desk(cluster), Handler(), Handler()
    for text, leave in old.walk(until_s=10):
        old.consumer.evict()
        command(cluster, "release", key="a")
        Desk(cluster).run(new, until_s=5)
        leave(handler, text)
    assert new.handled == ["a1", "b1", "a2"]
    assert old.letters() == []


def test_a_record_that_was_parked_before_its_offset_was_committed_is_not_parked_again(cluster: MemoryCluster) -> None:
    store(cluster, "a1", "a2")
    desk = Desk(cluster)
    desk.consumer.commit = lambda positions: None  # type: ignore[method-assign]  # dies before any commit arrives
    desk.run(Handler(a1=ValueError()), until_s=3)
    assert waiting(cluster) == ["a1!", "a2"]
    count = len(cluster.logs[Partition(PARKED, 0)])
    handler = Handler()
    desk = Desk(cluster)
    desk.run(handler, until_s=10)
    assert handler.tried == []
    assert waiting(cluster) == ["a1!", "a2"]
    assert len(cluster.logs[Partition(PARKED, 0)]) == count
    assert desk.committed() == 2


def test_an_entry_is_handed_out_only_when_its_own_offset_is_committed(cluster: MemoryCluster) -> None:
    """Else a crash after its success would bring it back as a new record, behind those it came before."""
    store(cluster, "a1", "a2")
    at_once = replace(UNORDERED, delay_s=0.0)
    desk, handler = Desk(cluster, policy=at_once), Handler(a1=ValueError())
    committed = []
    for text, leave in desk.walk(until_s=3):
        if len(handler.tried) == 3:
            committed.append(desk.committed())
            handler.bad.clear()
        leave(handler, text)
    assert (handler.tried[3], committed) == ("a1", [1])


@pytest.mark.parametrize("ordered", [True, False])
def test_an_outage_waits_whatever_the_policy_and_is_never_given_up(
    cluster: MemoryCluster, caplog: pytest.LogCaptureFixture, *, ordered: bool
) -> None:
    store(cluster, "a1", "a2")
    policy = Policy(ordered=ordered, retry=RetryPolicy(attempts=2, base_s=1, cap_s=30), budget_s=100)
    desk, handler = Desk(cluster, policy=policy), Handler(a1=Unreachable("the registry is down"))
    ready: list[tuple[float, bool]] = []
    for text, leave in desk.walk(until_s=900):
        ready.append((desk.time.seconds, desk.subscription.ready))
        if desk.time.seconds > 600:
            handler.bad.clear()
        leave(handler, text)
    assert handler.handled == ["a1", "a2"]
    assert desk.letters() == []
    assert PARKED not in cluster.topics
    assert all(was for seconds, was in ready if seconds < 100)
    assert not any(was for seconds, was in ready if 140 < seconds < 600)
    assert ready[-1][1]
    assert sum("longer than its budget" in r.message for r in caplog.records) == 1

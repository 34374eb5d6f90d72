"""The order of a redrive: a chunk is stored, then said to be done; at a rate, and stopped between two chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bus import redrive
from bus.core import parked_state
from bus.errors import Refused, Unreachable
from bus.ledger import Ledger, State
from bus.letter_desk import ACTIONS, LetterDesk
from bus.message import Outgoing, Partition
from bus.middleware.parking import unpack
from bus.operators import Operator
from bus.ports import TopicState
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from schemas.bus_events import LETTERS_AT_ONCE, OperatorAct, OperatorActed
from tests.bus.letters import GROUP, TOPIC, desk_on, fill, make_topics


class Notes:
    """A writer that keeps what it is given in the order it was given."""

    def __init__(self, *, failing: int | None = None) -> None:
        self.said: list[list[Outgoing] | OperatorActed] = []
        self._failing = failing

    def _note(self, what: list[Outgoing] | OperatorActed) -> None:
        if self._failing == len(self.said):
            raise Unreachable("The broker is made to fail.")
        self.said.append(what)

    def append(self, place: Partition, records: Sequence[Outgoing]) -> int:
        self._note(list(records))
        return 0

    def publish(self, event: OperatorActed, *, key: str, id: str) -> object:  # noqa: A002
        assert key == event.group
        assert id == f"{event.action}-{event.part}"
        self._note(event)
        return None

    @property
    def acts(self) -> list[OperatorActed]:
        return [one for one in self.said if isinstance(one, OperatorActed)]


class Seconds:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def cluster() -> MemoryCluster:
    made = memory_cluster()
    make_topics(made)
    return made


def operator(writer: Notes) -> Operator:
    return Operator(writer=writer, by="test", action="0" * 16)


def work(desk: LetterDesk, writer: Notes, *, rate: float = 1e9, stop_after: int = 10**9) -> redrive.Done:
    ledger = desk.read([GROUP]).ledger
    looks = iter(range(10**9))
    pace = redrive.Pace(rate, lambda: next(looks) >= stop_after)
    jobs = ledger.jobs(ledger.chosen(ledger.selection(), State.OPEN))
    return redrive.redrive(jobs, desk, operator(writer), pace=pace, progress=lambda done: None)


def test_each_chunk_is_said_to_be_done_after_it_is_stored(cluster: MemoryCluster) -> None:
    fill(cluster, 250)
    writer = Notes()
    done = work(desk_on(cluster), writer)
    assert done.letters == 250
    assert [len(act.letters) for act in writer.acts] == [100, 100, 50]
    assert [(act.part, act.planned) for act in writer.acts] == [(1, 250), (2, 250), (3, 250)]
    stored = 0
    for one in writer.said:
        if isinstance(one, OperatorActed):
            assert stored == sum(len(act.letters) for act in writer.acts[: one.part])
        else:
            stored += len(one)


@pytest.mark.parametrize("failing", range(6))
def test_what_is_not_said_to_be_done_is_open(cluster: MemoryCluster, failing: int) -> None:
    fill(cluster, 150)
    desk, writer = desk_on(cluster), Notes(failing=failing)
    with pytest.raises(Unreachable):
        work(desk, writer)
    letters = desk.read([GROUP]).ledger.letters.values()
    ledger = Ledger(letters, [(next(iter(letters)).appended, act) for act in writer.acts])
    stored = {unpack(row.value or b"").record.offset for one in writer.said if isinstance(one, list) for row in one}
    redriven = [one for one in letters if ledger.state(one) is State.REDRIVEN]
    assert {one.offset for one in redriven} <= stored
    assert sum(ledger.counts().values()) == 150


def test_it_stops_between_two_chunks(cluster: MemoryCluster) -> None:
    fill(cluster, 250)
    writer = Notes()
    done = work(desk_on(cluster), writer, stop_after=1)
    assert (done.letters, done.stopped) == (100, True)
    assert isinstance(writer.said[-1], OperatorActed)


def test_the_rate_is_kept_and_a_slow_one_is_even() -> None:
    time = Seconds()
    pace = redrive.Pace(5, lambda: False, time.sleep, lambda: time.now)
    assert pace.chunk == 5
    starts = []
    for _ in range(4):
        pace.wait(pace.chunk)
        starts.append(round(time.now - 100))
    assert starts == [0, 1, 2, 3]
    assert max(time.naps) <= 0.2
    assert redrive.Pace(0.5, lambda: False).chunk == 1
    assert redrive.Pace(1e9, lambda: False).chunk == LETTERS_AT_ONCE


def test_time_that_was_lost_is_not_made_up_for_by_a_flood() -> None:
    time = Seconds()
    pace = redrive.Pace(10, lambda: False, time.sleep, lambda: time.now)
    pace.wait(10)
    time.now += 60
    pace.wait(10)
    before = time.now
    pace.wait(10)
    assert time.now - before == pytest.approx(1)


def test_a_stop_ends_the_wait() -> None:
    time = Seconds()
    pace = redrive.Pace(0.001, lambda: time.now > 101, time.sleep, lambda: time.now)
    pace.wait(1)
    pace.wait(1)
    assert time.now < 102


def test_an_undo_says_which_action_and_which_letters(cluster: MemoryCluster) -> None:
    fill(cluster, 3)
    desk, writer = desk_on(cluster), Notes()
    work(desk, writer)
    letters = list(desk.read([GROUP]).ledger.letters.values())
    ledger = Ledger(letters, [(letters[0].appended, act) for act in writer.acts])
    (action,) = ledger.actions.values()
    undone = Notes()
    redrive.undo(action, Operator(writer=undone, by="test", action="1" * 16))
    (act,) = undone.acts
    assert (act.act, act.undone, act.letters) == (OperatorAct.UNDO, action.id, list(action.letters))


def prepared(cluster: MemoryCluster, *, far: int = 0) -> TopicState | None:
    """The topic of parked records after a redrive has been prepared."""
    desk = desk_on(cluster)
    ledger = desk.read([GROUP]).ledger
    jobs = ledger.jobs(list(ledger.letters.values()))
    if far:
        jobs[0] = replace(jobs[0], letter=replace(jobs[0].letter, place=Partition(TOPIC, far)))
    redrive.prepare(jobs, desk, cluster.admin())
    return cluster.topics.get(f"{GROUP}.parked")


def test_a_subscription_s_topic_is_made_as_its_consumer_would(cluster: MemoryCluster) -> None:
    fill(cluster, 3)
    before = cluster.topics[f"{GROUP}.parked"]
    assert prepared(cluster) == before
    assert prepared(cluster, far=4) == replace(before, partitions=5)
    cluster.admin().delete(f"{GROUP}.parked")
    assert prepared(cluster) == parked_state(f"{GROUP}.parked", 3, cluster.topics[TOPIC])


def test_a_group_that_cannot_take_letters_back_is_refused_before_the_first(cluster: MemoryCluster) -> None:
    fill(cluster, 3)
    cluster.admin().delete(f"{GROUP}.parked")
    cluster.admin().create(TopicState(f"{GROUP}.cases", 3, 1))
    with pytest.raises(Refused, match="cannot take letters back"):
        prepared(cluster)
    cluster.admin().delete(f"{GROUP}.cases")
    cluster.admin().delete(TOPIC)
    with pytest.raises(Refused, match="topics apply"):
        prepared(cluster)
    cluster.admin().delete(ACTIONS)
    with pytest.raises(Refused, match=ACTIONS):
        prepared(cluster)

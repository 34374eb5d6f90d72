"""Gives dead letters back to their group, drops them, undoes both: each a chunk, then the record that it was done.

Called by the commands `dlq redrive|drop|undo`. A redriven letter is an entry of ``<group>.parked``, so only its group
sees it again, with its own bytes, headers and place. The order is the promise: a chunk is stored, then said to be done;
so whatever ends the command (Ctrl-C, a broker that goes away), the same command goes on with the letters that are still
open, and repeats at most the last chunk, which readers recognise. The traps it avoids: letters marked as redriven that
never were, and a flood that keeps live events waiting.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bus.core import parked_state
from bus.errors import Refused
from bus.ledger import Action, Job
from bus.letter_desk import ACTIONS, LetterDesk
from bus.letter_opening import entry_of, stuck
from bus.letters import Letter
from bus.message import Outgoing, Partition
from bus.middleware.parking import entry_key, pack, parked_topic
from bus.operators import Operator
from bus.ports import Admin
from bus.transport.rules import no_topic
from schemas.bus_events import LETTERS_AT_ONCE, OperatorAct

_NAP_S = 0.2  # how soon a stop is noticed while the rate is kept
T = TypeVar("T")


@dataclass(slots=True)
class Done:
    """What came of an action so far.

    Args:
        letters: how many it took.
        left: those it could not take, each with the reason.
        stopped: whether it ended early because it was told to.
    """

    letters: int = 0
    left: list[tuple[Letter, str]] = field(default_factory=list)
    stopped: bool = False


@dataclass(slots=True)
class Pace:
    """Keeps an action at so many letters a second, and ends it when asked to.

    Args:
        rate: letters a second.
        stop: whether to end now.
        sleep: waits so many seconds.
        monotonic: seconds.
    """

    rate: float
    stop: Callable[[], bool]
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    _due: float = 0.0  # when the next letters are

    @property
    def chunk(self) -> int:
        """How many letters at a time: about a second's worth, so that a slow rate is even."""
        return max(1, min(LETTERS_AT_ONCE, int(self.rate)))

    def wait(self, letters: int) -> None:
        """Wait until so many more letters are due, the first ones at once; back sooner when asked to stop."""
        now = self.monotonic()
        self._due = max(now, self._due)
        while (left := self._due - self.monotonic()) > 0 and not self.stop():
            self.sleep(min(left, _NAP_S))
        self._due += letters / self.rate


def check_topics(desk: LetterDesk) -> None:
    """Refuse an action that could not be put on record. Raises Refused."""
    if ACTIONS not in desk.topics:
        raise no_topic(ACTIONS)


def prepare(jobs: Iterable[Job], desk: LetterDesk, admin: Admin) -> None:
    """See that each group can take its letters back, before the first is given.

    A subscription's topic of parked records is made, or given more partitions, as its consumer would do; a workflow's
    belongs to the topology file.

    Args:
        jobs: what is to be given back.
        desk: knows the topics.
        admin: makes one.

    Raises:
        Refused: naming the topic that is missing or has too few partitions.
    """
    check_topics(desk)
    places: dict[str, set[Partition]] = {}
    for job in jobs:
        places.setdefault(job.letter.group, set()).add(job.letter.place)
    for group, of in places.items():
        topic = parked_topic(group)
        sources = [desk.topics[name] for name in sorted({p.topic for p in of}) if name in desk.topics]
        wanted = max(*(p.number + 1 for p in of), *(source.partitions for source in sources), 0)
        there = desk.topics.get(topic)
        if there is not None and there.partitions >= wanted:
            continue
        if desk.case_partitions(group) is not None or not sources:
            raise Refused(
                f"{topic} is not there, or has fewer than {wanted} partitions: {group} cannot take letters back.",
                field="topic",
                remedy="Make it with `agencybus topics apply`.",
            )
        if there is None:
            admin.create(parked_state(topic, wanted, sources[0]))
        else:
            admin.add_partitions(topic, wanted)


def redrive(
    jobs: Sequence[Job], desk: LetterDesk, operator: Operator, *, pace: Pace, progress: Callable[[Done], None]
) -> Done:
    """Give records back to their groups, in the order given.

    Args:
        jobs: of any groups.
        desk: reads their bytes.
        operator: writes.
        pace: how fast, and when to stop.
        progress: told after each chunk.

    Raises:
        BusError: a chunk or its record could not be stored; the same command goes on where this one ended.
    """
    done = Done()
    planned = Counter(job.letter.group for job in jobs for _ in job.covers)
    for chunk in _chunks(jobs, pace.chunk):
        pace.wait(len(chunk))
        if pace.stop():
            done.stopped = True
            break
        taken = _store(chunk, desk, operator, done)
        for group, ids in taken.items():
            operator.say(OperatorAct.REDRIVE, group, ids, planned=planned[group])
            done.letters += len(ids)
        progress(done)
    return done


def _store(chunk: Sequence[Job], desk: LetterDesk, operator: Operator, done: Done) -> dict[str, list[str]]:
    """Store the entries of a chunk; the ids of the letters they stand for, by group."""
    rows: dict[Partition, list[Outgoing]] = {}
    taken: dict[str, list[str]] = {}
    for job, (letter, record) in zip(chunk, desk.records([job.letter for job in chunk]), strict=True):
        why = stuck(letter, record)
        if why is not None or record is None:
            done.left.append((letter, why or ""))
            continue
        entry = entry_of(letter, record, redrive=job.redrive, action=operator.action)
        place = Partition(parked_topic(letter.group), letter.place.number)
        rows.setdefault(place, []).append(Outgoing(entry_key(entry), pack(entry)))
        taken.setdefault(letter.group, []).extend(job.covers)
    for place, entries in rows.items():
        operator.writer.append(place, entries)
    return taken


def drop(
    letters: Sequence[Letter], operator: Operator, *, stop: Callable[[], bool], progress: Callable[[Done], None]
) -> Done:
    """Mark letters as settled by other means; nothing is deleted.

    Args:
        letters: of any groups.
        operator: writes.
        stop: whether to end now.
        progress: told after each chunk.

    Raises:
        BusError: the record of a chunk could not be stored; the same command goes on where this one ended.
    """
    done = Done()
    groups: dict[str, list[str]] = {}
    for letter in letters:
        groups.setdefault(letter.group, []).append(letter.id)
    for group, ids in groups.items():
        for chunk in _chunks(ids, LETTERS_AT_ONCE):
            if stop():
                done.stopped = True
                return done
            operator.say(OperatorAct.DROP, group, chunk, planned=len(ids))
            done.letters += len(chunk)
            progress(done)
    return done


def undo(action: Action, operator: Operator) -> None:
    """Open the letters of an action again; what a redrive has given back stays given back.

    Args:
        action: one that redrove or dropped letters.
        operator: writes.

    Raises:
        BusError: it could not be stored.
    """
    operator.say(OperatorAct.UNDO, action.group, list(action.letters), planned=len(action.letters), undone=action.id)


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]

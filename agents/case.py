"""The state of one case: what it waits for, what it knows, which events it has taken in.

`agents.machine` makes new states, `agents.case_bytes` their bytes. The traps it avoids: state that grows with the
rounds of a loop (a round leaves a count, nothing else); and a record that grows with each event, so that a long case
costs the square of its length (what changes no more is closed off in chapters, each written once).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, structs

from agents.graph import CASE_STEP, Json, Kept

CHAPTER = 8
"""How many places of the trail are closed off at once; as many stay open, or more, for outputs not yet acknowledged.

An event of a long case writes 1,200 bytes to the case log (`python -m tests.bench --only growth`), 2,000 while up to 16
places stayed open. A reader refuses chapters of another length.
"""

EARLY_LIMIT = 32
"""How many events a case keeps for steps it has not reached."""

_NOTHING: frozenset[str] = frozenset()


class Active(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One thing the case waits for.

    Args:
        since: when it began to wait, microseconds since 1970.
        due: when its timer falls due, likewise; None: no timer.
        fired: the timer has fired; the step goes on waiting.
    """

    since: int
    due: int | None
    fired: bool


class Mark(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Where one event of the case stands. `step` is the step that took it, empty while it is kept for later.

    An event the case put out has an `id`, and offset -1 until its acknowledgement has been seen. `since` is when the
    step that took the event had begun to wait, 0 for the opening, early and put-out events.

    Read from their bytes as they are: with defaults, an array that is too short would be filled up with them.
    """

    step: str
    topic: str
    partition: int
    offset: int
    at: int
    id: str
    since: int


class Early(Struct, frozen=True, array_like=True, gc=False):
    """An event kept for a step not reached yet; `mark` is its place in the trail, chapters included."""

    topic: str
    event_id: str
    at: int
    mark: int
    values: Mapping[str, Json]


class Chapter(NamedTuple):
    """A part of a case's past that changes no more.

    Args:
        applied: fingerprints, oldest first.
        trail: `CHAPTER` marks; nearly never looked at, so they may be `case_bytes.Folded`.
    """

    applied: tuple[str, ...]
    trail: Sequence[Mark]


class Case(Struct):
    """A case. Treat it as frozen: `agents.machine` copies before it changes anything.

    Args:
        id: the case id. graph: hash of the process the case is pinned to.
        opened: time of the opening event, microseconds since 1970.
        transitions: applied events plus fired timers, so far; the ids of emitted events are derived from it.
        active: step -> what it waits for.
        deadline: the timer of the whole case.
        counts: fork -> branches still running; repeat -> rounds done.
        values: bound name -> field path -> value, as far as something ahead may read it (`forget`).
        applied: fingerprints of the events taken in, oldest first, without those in chapters.
        trail: one mark per event taken in or put out, without those in chapters.
        early: events kept for steps not reached yet, oldest first.
        outcome: how it ended, None while it is open.
        chapters: what is closed off of `applied` and `trail`, oldest first.
        past: the fingerprints of `chapters` once more, as `remember` keeps them.
    """

    id: str
    graph: str
    opened: int
    transitions: int = 0
    active: dict[str, Active] = {}
    deadline: Active | None = None
    counts: dict[str, int] = {}
    values: dict[str, Mapping[str, Json]] = {}
    applied: list[str] = []
    trail: list[Mark] = []
    early: list[Early] = []
    outcome: str | None = None
    chapters: tuple[Chapter, ...] = ()
    past: tuple[frozenset[str], ...] = ()

    @property
    def closed(self) -> bool:
        """Whether the case has ended."""
        return self.outcome is not None

    @property
    def length(self) -> int:
        """How many marks the whole trail has."""
        return len(self.chapters) * CHAPTER + len(self.trail)

    def has(self, fingerprint: str) -> bool:
        """Whether an event has been taken in."""
        if fingerprint in self.applied:
            return True
        for known in self.past:  # noqa: SIM110  # `any` would make a generator for every event
            if fingerprint in known:
                return True
        return False


def next_due(case: Case) -> int | None:
    """When the next timer of the case falls due, microseconds since 1970; None when none is set."""
    soonest: int | None = None
    for wait in (*case.active.values(), case.deadline):
        if wait is not None and wait.due is not None and not wait.fired and (soonest is None or wait.due < soonest):
            soonest = wait.due
    return soonest


def copy(case: Case) -> Case:
    """A case that can be changed without touching `case`; what the containers hold is shared, since it is immutable."""
    return Case(
        case.id,
        case.graph,
        case.opened,
        case.transitions,
        case.active.copy(),
        case.deadline,
        case.counts.copy(),
        case.values.copy(),
        case.applied.copy(),
        case.trail.copy(),
        case.early.copy(),
        case.outcome,
        case.chapters,
        case.past,
    )


def close_chapters(case: Case, waiting: int) -> None:
    """Close off what is long past, changing `case`.

    Args:
        case: it.
        waiting: how many events it put out last are not acknowledged yet: their marks still change.
    """
    while len(case.trail) > CHAPTER and sum(bool(mark.id) for mark in case.trail[CHAPTER:]) >= waiting:
        done = len(case.applied) * CHAPTER // len(case.trail)
        chapter = Chapter(tuple(case.applied[:done]), tuple(case.trail[:CHAPTER]))
        case.chapters += (chapter,)
        case.past = remember(case.past, chapter)
        case.applied = case.applied[done:]
        case.trail = case.trail[CHAPTER:]


def remember(past: tuple[frozenset[str], ...], chapter: Chapter) -> tuple[frozenset[str], ...]:
    """Sets of fingerprints with those of one more chapter.

    A set takes up those behind it that are not larger, so a long case has few of them and each event moves but a few
    times. To ask one chapter after the other was a third of the time of a case of 800 events.

    Args:
        past: the sets so far, the largest first.
        chapter: the next.
    """
    new = frozenset(chapter.applied)
    while past and len(past[-1]) <= len(new):
        new |= past[-1]
        past = past[:-1]
    return (*past, new)


def forget(case: Case, keeps: Mapping[str, Kept]) -> None:
    """Keep of the values what may still be read, changing `case`.

    Args:
        case: it, at rest.
        keeps: what may be read by step that waits, and by the deadline of the whole case (`agents.flow.kept`).
    """
    ways = [keeps[step] for step in case.active]
    if case.deadline is not None and not case.deadline.fired:
        ways.append(keeps[CASE_STEP])
    if not any(ways):
        case.values = {}
        return
    for name, known in tuple(case.values.items()):
        wanted = _NOTHING.union(*(way.get(name, _NOTHING) for way in ways))
        if not wanted:
            del case.values[name]
        elif not known.keys() <= wanted:
            case.values[name] = {path: value for path, value in known.items() if path in wanted}


def place(case: Case, count: int, places: Mapping[str, tuple[int, int]]) -> None:
    """Write into the trail, changing `case`, where `count` outputs of it stand, now that they are acknowledged.

    From the end, and no further than the last of them: a long case must not cost more at each event.

    Args:
        case: it.
        count: how many outputs it had.
        places: partition and offset by event id; those of other cases do no harm.
    """
    trail = case.trail
    index, left = len(trail), count
    while left and index:
        index -= 1
        mark = trail[index]
        found = places.get(mark.id)
        if found is not None:
            left -= 1
            trail[index] = structs.replace(mark, partition=found[0], offset=found[1])


def take_early(case: Case, event: Early, step: str) -> None:
    """Note in the trail, changing `case`, which step takes an event that came early.

    A mark in a chapter changes no more: then the event is noted anew, and `whole_trail` leaves the old mark out.
    """
    place = event.mark - len(case.chapters) * CHAPTER
    if place >= 0:
        case.trail[place] = structs.replace(case.trail[place], step=step)
    else:
        chapter, place = divmod(event.mark, CHAPTER)
        case.trail.append(structs.replace(case.chapters[chapter].trail[place], step=step))


def whole_trail(case: Case) -> list[Mark]:
    """The trail of the case, chapters included, each event once."""
    if not case.chapters:
        return case.trail
    marks = [mark for chapter in case.chapters for mark in chapter.trail] + case.trail
    taken = {_place_of(mark) for mark in marks if mark.step and not mark.id}
    return [mark for mark in marks if mark.step or _place_of(mark) not in taken]


def _place_of(mark: Mark) -> tuple[str, int, int]:
    return mark.topic, mark.partition, mark.offset


def whole_applied(case: Case) -> list[str]:
    """The fingerprints of all events taken in, oldest first, chapters included."""
    return [fingerprint for chapter in case.chapters for fingerprint in chapter.applied] + case.applied

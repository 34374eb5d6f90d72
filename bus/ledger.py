"""What has become of dead letters: a fold of the letters and of what operators did, and nothing else.

Called by `bus.letter_desk`, which reads both, and the commands `dlq`. Pure. Each letter is open, redriven or dropped,
so the three always add up to all of them; an undone action counts as if it had never been. The traps it avoids: a
letter deleted to be rid of it, and one record redriven twice at once because two of its letters are chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bus.errors import UsageError
from bus.letters import Cause, Letter
from bus.message import Partition
from schemas.bus_events import OperatorAct, OperatorActed
from schemas.envelope import format_time


class State(StrEnum):
    """What has become of a letter."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DROPPED = "dropped"


_SHORTEST = 4  # digits of an id that may stand for it
_STATES = {OperatorAct.REDRIVE: State.REDRIVEN, OperatorAct.DROP: State.DROPPED}


@dataclass(slots=True, kw_only=True)
class Action:
    """One action of an operator in one group, its parts put together.

    Args:
        id: of the action. group: whose letters. act: what was done. by: who. reason: why.
        at: when its first part was done.
        planned: how many letters it was to take. letters: those it took, in order.
        undoes: of an undo, the other action. undone: whether one undid this.
    """

    id: str
    group: str
    act: OperatorAct
    by: str
    reason: str | None
    at: datetime
    planned: int
    letters: dict[str, None] = field(default_factory=dict)
    undoes: str | None = None
    undone: bool = False

    def as_json(self) -> dict[str, object]:
        """The action for machines."""
        return {
            "action": self.id,
            "act": self.act.value,
            "group": self.group,
            "at": format_time(self.at),
            "by": self.by,
            "reason": self.reason,
            "letters": len(self.letters),
            "planned": self.planned,
            "undoes": self.undoes,
            "undone": self.undone,
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those for which all that is given holds.

    Args:
        ids: whole ids. causes: their ids. topics: of the records. Empty: no condition.
    """

    ids: frozenset[str] = frozenset()
    causes: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()

    def takes(self, letter: Letter) -> bool:
        """Whether `letter` is meant."""
        return (
            (not self.ids or letter.id in self.ids)
            and (not self.causes or letter.cause.id in self.causes)
            and (not self.topics or letter.place.topic in self.topics)
        )


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many letters of one cause stand how, since when, and one of them to look at.

    Args:
        sample: id of the newest one, open if any is.
    """

    cause: Cause
    counts: dict[State, int]
    oldest: datetime
    newest: datetime
    sample: str


@dataclass(frozen=True, slots=True)
class Job:
    """One record to be given back to its group.

    Args:
        letter: the last letter of the record.
        covers: ids of all its chosen letters; with it they are redriven.
        redrive: the number of this redrive of the record, from 1.
    """

    letter: Letter
    covers: tuple[str, ...]
    redrive: int


class Ledger:
    """Letters and actions of any number of groups.

    Args:
        letters: in any order; a repeated one counts once.
        acts: when and what, those of one group in the order they were published.
    """

    def __init__(self, letters: Iterable[Letter], acts: Iterable[tuple[datetime, OperatorActed]] = ()) -> None:
        self.letters: dict[str, Letter] = {}
        for letter in letters:
            self.letters.setdefault(letter.id, letter)
        self.actions: dict[tuple[str, str], Action] = {}
        self._done: dict[str, list[Action]] = {}
        for at, said in acts:
            self._take(at, said)

    def _take(self, at: datetime, said: OperatorActed) -> None:
        action = self.actions.setdefault(
            (said.action, said.group),
            Action(
                id=said.action,
                group=said.group,
                act=said.act,
                by=said.by,
                reason=said.reason,
                at=at,
                planned=said.planned,
                undoes=said.undone,
            ),
        )
        if said.act is not action.act:
            return  # no program of ours says two things under one id
        action.letters |= dict.fromkeys(said.letters)
        if said.act in _STATES:
            for one in said.letters:
                self._done.setdefault(one, []).append(action)
        undone = self.actions.get((said.undone or "", said.group))
        if said.act is OperatorAct.UNDO and undone is not None:
            undone.undone = True

    def state(self, letter: Letter) -> State:
        """What has become of `letter`: what the last action that is not undone says."""
        standing = [action for action in self._done.get(letter.id, ()) if not action.undone]
        return _STATES[standing[-1].act] if standing else State.OPEN

    def counts(self, letters: Iterable[Letter] | None = None) -> dict[State, int]:
        """How many letters are open, redriven and dropped."""
        found = dict.fromkeys(State, 0)
        for letter in self.letters.values() if letters is None else letters:
            found[self.state(letter)] += 1
        return found

    def chosen(self, selection: Selection, *states: State) -> list[Letter]:
        """The letters of a selection, only those in `states` when any is given, in the order they were stored."""
        return [
            letter
            for letter in self.letters.values()
            if selection.takes(letter) and (not states or self.state(letter) in states)
        ]

    def selection(
        self, *, ids: Iterable[str] = (), causes: Iterable[str] = (), topics: Iterable[str] = ()
    ) -> Selection:
        """What an operator typed, checked: a word that means no letter is an error, never "nothing to do".

        Args:
            ids: of letters, whole or their first digits.
            causes: ids of causes.
            topics: of records.

        Raises:
            UsageError: naming the word and near ones.
        """
        known = {letter.cause.id: letter for letter in self.letters.values()}
        there = {letter.place.topic for letter in self.letters.values()}
        for word in causes:
            if word not in known:
                raise _unknown(f"No dead letter has the cause {word}", known, "`agencybus dlq list` shows them.")
        for word in topics:
            if word not in there:
                raise _unknown(f"No dead letter is of the topic {word}", there, "`agencybus dlq list` shows them.")
        return Selection(frozenset(map(self.letter, ids)), frozenset(causes), frozenset(topics))

    def letter(self, word: str) -> str:
        """The id of the letter that a word means: whole, or its first digits. Raises UsageError."""
        return word if word in self.letters else _by_prefix(word, self.letters, "dead letter")

    def action(self, word: str) -> list[Action]:
        """The redrive or drop that a word means, one item per group; whole, or its first digits. Raises UsageError."""
        meant = _by_prefix(word, {action.id for action in self.actions.values()}, "action")
        found = [action for action in self.actions.values() if action.id == meant]
        if found[0].act not in _STATES:
            raise UsageError(
                f"Action {meant} is of kind {found[0].act.value}; only redrive and drop can be undone.",
                remedy="To repeat what an undo took back, redrive or drop again.",
            )
        return found

    def tallies(self, letters: Iterable[Letter]) -> list[Tally]:
        """One per cause, the one with most open letters first."""
        found: dict[Cause, Tally] = {}
        rank: dict[Cause, tuple[bool, datetime]] = {}
        for letter in letters:
            state, when = self.state(letter), letter.failure.last
            tally = found.setdefault(
                letter.cause,
                Tally(cause=letter.cause, counts=dict.fromkeys(State, 0), oldest=when, newest=when, sample=letter.id),
            )
            tally.counts[state] += 1
            tally.oldest, tally.newest = min(tally.oldest, when), max(tally.newest, when)
            if (mine := (state is State.OPEN, when)) >= rank.get(letter.cause, mine):
                rank[letter.cause], tally.sample = mine, letter.id
        return sorted(found.values(), key=lambda t: (-t.counts[State.OPEN], -sum(t.counts.values()), t.cause.id))

    def jobs(self, letters: Sequence[Letter]) -> list[Job]:
        """What to give back for these letters: each record once, those of a key in the order of their topic.

        A record's next redrive number is above every one it had, so that failing again makes a letter of its own.
        """
        used: dict[tuple[str, str, int, int], int] = {}
        for letter in self.letters.values():
            times = letter.redrive + sum(a.act is OperatorAct.REDRIVE for a in self._done.get(letter.id, ()))
            used[_spot(letter)] = max(used.get(_spot(letter), 0), times)
        records: dict[tuple[str, str, int, int], list[Letter]] = {}
        for letter in letters:
            records.setdefault(_spot(letter), []).append(letter)
        last = [max(same, key=lambda one: one.redrive) for same in records.values()]
        return [
            Job(letter, tuple(one.id for one in records[_spot(letter)]), used[_spot(letter)] + 1)
            for letter in in_order(last)
        ]


def in_order(letters: Iterable[Letter]) -> list[Letter]:
    """By time over all topics, by offset within a partition: there a clock that went back does not count."""
    latest: dict[tuple[str, Partition], datetime] = {}
    when: dict[str, datetime] = {}
    there = sorted(letters, key=lambda one: (one.group, one.place, one.offset))
    for letter in there:
        log = (letter.group, letter.place)
        when[letter.id] = latest[log] = max(latest.get(log, letter.appended), letter.appended)
    return sorted(there, key=lambda one: when[one.id])  # stable: what came at one time keeps its order


def _spot(letter: Letter) -> tuple[str, str, int, int]:
    return letter.group, letter.place.topic, letter.place.number, letter.offset


def _by_prefix(word: str, known: Iterable[str], what: str) -> str:
    """The one of `known` that is `word` or begins with it. Raises UsageError."""
    found = sorted(one for one in known if one == word or (len(word) >= _SHORTEST and one.startswith(word)))
    if len(found) == 1:
        return found[0]
    command = "dlq history" if what == "action" else "dlq list --each"
    if found:
        raise UsageError(f"{len(found)} ids of {what}s begin with {word}.", remedy=f"Write more digits: {found[0]}.")
    raise UsageError(f"There is no {what} {word!r}.", remedy=f"`agencybus {command}` shows those there are.")


def _unknown(message: str, known: Iterable[str], remedy: str) -> UsageError:
    near = sorted(known)[:5]
    return UsageError(f"{message}.", remedy=f"There are: {', '.join(near)}. {remedy}" if near else remedy)

"""The compiled form of a process: a flat program of nodes with integer addresses, and what is known about it.

`agents.compile` builds it, `agents.machine` runs it, `agents.diagram` draws it, the runner asks it which topics to
read and which fields to keep. Everything here is plain, frozen and free of I/O. The trap it avoids: walking nested
definitions at run time, where the state of a case grows with the depth and the history of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Values: TypeAlias = Mapping[str, Mapping[str, Json]]
"""What a case knows: bound name -> field path -> value as JSON."""

Kept: TypeAlias = Mapping[str, frozenset[str]]
"""Bound name -> the field paths that may still be read."""

Guard: TypeAlias = Callable[[Values], bool]
Fill: TypeAlias = Callable[[Values], dict[str, Json]]
Due: TypeAlias = Callable[[Values, int], "int | None"]
"""From the case's values and the time now (microseconds since 1970) to the time a timer falls due, None: never."""

NOWHERE = -1
CASE_STEP = "case"
"""The step name under which the deadline of the whole case is reported."""
DEADLINE_BINDING = "deadline"
"""The name under which what a passed deadline does reads it."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Wait for one event of `topic` and bind it to `bind`; a due timer runs the nodes at `late` once."""

    step: str
    topic: str
    bind: str
    where: Guard | None
    keeps_time: bool
    due: Due | None
    late: int
    next: int


@dataclass(frozen=True, slots=True)
class Emit:
    """Publish one event on `topic` with the fields `fill` gives."""

    step: str
    topic: str
    agency: str
    fill: Fill
    next: int


@dataclass(frozen=True, slots=True)
class Switch:
    """Go to the first arm whose guard holds, else to `otherwise` (NOWHERE when the arms cover every value)."""

    arms: tuple[tuple[Guard, int], ...]
    otherwise: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Start every branch, in the order written."""

    step: str
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """The end of one branch of the fork `step`; the last branch goes on."""

    step: str
    next: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a time; one that is already reached is passed at once."""

    step: str
    due: Due
    next: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """Enter a loop: the count of its rounds starts at zero."""

    step: str
    entry: int


@dataclass(frozen=True, slots=True)
class Again:
    """The end of one round: leave when `until` holds or `limit` rounds are done, else start over."""

    step: str
    until: Guard
    limit: int
    entry: int
    next: int


@dataclass(frozen=True, slots=True)
class End:
    """Close the case with an outcome; whatever else it waited for is given up."""

    step: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The end of what a passed deadline does; the step goes on waiting."""


Node: TypeAlias = "Listen | Emit | Switch | Fork | Join | Wait | Repeat | Again | End | Stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What people want to know of a step.

    Args:
        kind: the step's keyword.
        title: what it does, in the process's words.
        owner: the agency that answers for it; empty when nobody does (a switch).
        legal_basis: the article it rests on, as written.
        replaces: the papers nobody has to carry any more.
        deadline: the deadline in words, empty when there is none.
        waits_for: what it waits for in words, empty when it does not wait.
        line: where it stands in the file, 1-based.
        topic: the topic it listens to or emits on.
    """

    kind: Literal["listen", "emit", "switch", "fork", "wait", "repeat", "end"]
    title: str
    owner: str = ""
    legal_basis: str = ""
    replaces: tuple[str, ...] = ()
    deadline: str = ""
    waits_for: str = ""
    line: int = 0
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """One step with the blocks inside it, for diagrams and texts: (label, blocks) per arm, branch or loop body."""

    step: str
    inner: tuple[tuple[str, tuple[Block, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A process, ready to run.

    Args:
        process: its name. title: one sentence.
        hash: SHA-256 over everything a running case can notice; comments, titles and layout do not count.
        opens_on: the topic whose event opens a case; `opening` is the name it is bound to.
        listens: every topic it reads, `opens_on` included. emits: every topic it writes.
        time: whose clock counts: ``append`` (the broker's append time) or ``event`` (when the fact happened).
        keeps_early: an event no step waits for yet is kept in the case, instead of refused.
        needs: topic -> the field paths a case takes from an event (data minimisation: no other field is stored).
        keeps_opening_time, keeps_case: whether expressions use the opening event's time, or the case's id and opening.
        program: the nodes; execution starts at `entry`.
        waiters: topic -> addresses of the listens, in program order.
        at: step -> address, for the steps that wait.
        reach: step that waits -> the topics some step after it listens to.
        keeps: step that waits, or `CASE_STEP` -> what of the values may still be read; nothing else is kept.
        due, late: the deadline of the whole case and the address of what it does.
        deadline: the deadline of the whole case in words, empty when there is none.
        steps: step -> what people want to know, in the order of the file.
        layout: the block structure.
        agencies: topic -> the agency that owns it, for every topic emitted.
    """

    process: str
    title: str
    hash: str
    opens_on: str
    opening: str
    listens: frozenset[str]
    emits: frozenset[str]
    time: Literal["append", "event"]
    keeps_early: bool
    needs: Mapping[str, tuple[str, ...]]
    keeps_opening_time: bool
    keeps_case: bool
    program: tuple[Node, ...]
    entry: int
    waiters: Mapping[str, tuple[int, ...]]
    at: Mapping[str, int]
    reach: Mapping[str, frozenset[str]]
    keeps: Mapping[str, Kept]
    due: Due | None
    late: int
    steps: Mapping[str, Step]
    layout: tuple[Block, ...]
    agencies: Mapping[str, str]
    deadline: str = ""

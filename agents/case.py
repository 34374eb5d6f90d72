"""The state of one case: what it waits for, what it knows, which events it has taken in. And its bytes.

`agents.machine` makes new states, the case store keeps the bytes. The traps it avoids: state that grows with the
rounds of a loop (a round leaves a count and the last values, nothing else), and a damaged record that is read as
another state: every byte string is either a case of a known format version or a `CaseDamaged`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_json

from agents.graph import Json
from bus.errors import BusError

FORMAT = 1
"""Version of the byte format. A reader refuses a newer one: workers of two versions share a rolling upgrade."""

EARLY_LIMIT = 32
"""How many events a case keeps for steps it has not reached."""


class CaseDamaged(BusError):
    """Stored bytes are not a case of a format this version knows."""


class Active(NamedTuple):
    """One thing the case waits for.

    Args:
        since: when it began to wait, microseconds since 1970.
        due: when its timer falls due, likewise; None: no timer.
        fired: the timer has fired; the step goes on waiting.
    """

    since: int
    due: int | None = None
    fired: bool = False


class Mark(NamedTuple):
    """Where one event of the case stands. `step` is the step that took it, empty while it is kept for later.

    An event the case put out has an `id`, and offset -1 until its acknowledgement has been seen. `since` is when the
    step that took the event had begun to wait, 0 for the opening, early and put-out events.
    """

    step: str
    topic: str
    partition: int
    offset: int
    at: int
    id: str = ""
    since: int = 0


class Early(NamedTuple):
    """An event kept for a step not reached yet; `mark` is its place in the trail."""

    topic: str
    event_id: str
    at: int
    mark: int
    values: Mapping[str, Json]


@dataclass(slots=True)
class Case:
    """A case. Treat it as frozen: `agents.machine` copies before it changes anything.

    Args:
        id: the case id. graph: hash of the process the case is pinned to.
        opened: time of the opening event, microseconds since 1970.
        transitions: applied events plus fired timers, so far; the ids of emitted events are derived from it.
        active: step -> what it waits for.
        deadline: the timer of the whole case.
        counts: fork -> branches still running; repeat -> rounds done.
        values: bound name -> field path -> value.
        applied: fingerprints of the events taken in, oldest first.
        trail: one mark per event taken in.
        early: events kept for steps not reached yet, oldest first.
        outcome: how it ended, None while it is open.
    """

    id: str
    graph: str
    opened: int
    transitions: int = 0
    active: dict[str, Active] = field(default_factory=dict)
    deadline: Active | None = None
    counts: dict[str, int] = field(default_factory=dict)
    values: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    applied: list[str] = field(default_factory=list)
    trail: list[Mark] = field(default_factory=list)
    early: list[Early] = field(default_factory=list)
    outcome: str | None = None

    @property
    def closed(self) -> bool:
        """Whether the case has ended."""
        return self.outcome is not None


def next_due(case: Case) -> int | None:
    """When the next timer of the case falls due, microseconds since 1970; None when none is set."""
    dues = [wait.due for wait in case.active.values() if wait.due is not None and not wait.fired]
    whole = case.deadline
    if whole is not None and whole.due is not None and not whole.fired:
        dues.append(whole.due)
    return min(dues, default=None)


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
    )


def to_bytes(case: Case) -> bytes:
    """The case as one JSON array, the format version first."""
    # plain tuples: pydantic_core writes a tuple's subclass four times slower
    return to_json(
        [
            FORMAT,
            case.id,
            case.graph,
            case.opened,
            case.transitions,
            {step: tuple(wait) for step, wait in case.active.items()},
            None if case.deadline is None else tuple(case.deadline),
            case.counts,
            case.values,
            case.applied,
            list(map(tuple, case.trail)),
            list(map(tuple, case.early)),
            case.outcome,
        ]
    )


_Wait = tuple[int, int | None, bool]
_Fields = dict[str, Any]  # any JSON value: the parser has made sure of that
_STORED: TypeAdapter[tuple[Any, ...]] = TypeAdapter(
    tuple[
        Literal[1],
        str,
        str,
        int,
        int,
        dict[str, _Wait],
        _Wait | None,
        dict[str, int],
        dict[str, _Fields],
        list[str],
        list[tuple[str, str, int, int, int, str, int]],
        list[tuple[str, str, int, int, _Fields]],
        str | None,
    ],
    config=ConfigDict(strict=True),
)


def from_bytes(data: bytes) -> Case:
    """Read what `to_bytes` wrote.

    Raises:
        CaseDamaged: when the bytes are not a case, or of a format version this program does not know.
    """
    try:
        _, name, graph, opened, transitions, active, whole, counts, values, applied, trail, early, outcome = (
            _STORED.validate_json(data)
        )
    except ValidationError as fault:
        where = ".".join(str(part) for part in fault.errors(include_input=False, include_url=False)[0]["loc"])
        raise CaseDamaged(
            f"These {len(data)} bytes are not a case of format {FORMAT} (at item {where or 'whole'}).",
            remedy="Upgrade this worker if a newer one wrote them; otherwise restore the record from its topic.",
        ) from None
    return Case(
        name,
        graph,
        opened,
        transitions,
        {step: Active(*wait) for step, wait in active.items()},
        None if whole is None else Active(*whole),
        counts,
        values,
        applied,
        [Mark(*mark) for mark in trail],
        [Early(*event) for event in early],
        outcome,
    )

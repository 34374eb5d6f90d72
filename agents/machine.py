"""The state machine: one event or one passed timer in, a new case state and the events to publish out. Pure.

The runner calls `step` for every event of a unit and `due` when time has moved on. Nothing here reads a clock, a
random number or a file, so a case can be stepped again after a crash and comes out the same. The traps it avoids: a
changed input (a rejected event would leave traces), ids that differ on the second run (receivers would count twice),
and a timer that fires after an event it was due before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Literal

from msgspec import Raw, Struct
from msgspec.json import encode

from agents.case import EARLY_LIMIT, Active, Case, Early, Mark, copy, forget, take_early
from agents.graph import (
    DEADLINE_BINDING,
    NOWHERE,
    Again,
    End,
    Fork,
    Graph,
    Join,
    Json,
    Listen,
    Repeat,
    Stop,
    Switch,
    Values,
    Wait,
)
from agents.graph import Emit as EmitNode
from schemas.envelope import format_us

CASE_BINDING = "case"
TIME_FIELD = "time"


class Arrival(Struct, frozen=True, gc=False):
    """An event as the machine sees it.

    Args:
        case: the case id.
        topic: its event type. partition, offset: where it stands.
        fingerprint: 16 hex characters that say which event it is, wherever it stands.
        event_id: the id in its envelope.
        at: its time in the process's own counting (append or event time), microseconds since 1970.
        values: the fields the process needs (`agents.extract`).
    """

    case: str
    topic: str
    partition: int
    offset: int
    fingerprint: str
    event_id: str
    at: int
    values: Mapping[str, Json]


class Emit(Struct, frozen=True, array_like=True, gc=False):
    """An event to publish.

    Args:
        id: 32 hex characters, the same whenever the case is stepped again.
        topic: where it goes. step: the step that emits it. agency: the topic's owner.
        data: its fields, one JSON object: as bytes they are made once, and one thing to keep until they are sent.
        at: the time of the transition, microseconds since 1970.
        caused_by: id of the event that led to it, None when a timer did.
    """

    id: str
    topic: str
    step: str
    agency: str
    data: Raw
    at: int
    caused_by: str | None


class Rejected(Exception):
    """The event does not fit the case; the case is as before.

    Args:
        reason: ``late`` (the case is closed), ``unopened`` (no case, and this event opens none), ``unexpected`` (no
            step waits for it and none will, or the process refuses early events, or too many are kept already).
    """

    def __init__(self, reason: Literal["late", "unopened", "unexpected"], message: str) -> None:
        super().__init__(message)
        self.reason = reason


def step(graph: Graph, case: Case | None, arrival: Arrival) -> tuple[Case, tuple[Emit, ...]]:
    """Apply one event.

    Timers due before the event fire first, each at its own due time, in order of (due, step). An event that has been
    applied already changes nothing and returns the very case given.

    Args:
        graph: the process.
        case: the state so far, None before the first event; never changed.
        arrival: the event.

    Raises:
        Rejected: the event does not fit; nothing has changed.
        ValueError: the case is pinned to another process.
    """
    if case is None:
        return _open(graph, arrival)
    if case.has(arrival.fingerprint):
        return case, ()
    _check_pin(graph, case)
    draft = _Draft(graph, copy(case))
    draft.fire(arrival.at)
    if draft.case.outcome is not None:
        raise Rejected("late", f"case {case.id} is closed ({draft.case.outcome}); {arrival.topic} came after its end")
    node = _taker(graph, draft.case, arrival)
    draft.apply(arrival, node)
    forget(draft.case, graph.keeps)
    return draft.case, tuple(draft.out)


def due(graph: Graph, case: Case, now: int) -> tuple[Case, tuple[Emit, ...]]:
    """Fire every timer due at or before `now`.

    Each fires at its own due time, in order of (due, step).

    Returns the very case given when there is none.

    Args:
        graph: the process.
        case: the state so far; never changed.
        now: microseconds since 1970.

    Raises:
        ValueError: the case is pinned to another process.
    """
    if _next_timer(case, now + 1) is None:
        return case, ()
    _check_pin(graph, case)
    draft = _Draft(graph, copy(case))
    draft.fire(now + 1)
    forget(draft.case, graph.keeps)
    return draft.case, tuple(draft.out)


def _check_pin(graph: Graph, case: Case) -> None:
    if case.graph != graph.hash:
        raise ValueError(f"case {case.id} is pinned to process {case.graph[:12]}, not {graph.hash[:12]}")


def _open(graph: Graph, arrival: Arrival) -> tuple[Case, tuple[Emit, ...]]:
    if arrival.topic != graph.opens_on:
        raise Rejected("unopened", f"case {arrival.case} is not open; {graph.process} opens on {graph.opens_on}")
    now = arrival.at
    case = Case(arrival.case, graph.hash, now, applied=[arrival.fingerprint])
    case.trail.append(Mark(graph.opening, arrival.topic, arrival.partition, arrival.offset, now, "", 0))
    case.values[graph.opening] = _timed(arrival.values, now) if graph.keeps_opening_time else arrival.values
    if graph.keeps_case:
        case.values[CASE_BINDING] = {"id": case.id, "opened": format_us(now)}
    draft = _Draft(graph, case)
    draft.begin(now, arrival.event_id)
    moment = graph.due(case.values, now) if graph.due is not None else None
    if moment is not None:
        case.deadline = Active(now, moment, moment < now)
        if moment < now:
            draft.run_late(graph.late, moment)
    if case.outcome is None:
        draft.run(graph.entry)
    forget(case, graph.keeps)
    return case, tuple(draft.out)


def _taker(graph: Graph, case: Case, arrival: Arrival) -> Listen | None:
    """The first waiting step, in the order of the file, that takes the event; None when it is to be kept for later."""
    active = case.active
    for address in graph.waiters.get(arrival.topic, ()):
        node = graph.program[address]
        if type(node) is Listen and node.step in active and _fits(case, node, arrival):
            return node
    if not graph.keeps_early or not any(arrival.topic in graph.reach[name] for name in active):
        raise Rejected("unexpected", f"case {case.id}: no step waits for {arrival.topic}, and none will")
    if len(case.early) >= EARLY_LIMIT:
        raise Rejected("unexpected", f"case {case.id} keeps {EARLY_LIMIT} early events already")
    return None


def _fits(case: Case, node: Listen, event: Arrival | Early) -> bool:
    return node.where is None or node.where({**case.values, node.bind: _timed(event.values, event.at)})


def _timed(values: Mapping[str, Json], at: int) -> Mapping[str, Json]:
    """The fields with the event's time beside them, unless the contract has a field of that name."""
    return {TIME_FIELD: format_us(at), **values}


def _next_timer(case: Case, limit: int) -> tuple[int, str] | None:
    """The earliest unfired timer due before `limit` as (due, step); the timer of the whole case is step ""."""
    found: tuple[int, str] | None = None
    for name, wait in case.active.items():
        moment = wait.due
        if moment is not None and moment < limit and not wait.fired and (found is None or (moment, name) < found):
            found = (moment, name)
    whole = case.deadline
    if whole is not None and whole.due is not None and whole.due < limit and not whole.fired:
        found = (whole.due, "") if found is None or whole.due <= found[0] else found
    return found


class _Draft:
    """A copy of a case on its way to the next state, and the events it emits.

    Args:
        graph: the process.
        case: a copy that may be changed.
    """

    __slots__ = ("case", "cause", "graph", "now", "ordinal", "out")

    def __init__(self, graph: Graph, case: Case) -> None:
        self.graph = graph
        self.case = case
        self.out: list[Emit] = []
        self.now = 0
        self.cause: str | None = None
        self.ordinal = 0

    def begin(self, now: int, cause: str | None) -> None:
        """Start the next transition: the ids of what it emits count from zero again."""
        self.case.transitions += 1
        self.now = now
        self.cause = cause
        self.ordinal = 0

    def apply(self, arrival: Arrival, node: Listen | None) -> None:
        """Take the event in at `node`, or keep it for later when there is none."""
        case = self.case
        self.begin(arrival.at, arrival.event_id)
        case.applied.append(arrival.fingerprint)
        if node is None:
            case.early.append(Early(arrival.topic, arrival.event_id, arrival.at, case.length, arrival.values))
            case.trail.append(Mark("", arrival.topic, arrival.partition, arrival.offset, arrival.at, "", 0))
            return
        since = case.active.pop(node.step).since
        case.trail.append(Mark(node.step, arrival.topic, arrival.partition, arrival.offset, arrival.at, "", since))
        self._bind(node, arrival.values, arrival.at)
        self.run(node.next)

    def fire(self, limit: int) -> None:
        """Fire the timers due before `limit`, including those that come up on the way."""
        case = self.case
        while (timer := _next_timer(case, limit)) is not None:
            moment, name = timer
            self.begin(moment, None)
            if name == "":
                assert case.deadline is not None
                case.deadline = Active(case.deadline.since, moment, fired=True)
                self.run_late(self.graph.late, moment)
                continue
            node = self.graph.program[self.graph.at[name]]
            if type(node) is Wait:
                del case.active[name]
                self.run(node.next)
            elif type(node) is Listen:
                case.active[name] = Active(case.active[name].since, moment, fired=True)
                self.run_late(node.late, moment)

    def run_late(self, address: int, moment: int) -> None:
        """Run what a passed deadline does; its expressions see the due time as ``deadline.due``."""
        if address != NOWHERE:
            self.run(address, {**self.case.values, DEADLINE_BINDING: {"due": format_us(moment)}})

    def run(self, address: int, scope: Values | None = None) -> None:
        """Go on from `address` until every path waits or ends. Branches run in the order written."""
        case = self.case
        program = self.graph.program
        values: Values = case.values if scope is None else scope
        todo = [address]
        while todo and case.outcome is None:
            node = program[todo.pop()]
            _DO[type(node)](self, node, values, todo)

    def _bind(self, node: Listen, values: Mapping[str, Json], at: int) -> None:
        self.case.values[node.bind] = _timed(values, at) if node.keeps_time else values

    def listen(self, node: Listen, _: Values, todo: list[int]) -> None:
        """Begin to wait for an event, or take one that came early."""
        case = self.case
        if case.early and self._take_early(node):
            todo.append(node.next)
            return
        moment = node.due(case.values, self.now) if node.due is not None else None
        passed = moment is not None and moment < self.now
        case.active[node.step] = Active(self.now, moment, passed)
        if passed:
            assert moment is not None
            self.run_late(node.late, moment)

    def _take_early(self, node: Listen) -> bool:
        """Take the oldest kept event that fits."""
        case = self.case
        for place, event in enumerate(case.early):
            if event.topic == node.topic and _fits(case, node, event):
                del case.early[place]
                take_early(case, event, node.step)
                self._bind(node, event.values, event.at)
                return True
        return False

    def wait(self, node: Wait, _: Values, todo: list[int]) -> None:
        """Begin to wait for a time, unless it has come."""
        moment = node.due(self.case.values, self.now)
        if moment is None or moment <= self.now:
            todo.append(node.next)
        else:
            self.case.active[node.step] = Active(self.now, moment, fired=False)

    def switch(self, node: Switch, values: Values, todo: list[int]) -> None:
        """Take the first arm whose guard holds."""
        for guard, entry in node.arms:
            if guard(values):
                todo.append(entry)
                return
        todo.append(node.otherwise)

    def fork(self, node: Fork, _: Values, todo: list[int]) -> None:
        """Start every branch."""
        self.case.counts[node.step] = len(node.entries)
        todo.extend(reversed(node.entries))

    def join(self, node: Join, _: Values, todo: list[int]) -> None:
        """End a branch; the last one goes on."""
        counts = self.case.counts
        counts[node.step] -= 1
        if counts[node.step] == 0:
            del counts[node.step]
            todo.append(node.next)

    def repeat(self, node: Repeat, _: Values, todo: list[int]) -> None:
        """Enter a loop."""
        self.case.counts[node.step] = 0
        todo.append(node.entry)

    def again(self, node: Again, values: Values, todo: list[int]) -> None:
        """End a round of a loop."""
        counts = self.case.counts
        counts[node.step] += 1
        if counts[node.step] >= node.limit or node.until(values):
            del counts[node.step]
            todo.append(node.next)
        else:
            todo.append(node.entry)

    def emit(self, node: EmitNode, values: Values, todo: list[int]) -> None:
        """Put an event out."""
        case = self.case
        digest = sha256(f"{case.id}\0{case.transitions}\0{self.ordinal}".encode()).hexdigest()
        self.ordinal += 1
        data = Raw(encode(node.fill(values)))
        self.out.append(Emit(digest[:32], node.topic, node.step, node.agency, data, self.now, self.cause))
        todo.append(node.next)

    def end(self, node: End, _: Values, todo: list[int]) -> None:
        """Close the case."""
        todo.clear()
        _close(self.case, node.outcome)

    def stop(self, _: Stop, __: Values, todo: list[int]) -> None:
        """End what a passed deadline does."""
        todo.clear()


_DO: Mapping[type, Callable[[_Draft, Any, Values, list[int]], None]] = {
    Listen: _Draft.listen,
    EmitNode: _Draft.emit,
    Switch: _Draft.switch,
    Fork: _Draft.fork,
    Join: _Draft.join,
    Repeat: _Draft.repeat,
    Again: _Draft.again,
    Wait: _Draft.wait,
    End: _Draft.end,
    Stop: _Draft.stop,
}  # patterns of classes would ask each node about all kinds before its own


def _close(case: Case, outcome: str) -> None:
    """End the case and give up what it waits for and what it knows: a closed case keeps no personal data."""
    case.outcome = outcome
    case.active = {}
    case.deadline = None
    case.counts = {}
    case.values = {}
    case.early = []

"""One event or timer of one case: step it, or park the case when that fails by no fault of the event.

The part of `agents.decide` that knows one case at a time. The traps it avoids: a failure that ends the process and
meets it again after each restart; a later event that overtakes the parked one; a neighbour that pays for it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from datetime import datetime

from agents import case as cases
from agents import machine, parked
from agents import shelf as shelves
from agents.case import Case, Mark
from agents.case_bytes import Damaged
from agents.case_log import Marker, Stored
from agents.decision import TOO_LARGE, Alarm, Decision, Place, Rules, UnknownVersion, place
from agents.graph import Graph
from agents.intake import Dead, passing
from agents.machine import Arrival, Emit, Rejected
from agents.parked import TIMER, Waiting
from agents.shelf import Shelf
from bus.errors import Refused
from bus.message import Record
from bus.middleware import parking
from bus.middleware.dead_letter import Failure
from bus.middleware.retry import Kind

_LARGEST_TRAIL = 2_000  # places in a closed case that its archive record surely has room for


class Stepper:
    """Steps cases of one partition into a decision.

    Args:
        rules: of the worker. shelf: the partition's cases, only read.
        number: of the partition. limit: most pieces of work. now: wall time, aware.
    """

    def __init__(self, rules: Rules, shelf: Shelf, *, number: int, limit: int, now: datetime) -> None:
        self._rules = rules
        self._shelf = shelf
        self._number = number
        self._limit = limit
        self._now = now
        self.decision = Decision()
        self._unchecked: list[Emit] = []
        self._careful = False  # whether outputs are checked where they come up

    def _try(self, arrival: Arrival, record: Record) -> Failure | None:
        """Step the event's case; why that failed, by no fault of the event. Raises Rejected, Damaged."""
        if self._rules.too_large and self._rules.too_large.get(place(record)):
            return self._failure("size", TOO_LARGE)
        try:
            self._step(arrival)
        except (Rejected, Damaged):
            raise
        except Refused as refused:
            return self._failure("emit", refused.field or "Refused")
        except Exception as error:  # a bug is its case's trouble, never its neighbours'
            if passing(error):
                raise
            return self._failure("step", type(error).__name__)
        return None

    def _step(self, arrival: Arrival) -> None:
        entry = shelves.merged(self._shelf, self.decision.changes, arrival.case)
        if isinstance(entry, Marker):
            if arrival.fingerprint not in entry.applied:
                raise Rejected("late", f"case {arrival.case} is closed")
            return
        before = None if entry is None else entry.case
        graph = self._rules.graph if before is None else self._graph_of(before)
        after, emits = machine.step(graph, before, arrival)
        if after is not before:
            self._keep(entry, after, emits)

    def _keep(self, entry: Stored | None, after: Case, emits: Sequence[Emit]) -> None:
        if self._careful:
            self._rules.outputs.check(emits)
        else:
            self._unchecked += emits
        if after.closed and after.length > _LARGEST_TRAIL:
            self._rules.outputs.check_closed(after)
        decision = self.decision
        earlier = entry.pending if entry is not None and after.id in decision.changes else ()
        # `after` is this unit's own copy. Offset -1 stands until the output is acknowledged.
        for emit in emits:
            after.trail.append(Mark(emit.step, emit.topic, -1, -1, emit.at, emit.id, 0))
        decision.changes[after.id] = Stored(after, earlier + tuple(emits))

    def _checked(self) -> bool:
        """Whether all outputs can be built; an outage is raised."""
        unchecked, self._unchecked = self._unchecked, []
        try:
            self._rules.outputs.check(unchecked)
        except Exception as error:  # which of them, and whose, the careful way finds out
            if passing(error):
                raise
            return False
        return True

    def _graph_of(self, case: Case) -> Graph:
        graph = self._rules.graphs.get(case.graph)
        if graph is None:
            raise UnknownVersion(
                f"case {case.id} runs on another version of {self._rules.graph.process} ({case.graph[:12]}).",
                remedy="Give the older process file to the worker as well.",
            )
        return graph

    @property
    def _room(self) -> int:
        return self._limit - len(self.decision.work)

    def _expire(self, case_id: str, moment: int) -> bool:
        """Fire the timers of one case, each alone, as far as there is room; False when one of them parked it."""
        while self._room > 0:
            entry = shelves.merged(self._shelf, self.decision.changes, case_id)
            if isinstance(entry, Marker):
                if entry.expires <= moment:
                    self.decision.work.append(self._timer_place(case_id, entry.expires))
                    self.decision.changes[case_id] = None
                return True
            due = None if entry is None else cases.next_due(entry.case)
            if entry is None or due is None or due > moment:
                return True
            self.decision.work.append(self._timer_place(case_id, due))
            failure = self._try_timer(entry, due)
            if failure is not None:
                self._park(case_id, parked.timer(case_id, self._number, due), failure)
                return False
        return True

    def _try_timer(self, entry: Stored, due: int) -> Failure | None:
        if self._rules.too_large.get(self._timer_place(entry.case.id, due)):
            return self._failure("size", TOO_LARGE)
        try:
            after, emits = machine.due(self._graph_of(entry.case), entry.case, due)
            self._keep(entry, after, emits)
        except Refused as refused:
            return self._failure("timer", refused.field or "Refused")
        except Exception as error:  # as in `_try`
            if passing(error):
                raise
            return self._failure("timer", type(error).__name__)
        return None

    def _timer_place(self, case_id: str, due: int) -> Place:
        return TIMER, self._number, due, case_id

    def _held(self, case_id: str) -> bool:
        queues = self.decision.queues
        return bool(queues[case_id]) if case_id in queues else case_id in self._shelf.parked

    def _queue(self, case_id: str) -> list[Waiting]:
        """The queue of a case as this decision leaves it; a list of its own."""
        queue = self.decision.queues.get(case_id)
        if queue is None:
            queue = self.decision.queues[case_id] = list(self._shelf.parked.get(case_id, ()))
        return queue

    def _failure(self, stage: str, error: str) -> Failure:
        return Failure(stage=stage, kind=Kind.BUG, error=error, attempt=1, first=self._now, last=self._now)

    def _park(self, case_id: str, record: Record, failure: Failure, letter: parking.Entry | None = None) -> None:
        """Put a failed event or timer into its case's queue, and raise the alarm; behind others it waits its turn."""
        self.decision.alarms.append(Alarm(case_id, failure.stage, failure.error))
        self._enqueue(case_id, record, failure, letter)

    def _queue_behind(self, case_id: str, record: Record, letter: parking.Entry | None = None) -> bool:
        """Have an event wait behind its case's queue; False when it waits there already."""
        cause = self._queue(case_id)[0].entry.failure
        return self._enqueue(case_id, record, parked.behind(cause, self._now), letter)

    def _enqueue(self, case_id: str, record: Record, failure: Failure, letter: parking.Entry | None) -> bool:
        redrive, action = (0, None) if letter is None else (letter.redrive, letter.action)
        if (
            self._rules.too_large.get(place(record, case_id), 0) > 1
        ):  # not even its row fits: its letter names the place
            self.decision.dead.append(Dead(record, "size", TOO_LARGE, Kind.INVALID, redrive))
            self.decision.alarms.append(Alarm(case_id, "size", TOO_LARGE))
            return True
        entry = parking.Entry(record=record, failure=failure, redrive=redrive, action=action)
        waiting = parked.waiting(case_id, entry, opens_on=self._rules.graph.opens_on)
        queue = self._queue(case_id)
        if any(waiting.key == other.key for other in queue):
            return False
        insort(queue, waiting, key=lambda one: one.order)
        self.decision.rows[waiting.key] = waiting
        return True

"""What one case partition's part of a unit comes to: decided in memory; nothing leaves, nothing is kept.

Called by `agents.runner`, which stores a decision as one batch and only then installs it. Events go to their cases in
time order, timers due before them fire first. What fails by no fault of the event (a bug, an output that cannot be
built, a case larger than the log takes) parks its case: the event becomes a row of the case log in the same batch that
moves the positions, later events of the case queue behind it, its timers stand still, and all other cases go on. The
traps it avoids: a failure that ends the process and meets it again after each restart; a later event that overtakes the
parked one; a queue that is lost with the process.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from msgspec import structs

from agents import case as cases
from agents import parked
from agents import shelf as shelves
from agents.case_log import Stored
from agents.decision import Alarm, Decision, Rules, place
from agents.intake import Broken, Dead, Read
from agents.machine import Arrival, Rejected
from agents.parked import GRACE_MS, Waiting
from agents.shelf import Shelf
from agents.stepping import Stepper
from agents.unit import Lane
from bus.errors import Refused
from bus.message import Record
from bus.middleware import parking
from bus.middleware.dead_letter import Failure
from bus.middleware.parking import Command
from bus.middleware.retry import Kind
from schemas.envelope import to_ms

_log = logging.getLogger(__name__)
PATIENCE_MS = 2_000
AHEAD = 64  # records read at once; at 32 and 128 as well
_GRACE_US = GRACE_MS * 1_000


class _Full(Exception):
    """No room for more work in this decision; the next one goes on."""


def idle(rules: Rules, shelf: Shelf, lane: Lane) -> bool:
    """Whether a decision would come to nothing, as most do while events come one by one: asking is much quicker.

    Args:
        rules: of the worker.
        shelf: the cases of the partition.
        lane: its records.
    """
    if lane.waits():
        return False
    reached = _reached(rules, lane)
    return reached is None or not shelf.any_due(reached)


def _reached(rules: Rules, lane: Lane) -> int | None:
    """Up to when (microseconds) timers fire without an event; None where only events make time pass, or unknown."""
    reached = lane.time() if rules.graph.time == "append" else None
    return None if reached is None else reached * 1_000


class Decider(Stepper):
    """Makes one decision.

    Args:
        rules: of the worker. number: the case partition. shelf: its cases; only its heap of timers is touched.
        lane: its records. limit: most pieces of work. now: wall time, aware.
    """

    def __init__(self, rules: Rules, shelf: Shelf, lane: Lane, *, number: int, limit: int, now: datetime) -> None:
        super().__init__(rules, shelf, number=number, limit=limit, now=now)
        self._lane = lane

    def decide(self) -> Decision:
        """Take commands and letters, then what is in time order, then let time pass.

        Whether the outputs can be built is asked of all of them at the end; only when one cannot, the whole is undone
        and decided again, each output checked where it comes up, so that its cause can be parked.
        """
        self._decide()
        if not self._checked():
            self._lane.give_back(self.decision.taken)
            self._lane.give_back(self.decision.told)
            self._shelf.restore(self.decision.fired)
            self.decision = Decision()
            self._careful = True
            self._decide()
        return self.decision

    def _decide(self) -> None:
        if self._tell() and self._take():
            reached = _reached(self._rules, self._lane)
            if reached is not None:
                self._fire(reached)

    def _tell(self) -> bool:
        told = self._lane.take_aside(self._limit)
        for index, record in enumerate(told):
            if not self._told(record):
                self._lane.give_back(told[index:])
                self.decision.told = told[:index]
                return False
        self.decision.told = told
        return self._room > 0

    def _take(self) -> bool:
        work, limit = self.decision.work, self._limit
        taken = self._lane.take(self._room, now=to_ms(self._now), patience_ms=PATIENCE_MS)
        for index, (record, read) in enumerate(self._ahead(taken)):
            if len(work) >= limit or not self._record(record, read):
                self._lane.give_back(taken[index:])
                self.decision.taken = taken[:index]
                return False
        self.decision.taken = taken
        return self._room > 0

    # -- events ------------------------------------------------------------------------------------------------------

    def _ahead(self, records: Sequence[Record]) -> Iterator[tuple[Record, Read]]:
        """Records with what they come to, some read at once: a quarter less than one by one between other work."""
        for start in range(0, len(records), AHEAD):
            some = records[start : start + AHEAD]
            yield from zip(some, self._rules.intake.read_all(some), strict=True)

    def _record(self, record: Record, arrival: Read) -> bool:
        """Take one event in. False: not yet, because timers or an opening come first."""
        rules, decision = self._rules, self.decision
        if not isinstance(arrival, Arrival):
            decision.work.append(record)
            if isinstance(arrival, Broken):
                self._park(arrival.case, record, self._failure("read", arrival.error))
            else:
                decision.dead += arrival
            return True
        # An opening is taken ahead of older records of other cases, whose timers must not fire before those.
        lead = _GRACE_US if arrival.topic == rules.graph.opens_on and rules.graph.time == "append" else 0
        if not self._fire(arrival.at - 1 - lead):
            return False
        if self._held(arrival.case):
            decision.work.append(record)
            self._queue_behind(arrival.case, record)
            return True
        try:
            failure = self._try(arrival, record)
        except Rejected as rejected:
            if rejected.reason == "unopened" and self._lane.may_still_come(
                rules.graph.opens_on, record.timestamp + GRACE_MS
            ):
                return False
            decision.dead.append(Dead(record, "case", rejected.reason, Kind.REFUSED))
        else:
            if failure is not None:
                self._park(arrival.case, record, failure)
        decision.work.append(record)
        return True

    # -- timers ------------------------------------------------------------------------------------------------------

    def _fire(self, moment: int) -> bool:
        """Fire what is due at or before `moment` (microseconds), in (due, case) order.

        Returns False when the limit is reached: many fall due at the end of one day, and the next batch goes on.
        """
        if not self._shelf.any_due(moment):  # as for nearly every event: to ask costs less than to look
            return True
        for due, case_id in self._shelf.due(moment):
            self.decision.fired.append((due, case_id))
            if self._held(case_id):
                continue  # its timers stand still; `Shelf.queue` sets them again
            self._expire(case_id, moment)
            if self._room <= 0:
                return False
        return True

    # -- parked cases ------------------------------------------------------------------------------------------------

    def _advance(self, case_id: str, marked: Collection[bytes] = (), *, drop: bool = False) -> bool:
        """Try the queue of a case in order, as far as nothing that failed before stands in the way.

        Args:
            case_id: of the case.
            marked: keys of failed entries that stand in the way no longer.
            drop: whether these are given up instead of tried.

        Returns:
            False when the limit is reached before that.
        """
        queue = self._queue(case_id)
        while queue and (queue[0].entry.queued or queue[0].key in marked):
            if self._room <= 0:
                return False
            head = queue[0]
            try:
                failure = self._give_up(head) if drop and head.key in marked else self._again(head)
            except _Full:
                return False
            if failure is not None:
                queue[0] = self.decision.rows[head.key] = head.failed(failure)
                self.decision.alarms.append(Alarm(case_id, failure.stage, failure.error))
                return True
            if queue[0] is not head:
                return True  # a timer due before it failed, and stands first now
            del queue[0]
            self.decision.rows[head.key] = None
        return True

    def _again(self, waiting: Waiting) -> Failure | None:
        """Try one entry; why it failed again. A timer due before it that fails is parked before it. Raises _Full."""
        if waiting.due is not None:
            return self._timer_again(waiting.case, waiting.due)
        entry = waiting.entry
        letters = len(self.decision.dead)
        try:
            arrival = self._rules.intake.read(entry.record, self.decision.dead)
            if arrival is not None:
                return self._arrive(arrival, entry)
            self.decision.work.append(entry.record)
        except Broken as broken:
            self.decision.work.append(entry.record)
            return self._failure("read", broken.error)
        except Rejected as rejected:
            self.decision.dead.append(Dead(entry.record, "case", rejected.reason, Kind.REFUSED))
        finally:
            self._number_letters(letters, entry.redrive)
        return None

    def _arrive(self, arrival: Arrival, entry: parking.Entry) -> Failure | None:
        """Step an event that waited, at its own time; one that came back from the dead letters comes now.

        Raises:
            _Full: the timers due before it have taken the last room.
            Rejected: as `_try`.
        """
        if entry.action is not None and self._rules.graph.time == "append":
            arrival = structs.replace(arrival, at=max(arrival.at, self._lane.now() * 1_000))
        if not self._expire(arrival.case, arrival.at - 1):
            return None
        if self._room <= 0:
            raise _Full
        self.decision.work.append(entry.record)
        return self._try(arrival, entry.record)

    def _timer_again(self, case_id: str, due: int) -> Failure | None:
        self.decision.work.append(self._timer_place(case_id, due))
        entry = shelves.merged(self._shelf, self.decision.changes, case_id)
        if not isinstance(entry, Stored) or (cases.next_due(entry.case) or due + 1) > due:
            return None
        return self._try_timer(entry, due)

    def _give_up(self, waiting: Waiting) -> Failure | None:
        """What an operator drops: an event becomes a dead letter, a timer is spent."""
        entry = waiting.entry
        self.decision.work.append(place(entry.record, waiting.case))
        if waiting.due is None:
            told = entry.failure
            self.decision.dead.append(Dead(entry.record, told.stage, told.error, told.kind, entry.redrive))
            return None
        stored = shelves.merged(self._shelf, self.decision.changes, waiting.case)
        if isinstance(stored, Stored):
            graph = self._rules.graphs.get(stored.case.graph)
            after = None if graph is None else parked.without_timer(graph, stored.case, waiting.due)
            if after is None:
                return self._failure("timer", "CannotDrop")
            self._keep(stored, after, ())
        return None

    def _number_letters(self, start: int, redrive: int) -> None:
        if redrive:
            self.decision.dead[start:] = [letter._replace(redrive=redrive) for letter in self.decision.dead[start:]]

    # -- what operators say ------------------------------------------------------------------------------------------

    def _told(self, record: Record) -> bool:
        """Obey one row of ``<group>.parked``. False when the limit is reached before it is done."""
        key, value = record.key or b"", record.value
        if value is None:
            return True  # the tombstone of a row that is done with
        try:
            said = parking.unpack_command(key, value) if parking.is_command(key) else parking.unpack(value)
            case_id = said.key.decode() if isinstance(said, Command) else ""
        except (ValueError, Refused) as error:
            _log.warning(
                "%s[%d]@%d is ignored: %s", record.topic, record.partition, record.offset, type(error).__name__
            )
            return True
        done = self._command(case_id, said) if isinstance(said, Command) else self._redriven(said)
        if done:
            self.decision.settled.append(key)
        return done

    def _command(self, case_id: str, command: Command) -> bool:
        marked = {waiting.key for waiting in self._queue(case_id) if not waiting.entry.queued}
        return self._advance(case_id, marked, drop=command.do == "drop")

    def _redriven(self, letter: parking.Entry) -> bool:
        """A dead letter that comes back; one that fails is a letter again, or parks its case. False: no room yet."""
        if self._room <= 0:
            return False
        record, start = letter.record, len(self.decision.dead)
        if record.partition != self._number:
            self.decision.dead.append(Dead(record, "envelope", "Misplaced", Kind.REFUSED, letter.redrive))
            return True
        try:
            return self._come_back(letter)
        except Broken as broken:
            self.decision.work.append(record)
            self._park(broken.case, record, self._failure("read", broken.error), letter)
        except Rejected as rejected:
            self.decision.dead.append(Dead(record, "case", rejected.reason, Kind.REFUSED))
        except _Full:
            return False
        finally:
            self._number_letters(start, letter.redrive)
        return True

    def _come_back(self, letter: parking.Entry) -> bool:
        """Let a letter's event arrive now; when its case is parked it waits its turn. False: no room for all of it."""
        arrival = self._rules.intake.read(letter.record, self.decision.dead)
        if arrival is None:
            return True
        if self._held(arrival.case):
            if self._queue_behind(arrival.case, letter.record, letter):
                self.decision.work.append(letter.record)
            return self._advance(arrival.case)
        failure = self._arrive(arrival, letter)
        if failure is not None:
            self._park(arrival.case, letter.record, failure, letter)
        elif self._held(arrival.case):  # a timer due before it failed
            self._queue_behind(arrival.case, letter.record, letter)
        return True

"""What happens to one record on its way to a handler and after it, in the one default order.

Called by `bus.hold`, and through it by `bus.consume` and `connectors.office`. The order, written once: **open**
(envelope, type, decode) -> **dedupe** -> handler -> **retry in place** -> **stand aside** or **dead letter** ->
acknowledged. The trap it avoids: middleware assembled differently in two places, so that one of them acknowledges
before the copy is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bus.message import Message, Record, Unreadable, UnreadableRecord
from bus.middleware.dead_letter import DeadLetters, Failure
from bus.middleware.dedupe import Seen, mark_of
from bus.middleware.parking import Entry, Mode
from bus.middleware.retry import Kind, Policy, classify
from bus.ports import Clock
from schemas.errors import EnvelopeRefused, NameRefused, SchemaSideError, UnknownType

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Again:
    """The record shall be handled once more after a pause.

    Args:
        pause_s: seconds.
        overdue: whether an outage lasts longer than the policy's budget.
    """

    pause_s: float
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Park:
    """The record shall stand aside; the arguments are those of `bus.middleware.parking.Entry`."""

    failure: Failure
    mode: Mode = Mode.KEY
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Bury:
    """The record shall become a dead letter."""

    failure: Failure


@dataclass(slots=True)
class Attempt:
    """A message at its `number`-th try of this round (from 1), begun at `begun`; `entry`: it has been parked before."""

    message: Message
    begun: datetime
    number: int = 1
    entry: Entry | None = None

    @property
    def tries(self) -> int:
        """Tries in all, those of earlier rounds included."""
        return self.number + (0 if self.entry is None else self.entry.failure.attempt)

    @property
    def first(self) -> datetime:
        """When it was tried first."""
        return self.begun if self.entry is None or self.entry.queued else self.entry.failure.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The steps of one subscription.

    Args:
        opener: turns a record into a message; raises a `SchemaSideError`.
        seen: remembers applied events.
        policy: what follows from a failure.
        dead_letters: where a record goes that cannot be handled.
        clock: for the times in a dead letter.
        chance: gives a random number, 0 <= n < 1, for the jitter.
    """

    opener: Callable[[Record], Message]
    seen: Seen
    policy: Policy
    dead_letters: DeadLetters
    clock: Clock
    chance: Callable[[], float]

    def begin(self, record: Record, entry: Entry | None = None) -> Attempt | None:
        """Open a record. None when nothing is left to do: it was a repetition, or is a dead letter now.

        Args:
            record: as it was read.
            entry: as which it was parked, if it was.

        Raises:
            BusError: the dead letter could not be stored; the record must not be acknowledged.
        """
        now = self.clock.now()
        try:
            message = self.opener(record)
        except SchemaSideError as error:
            name = error.reason if isinstance(error, UnreadableRecord) else type(error).__name__
            failure = Failure(stage=stage_of(error), kind=Kind.INVALID, error=name, attempt=1, first=now, last=now)
            self.bury(record, failure, redrive=0 if entry is None else entry.redrive)
            return None
        if self.seen.has(*mark_of(message)):
            return None
        return Attempt(message, now, entry=entry)

    def succeed(self, attempt: Attempt) -> None:
        """The handler is through: remember the event."""
        self.seen.add(*mark_of(attempt.message))

    def judge(self, attempt: Attempt, error: BaseException) -> Again | Park | Bury:
        """What follows from what the handler raised. Does nothing yet, but for counting the try."""
        now, kind = self.clock.now(), classify(error)
        alone = attempt.entry is not None and attempt.entry.mode is Mode.ALONE  # its tries have pauses of their own
        if self.policy.retry.again(kind, attempt=attempt.number) and not (alone and kind is Kind.BUG):
            overdue = kind is Kind.UNREACHABLE and now - attempt.begun >= timedelta(seconds=self.policy.budget_s)
            pause = Again(self.policy.retry.pause_s(attempt.number, self.chance()), overdue)
            attempt.number += 1
            return pause
        failure = Failure(
            stage="handler",
            kind=kind,
            error=type(error).__name__,
            attempt=attempt.tries,
            first=attempt.first,
            last=now,
        )
        return self._verdict(attempt, failure)

    def _verdict(self, attempt: Attempt, failure: Failure) -> Park | Bury:
        keyed = attempt.message.record.key is not None
        mode = Mode.KEY if self.policy.ordered and keyed else Mode.ALONE
        if failure.kind is Kind.REFUSED and self.policy.refused == "park" and keyed:
            return Park(failure, mode)
        if failure.kind is not Kind.BUG:
            return Bury(failure)
        if mode is Mode.KEY:
            return Park(failure)
        later = self.policy.later_s(failure.attempt)
        return Bury(failure) if later is None else Park(failure, mode, failure.last + timedelta(seconds=later))

    def bury(self, record: Record, failure: Failure, *, redrive: int = 0, where: str = "") -> None:
        """Make a dead letter of a record, and say so in the log.

        Args:
            record: as it was read.
            failure: why.
            redrive: how often it had come back from the dead letters.
            where: the line of code that raised, if any did.

        Raises:
            BusError: it could not be stored; the record must not be acknowledged.
        """
        place = self.dead_letters.write(record, failure, redrive=redrive)
        value = record.value
        _log.error(
            "%s[%d] %s is a dead letter on %s: %s in %s (%s)%s, try %d",
            record.topic,
            record.partition,
            f"{value.scope} of offsets {value.first} to {value.last}"
            if isinstance(value, Unreadable)
            else f"offset {record.offset}",
            place.topic,
            failure.error,
            failure.stage,
            failure.kind,
            f" at {where}" if where else "",
            failure.attempt,
        )


def stage_of(error: SchemaSideError) -> str:
    """Where opening a record failed, in a word."""
    if isinstance(error, UnreadableRecord):
        return "batch"
    if isinstance(error, EnvelopeRefused | NameRefused):
        return "envelope"
    return "type" if isinstance(error, UnknownType) else "decode"

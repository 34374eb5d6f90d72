"""What happens to one record on its way to a handler and after it, in the one default order.

Called by `bus.consume`. The order, written once: **open** (envelope, type, decode) -> **dedupe** -> handler ->
**retry in place** -> **dead letter** -> acknowledged. The trap it avoids: middleware assembled differently in two
places, so that one of them acknowledges before the dead letter is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from bus.message import Message, Record, Unreadable, UnreadableRecord
from bus.middleware.dead_letter import DeadLetters, Failure
from bus.middleware.dedupe import Seen, mark_of
from bus.middleware.retry import Kind, RetryPolicy, classify
from bus.ports import Clock
from schemas.errors import EnvelopeRefused, NameRefused, SchemaSideError, UnknownType

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Again:
    """The record shall be handled once more after a pause.

    Args:
        pause_s: seconds.
    """

    pause_s: float


@dataclass(slots=True)
class Attempt:
    """A message at its `number`-th try (from 1), first tried at `first`."""

    message: Message
    first: datetime
    number: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The steps of one subscription.

    Args:
        opener: turns a record into a message; raises a `SchemaSideError`.
        seen: remembers applied events.
        retry: how often and how long to try again.
        dead_letters: where a record goes that cannot be handled.
        clock: for the times in a dead letter.
        chance: gives a random number, 0 <= n < 1, for the jitter.
    """

    opener: Callable[[Record], Message]
    seen: Seen
    retry: RetryPolicy
    dead_letters: DeadLetters
    clock: Clock
    chance: Callable[[], float]

    def begin(self, record: Record) -> Attempt | None:
        """Open a record. None when nothing is left to do: it was a repetition, or is a dead letter now.

        Raises:
            BusError: the dead letter could not be stored; the record must not be acknowledged.
        """
        now = self.clock.now()
        try:
            message = self.opener(record)
        except SchemaSideError as error:
            name = error.reason if isinstance(error, UnreadableRecord) else type(error).__name__
            self._bury(
                record,
                Failure(stage=stage_of(error), kind=Kind.INVALID, error=name, attempt=1, first=now, last=now),
            )
            return None
        if self.seen.has(*mark_of(message)):
            return None
        return Attempt(message, now)

    def succeed(self, attempt: Attempt) -> None:
        """The handler is through: remember the event."""
        self.seen.add(*mark_of(attempt.message))

    def fail(self, attempt: Attempt, error: BaseException) -> Again | None:
        """The handler raised: `Again` after a pause, or None when the record is a dead letter now.

        Raises:
            BusError: the dead letter could not be stored.
        """
        now = self.clock.now()
        kind = classify(error)
        if self.retry.again(kind, attempt=attempt.number):
            pause = Again(self.retry.pause_s(attempt.number, self.chance()))
            attempt.number += 1
            return pause
        failure = Failure(
            stage="handler",
            kind=kind,
            error=type(error).__name__,
            attempt=attempt.number,
            first=attempt.first,
            last=now,
        )
        self._bury(attempt.message.record, failure)
        return None

    def _bury(self, record: Record, failure: Failure) -> None:
        place = self.dead_letters.write(record, failure)
        value = record.value
        _log.error(
            "%s[%d] %s is a dead letter on %s: %s in %s (%s), try %d",
            record.topic,
            record.partition,
            f"{value.scope} of offsets {value.first} to {value.last}"
            if isinstance(value, Unreadable)
            else f"offset {record.offset}",
            place.topic,
            failure.error,
            failure.stage,
            failure.kind,
            failure.attempt,
        )


def stage_of(error: SchemaSideError) -> str:
    """Where opening a record failed, in a word."""
    if isinstance(error, UnreadableRecord):
        return "batch"
    if isinstance(error, EnvelopeRefused | NameRefused):
        return "envelope"
    return "type" if isinstance(error, UnknownType) else "decode"

"""How often and after which pause a failed record is tried again, what kind of failure it was, and what follows.

Called by `bus.pipeline`; workflows name the `Kind` of their dead letters (`agents.intake`, `agents.runner`). Pure: the
random number is an argument. The traps it avoids: workers that all retry at the same moment, a bug that is retried for
ever, and an outage that is taken for the record's fault.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from bus.errors import BusError, OutcomeUnknown, Refused, Unreachable, UsageError
from schemas.errors import SchemaSideError

# Python has no class of its own for these outages, and a client library may let them through as they are.
_NO_WAY_THERE = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}


class Kind(StrEnum):
    """What a failure means, and so what is done about it."""

    UNREACHABLE = "unreachable"  # something outside is down: try again, later
    INVALID = "invalid"  # the record itself is wrong: no use trying again
    REFUSED = "refused"  # a rule says no: no use trying again
    BUG = "bug"  # anything else: a few tries, then it stands aside, with an alarm


def classify(error: BaseException) -> Kind:
    """The kind of an error that a handler or the decoding of a record raised."""
    if isinstance(error, (Unreachable, OutcomeUnknown, ConnectionError, TimeoutError, socket.gaierror)):
        return Kind.UNREACHABLE
    if isinstance(error, OSError) and error.errno in _NO_WAY_THERE:
        return Kind.UNREACHABLE
    if isinstance(error, SchemaSideError):
        return Kind.INVALID
    if isinstance(error, (Refused, BusError)):
        return Kind.REFUSED
    return Kind.BUG


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Bounds of retrying in place; the partition waits meanwhile, so order holds.

    Args:
        attempts: tries of one record before it stands aside. An unreachable dependency is not the record's fault: it
            is tried again without end, and the growing lag shows it.
        base_s: first pause in seconds; it doubles.
        cap_s: longest pause in seconds; keep it well below the group's poll interval.
    """

    attempts: int = 5
    base_s: float = 0.1
    cap_s: float = 10.0

    def pause_s(self, attempt: int, chance: float) -> float:
        """Seconds to wait after the failed try number `attempt` (from 1): full jitter between half and all of the step.

        Args:
            attempt: the try that failed.
            chance: a random number, 0 <= chance < 1.
        """
        step = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 30))
        return step * (0.5 + chance / 2)

    def again(self, kind: Kind, *, attempt: int) -> bool:
        """Whether to try once more after the failed try number `attempt` (from 1)."""
        return kind is Kind.UNREACHABLE or (kind is Kind.BUG and attempt < self.attempts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a subscription does with records that its handler cannot take; invalid ones are dead letters under any.

    Args:
        ordered: whether the order of a key matters. True: a record that fails by a bug is parked, and later ones of its
            key queue behind it until an operator releases it. False: it alone is tried again later, at last it becomes
            a dead letter; so does every record without a key, which has no order to keep.
        retry: the tries in place that come first.
        refused: what becomes of a record that a rule of the handler refuses: a ``dead`` letter, or it is parked
            (``park``) until an operator has made the rule pass and lets its key go; one without a key is a letter.
        budget_s: seconds after which an unreachable dependency is an alarm and the subscription is not ready. The
            record is kept and tried on.
        delay_s: unordered: seconds until the first later try; it doubles. delay_cap_s: the longest.
        delays: unordered: later tries before the dead letter.
    """

    ordered: bool = True
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    refused: Literal["dead", "park"] = "dead"
    budget_s: float = 300.0
    delay_s: float = 60.0
    delay_cap_s: float = 3_600.0
    delays: int = 5

    def later_s(self, tries: int) -> float | None:
        """Seconds until a record that was tried `tries` times in all is tried again by itself; None: never."""
        done = max(0, tries - self.retry.attempts)
        return None if done >= self.delays else min(self.delay_cap_s, self.delay_s * 2.0 ** min(done, 30))


_NAMED = {"ordered": Policy(), "unordered": Policy(ordered=False)}


def policy_of(said: Policy | str) -> Policy:
    """The policy that a name stands for. Raises UsageError when there is none of that name."""
    if isinstance(said, Policy):
        return said
    if said not in _NAMED:
        raise UsageError(f"{said!r} is no delivery policy.", remedy="Write ordered or unordered, or give a Policy.")
    return _NAMED[said]

"""How often and after which pause a failed record is tried again, and what kind of failure it was.

Called by `bus.pipeline`; workflows name the `Kind` of their dead letters (`agents.intake`, `agents.runner`). Pure: the
random number is an argument. The trap it avoids: workers that all retry at the same moment, and a bug that is retried
for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bus.errors import BusError, OutcomeUnknown, Refused, Unreachable
from schemas.errors import SchemaSideError


class Kind(StrEnum):
    """What a failure means, and so what is done about it."""

    UNREACHABLE = "unreachable"  # something outside is down: try again, later
    INVALID = "invalid"  # the record itself is wrong: no use trying again
    REFUSED = "refused"  # a rule says no: no use trying again
    BUG = "bug"  # anything else: a few tries, then the dead letter and an alarm


def classify(error: BaseException) -> Kind:
    """The kind of an error that a handler or the decoding of a record raised."""
    if isinstance(error, (Unreachable, OutcomeUnknown, ConnectionError, TimeoutError)):
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
        attempts: tries of one record before it becomes a dead letter. An unreachable dependency is not the record's
            fault: it is tried again without end, and the growing lag shows it.
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

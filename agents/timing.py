"""Deadlines and waits as functions of the case's values and the time now.

Called by `agents.walk`. Working days are Monday to Friday in UTC, holidays not yet known. The trap it avoids: a due
time beyond what a timestamp can hold, made from a hostile event.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from agents.definition import Deadline, Span
from agents.evaluate import Checked
from agents.graph import Due
from schemas.envelope import from_us, to_us

_LATEST = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z, the last microsecond a datetime can hold
_EARLIEST = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
_SATURDAY = 5
_WEEK = 5


def add_working_days(start: datetime, days: int) -> datetime:
    """The same time of day `days` working days later; a start on a weekend counts as Monday 00:00.

    Args:
        start: an aware UTC time.
        days: at least 1.
    """
    if start.weekday() >= _SATURDAY:
        start = (start + timedelta(days=7 - start.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    weeks, rest = divmod(days, _WEEK)
    weekend = 2 if start.weekday() + rest >= _SATURDAY else 0
    return start + timedelta(days=7 * weeks + rest + weekend)


def after(span: Span) -> Due:
    """Due when the span has passed from now."""
    length = span.seconds_in_all * 1_000_000
    if span.working_days is None:
        return lambda _, now: min(now + length, _LATEST)
    days = span.working_days

    def working(_: object, now: int) -> int:
        try:
            return to_us(add_working_days(from_us(now), days))
        except OverflowError:
            return _LATEST

    return working


def at(part: Checked) -> Due:
    """Due at the time an expression gives; a missing value is never due."""
    run = part.run
    return lambda values, _: None if (us := run(values)) is None else max(_EARLIEST, min(us, _LATEST))


def words(span: Span) -> str:
    """The span in words, such as ``3 days 2 hours``."""
    named = {
        "working days": span.working_days,
        "days": span.days,
        "hours": span.hours,
        "minutes": span.minutes,
        "seconds": span.seconds,
    }
    return " ".join(
        f"{count} {unit.removesuffix('s') if count == 1 else unit}" for unit, count in named.items() if count
    )


def limit(deadline: Deadline) -> str:
    """The deadline in words, such as ``within 3 days``."""
    return f"by {deadline.at}" if deadline.at is not None else f"within {words(deadline)}"

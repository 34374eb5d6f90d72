"""Deadlines and waits as functions of the case's values and the time now.

Called by `agents.walk`. Working days are Monday to Friday in UTC, holidays not yet known. The trap it avoids: a due
time beyond what a timestamp can hold, made from a hostile event.
"""

from __future__ import annotations

from agents.definition import Deadline, Span
from agents.evaluate import Checked
from agents.graph import Due

_LATEST = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z, the last microsecond a datetime can hold
_EARLIEST = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
_DAY = 86_400_000_000
_THURSDAY, _SATURDAY = 3, 5  # Monday is 0; 1970 began on a Thursday
_WEEK = 5


def add_working_days(start: int, days: int) -> int:
    """The same time of day `days` working days later; a start on a weekend counts as Monday 00:00.

    Args:
        start: microseconds since 1970, UTC.
        days: at least 1.
    """
    day = start // _DAY
    weekday = (day + _THURSDAY) % 7
    if weekday >= _SATURDAY:
        start = (day + 7 - weekday) * _DAY
        weekday = 0
    weeks, rest = divmod(days, _WEEK)
    weekend = 2 if weekday + rest >= _SATURDAY else 0
    return start + (7 * weeks + rest + weekend) * _DAY


def after(span: Span) -> Due:
    """Due when the span has passed from now."""
    days = span.working_days
    if days is not None:
        return lambda _, now: min(add_working_days(now, days), _LATEST)
    length = span.seconds_in_all * 1_000_000
    return lambda _, now: min(now + length, _LATEST)


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

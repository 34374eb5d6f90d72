"""Deadlines: spans, working days and their limits."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.definition import Deadline, Span
from agents.timing import add_working_days, after, limit, words
from schemas.envelope import to_us


@pytest.mark.parametrize(
    ("start", "days", "due"),
    [
        ("2026-03-02T10:00", 1, "2026-03-03T10:00"),  # Monday
        ("2026-03-06T10:00", 1, "2026-03-09T10:00"),  # Friday
        ("2026-03-07T10:00", 1, "2026-03-10T00:00"),  # Saturday counts as Monday 00:00
        ("2026-03-08T23:00", 5, "2026-03-16T00:00"),
        ("2026-03-04T10:00", 5, "2026-03-11T10:00"),
        ("2026-03-05T10:00", 12, "2026-03-23T10:00"),
    ],
)
def test_working_days_skip_weekends(start: str, days: int, due: str) -> None:
    def at(text: str) -> int:
        return to_us(datetime.fromisoformat(text).replace(tzinfo=UTC))

    assert add_working_days(at(start), days) == at(due)


@given(st.dates(date(1930, 1, 1), date(2090, 1, 1)), st.integers(1, 300))
def test_working_days_agree_with_counting_them_one_by_one(day: date, days: int) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    moment = start
    while moment.weekday() >= 5:
        moment += timedelta(days=1)
    left = days
    while left:
        moment += timedelta(days=1)
        left -= moment.weekday() < 5
    assert add_working_days(to_us(start), days) == to_us(moment)


def test_a_due_time_beyond_the_year_9999_is_held_at_its_end() -> None:
    end = 253_402_300_799_999_999
    assert after(Span(days=1_000_000_000))({}, 0) == end
    assert after(Span(working_days=10_000))({}, end - 5) == end


def test_spans_are_told_in_words() -> None:
    assert words(Span(days=1, hours=2)) == "1 day 2 hours"
    assert words(Span(working_days=1)) == "1 working day"
    assert limit(Deadline(days=3)) == "within 3 days"
    assert limit(Deadline(at="x.due")) == "by x.due"
    assert after(Span(minutes=1, seconds=1))({}, 5) == 61_000_005

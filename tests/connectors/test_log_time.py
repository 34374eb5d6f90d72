"""Times of logs: ISO as XES has it, forms found in CSV columns, and what is refused as ambiguous."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import log_time

_MOMENTS = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1))
_ZONES = st.integers(min_value=-14 * 60, max_value=14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@given(_MOMENTS, _ZONES)
def test_every_iso_time_is_read_exactly(moment: datetime, zone: timezone) -> None:
    aware = moment.replace(tzinfo=zone)
    assert log_time.iso(aware.isoformat()) == aware


def test_midnight_as_24_hours_is_the_next_day() -> None:
    assert log_time.iso("2011-12-31T24:00:00Z") == datetime(2012, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "2011-13-01", "2011-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_iso_time_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"is|must be|out of range|Invalid|years"):
        log_time.iso(text)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (["2011-05-04 10:11:12", "2011-05-05 10:11:12"], datetime(2011, 5, 4, 10, 11, 12, tzinfo=UTC)),
        (["04/05/2011 10:11", "13/05/2011 10:11"], datetime(2011, 5, 4, 10, 11, tzinfo=UTC)),
        (["04/05/2011 10:11", "05/13/2011 10:11"], datetime(2011, 4, 5, 10, 11, tzinfo=UTC)),
        (["2011/05/04 10:11:12.5"], datetime(2011, 5, 4, 10, 11, 12, 500_000, tzinfo=UTC)),
        (["12/31/2010 11:59:59 PM"], datetime(2010, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (["12/31/2010 12:00 AM"], datetime(2010, 12, 31, 0, 0, tzinfo=UTC)),
        (["04-May-2011 10:00:00"], datetime(2011, 5, 4, 10, tzinfo=UTC)),
        (["13.05.2011 10:00:00 +0200"], datetime(2011, 5, 13, 8, tzinfo=UTC)),
        (["1304503872"], datetime(2011, 5, 4, 10, 11, 12, tzinfo=UTC)),
        (["1304503872250"], datetime(2011, 5, 4, 10, 11, 12, 250_000, tzinfo=UTC)),
        (["03/03/2011 08:00", "04/04/2011 08:00"], datetime(2011, 3, 3, 8, tzinfo=UTC)),
    ],
)
def test_the_form_of_a_column_is_found(values: list[str], first: datetime) -> None:
    assert log_time.find(values)(values[0]) == first


def test_day_and_month_that_could_be_exchanged_are_refused() -> None:
    with pytest.raises(log_time.Ambiguous, match="day first and month first"):
        log_time.find(["04/05/2011 10:11", "06/07/2011 10:11"])


def test_a_value_that_fits_no_form_is_named() -> None:
    with pytest.raises(ValueError, match="yesterday"):
        log_time.find(["04/05/2011", "yesterday"])


@given(st.lists(_MOMENTS, min_size=1, max_size=30), st.sampled_from(["%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S"]))
def test_a_found_form_is_the_one_that_wrote_the_column(moments: list[datetime], form: str) -> None:
    texts = [moment.strftime(form) for moment in moments]
    try:
        parse = log_time.find(texts)
    except log_time.Ambiguous:
        return
    assert [parse(text) for text in texts] == [m.replace(microsecond=0, tzinfo=UTC) for m in moments]


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert log_time.find([text])(text).tzinfo is UTC


def test_a_given_form_is_used_as_it_is() -> None:
    assert log_time.given("%d/%m/%y")("04/05/11") == datetime(2011, 5, 4, tzinfo=UTC)
    assert log_time.given("ms")("1304503872250").microsecond == 250_000

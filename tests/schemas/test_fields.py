"""The shared kinds of values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas import fields


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (fields.PersonRef, ["AZ-1", "ps:0001", "a" * 64], ["", "abc", "-abc", "a b c", "a" * 65, "Əli1", "AZ-1\n"]),
        (fields.Code, ["a", "birth_benefit", "x-1"], ["", "A", "1a", "a b", "a" * 65, "a\n"]),
        (fields.Reference, ["1", "2026/17", "a.b_c:d~e-f"], ["", "/a", "a b", "a" * 129, "a\n"]),
        (fields.Country, ["AZ"], ["az", "AZE", "A1", "", "AZ\n"]),
        (fields.Currency, ["AZN"], ["azn", "AZ", "", "AZN\n"]),
        (
            fields.Amount,
            ["0", "600.00", "9999999999.99"],
            ["-0.01", "1.001", "10000000000.00", "NaN", "Infinity", "1E+11"],
        ),
        (fields.Name, ["Əli", "O’Neil", "李"], ["", "a\x00", "a\nb", "a" * 101]),
        (fields.Text, ["x", "a\nb"], ["", "a" * 2001]),
    ],
)
def test_each_kind_takes_the_good_and_refuses_the_bad(kind: Any, good: list[Any], bad: list[Any]) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    convert = Decimal if kind is fields.Amount else str
    for value in good:
        assert adapter.validate_python(convert(value), strict=True) == convert(value)
    for value in bad:
        with pytest.raises(ValidationError):
            adapter.validate_python(convert(value), strict=True)


def test_a_moment_is_brought_to_utc_and_needs_a_zone() -> None:
    adapter: TypeAdapter[datetime] = TypeAdapter(fields.Moment)
    baku = timezone(timedelta(hours=4))
    found = adapter.validate_python(datetime(2026, 1, 1, 4, tzinfo=baku))
    assert found == datetime(2026, 1, 1, tzinfo=UTC)
    assert found.tzinfo is UTC
    for bad in (
        datetime(2026, 1, 1),
        datetime(1, 1, 1, tzinfo=baku),
        datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=4))),
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)

"""The generated reader, as source, and its cache of days."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from schemas import reader
from schemas.errors import Poison
from schemas.reader import compile_reader, money, read_day, read_uuid
from schemas.recorded import ActivityFollowed
from schemas.shape import shape_of
from schemas.varint import long


def test_the_source_reads_the_fields_in_order_and_refuses_what_is_left() -> None:
    source = compile_reader(shape_of(ActivityFollowed))[1]
    assert source.startswith("def read(data, at):\n")
    assert "    if at != len(data):\n        raise Poison('bytes are left over or missing at the end')\n" in source
    assert source.endswith("    return {'run': v1, 'activity': v2, 'sequence': v3, 'last': v4}\n")


def test_remembered_days_are_bounded_and_right() -> None:
    start = date(1995, 1, 1)
    for i in range(reader._MOST_DAYS + 50):
        day = start + timedelta(days=i)
        raw = long((day - date(1970, 1, 1)).days)
        assert read_day(raw, 0) == (day, len(raw))
        assert reader._DAYS[raw] == day
    assert len(reader._DAYS) <= reader._MOST_DAYS


@pytest.mark.parametrize("days", [-719163, 2932897, 2**31, -(2**40)])
def test_a_day_outside_the_calendar_is_an_error_the_codec_knows(days: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        read_day(long(days), 0)


@pytest.mark.parametrize("raw", [b"", b"\x00\x01", b"\xff\xff", b"\x00\x00"])
def test_a_decimal_with_spare_bytes_is_poison(raw: bytes) -> None:
    with pytest.raises(Poison):
        money(raw, 2, 1000)


@pytest.mark.parametrize("unscaled", [1000, -1000])
def test_a_decimal_with_more_digits_than_its_schema_says_is_poison(unscaled: int) -> None:
    raw = unscaled.to_bytes(2, "big", signed=True)
    assert abs(money(raw, 2, 1001)) == 10
    with pytest.raises(Poison):
        money(raw, 2, 1000)


@pytest.mark.parametrize(
    "text",
    [
        "{0193f5a0-0000-7000-8000-000000000001}",
        "0193F5A0-0000-7000-8000-000000000001",
        "0193f5a00000700080000000000000ab",
    ],
)
def test_another_spelling_of_a_uuid_is_poison(text: str) -> None:
    with pytest.raises(Poison):
        read_uuid(long(len(text)) + text.encode(), 0)

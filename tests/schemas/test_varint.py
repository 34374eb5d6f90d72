"""Whole numbers: one encoding each, equal to fastavro's."""

from __future__ import annotations

import io

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import Poison
from schemas.varint import long, read_eight, read_long, read_size

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 63).map(lambda bits: 2**bits - 1)


@given(NUMBERS)
@example(-(2**63))
@example(2**63 - 1)
def test_a_number_is_written_as_fastavro_does_and_read_back(number: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    assert long(number) == out.getvalue()
    for read in (read_long, read_eight):
        assert read(b"x" + long(number) + b"y", 1) == (number, 1 + len(long(number)))


@given(st.binary(max_size=12), st.integers(0, 12))
def test_what_is_read_is_the_shortest_form(data: bytes, at: int) -> None:
    for read in (read_long, read_eight):
        try:
            number, end = read(data, at)
        except (Poison, IndexError):
            continue
        assert data[at:end] == long(number)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_more_than_64_bits_is_not_written(number: int) -> None:
    with pytest.raises(OverflowError):
        long(number)


@pytest.mark.parametrize(
    "data",
    [b"\x80\x00", b"\xff\x80\x00", b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x01", b"\x80" * 7 + b"\x00", b"\x80" * 40],
)
def test_a_longer_form_or_more_bits_is_poison(data: bytes) -> None:
    for read in (read_long, read_eight):
        with pytest.raises(Poison):
            read(data, 0)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff\xff"])
def test_a_number_cut_off_ends_in_an_index_error(data: bytes) -> None:
    for read in (read_long, read_eight):
        with pytest.raises(IndexError):
            read(data, 0)


@pytest.mark.parametrize("data", [b"\x01abc", b"\x08abc", b"\xfe\xff\xff\xff\x0fabc"])
def test_a_size_below_zero_or_above_what_is_left_is_poison(data: bytes) -> None:
    with pytest.raises(Poison):
        read_size(data, 0)


def test_a_size_of_all_that_is_left_is_taken() -> None:
    assert read_size(b"\x06abc", 0) == (3, 1)

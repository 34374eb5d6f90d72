"""Fields are read as they were written, and never past the end."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from aiokafka.record._crecords.cutil import decode_varint_cython
from hypothesis import given
from hypothesis import strategies as st

from bus.transport.splitter import limits, structure
from bus.transport.splitter.structure import Malformed, Reason, fields_of, head_of, varint, wrapped
from tests.bus.transport.splitter.encoder import batch, record
from tests.bus.transport.splitter.encoder import varint as written

BYTES = st.none() | st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.text(max_size=5).map(str.encode), BYTES), max_size=5)


@given(number=st.integers(-(2**63), 2**63 - 1), before=st.binary(max_size=3))
def test_a_number_comes_back_with_the_place_after_it(number: int, before: bytes) -> None:
    data = before + written(number)
    assert varint(data, len(before)) == (number, len(data)) == decode_varint_cython(data, len(before))


@given(data=st.binary(max_size=12))
def test_a_number_is_read_as_the_compiled_reader_does_or_refused(data: bytes) -> None:
    with suppress(Malformed):
        assert varint(data, 0) == decode_varint_cython(data, 0)


@given(
    key=BYTES,
    value=BYTES,
    headers=HEADERS,
    delta=st.integers(0, 2**31 - 1),
    time=st.integers(-(2**62), 2**62),
    after=st.binary(max_size=5),
)
def test_a_record_comes_back_field_by_field(  # noqa: PLR0917  # hypothesis gives them by name
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[bytes, bytes | None]],
    delta: int,
    time: int,
    after: bytes,
) -> None:
    data = record(delta, key=key, value=value, headers=headers, time_delta=time)
    length, inside = varint(data, 0)
    fields = fields_of(data + after, inside)
    assert fields.end == inside + length == len(data)
    assert (fields.key, fields.value, fields.delta, fields.time_delta) == (key, value, delta, time)
    assert fields.headers == [(name.decode(), content) for name, content in headers]
    assert fields.fault is None
    for end in range(inside, len(data)):
        with pytest.raises((Malformed, IndexError)):
            fields_of(data[:end], inside)


@pytest.mark.parametrize("name", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", None])
def test_a_header_without_a_proper_name_is_a_fault_behind_which_the_structure_holds(name: bytes | None) -> None:
    data = record(3, headers=[(b"a", b"1"), (name, b"x"), (b"b", None)])
    fields = fields_of(data, varint(data, 0)[1])
    assert (fields.fault, fields.end, fields.delta) == (Reason.HEADER_KEY, len(data), 3)


def test_too_many_headers_are_not_looked_at_and_too_long_ones_are_a_fault() -> None:
    most = [(b"", None)] * limits.MOST_HEADERS
    data = record(0, headers=most)
    assert len(fields_of(data, varint(data, 0)[1]).headers) == limits.MOST_HEADERS
    data = record(0, headers=[*most, (b"", None)])
    with pytest.raises(Malformed, match="headers"):
        fields_of(data, varint(data, 0)[1])
    data = record(0, headers=[(b"h", bytes(limits.MOST_HEADER_BYTES))])
    assert fields_of(data, varint(data, 0)[1]).fault is Reason.HEADERS


def test_a_batch_s_header_says_what_was_written() -> None:
    data = batch([record(0), record(1)], base=7, codec="zstd", attributes=0x38, producer=(5, 6, 7), last_delta=9)
    head = head_of(b"xx" + data, 2)
    assert (head.base, head.codec, head.last_delta, head.records, head.length) == (7, 4, 9, 2, len(data) - 12)
    assert (head.append_time, head.transactional, head.control, head.dense) == (True, True, True, False)
    assert (head.producer_id, head.producer_epoch, head.base_sequence) == (5, 6, 7)
    plain = head_of(batch([record(0), record(1)]), 0)
    assert (plain.append_time, plain.transactional, plain.control, plain.dense) == (False, False, False, True)


@given(number=st.integers(-(2**64), 2**64))
def test_sums_wrap_as_64_bits_do(number: int) -> None:
    assert wrapped(number) == struct.unpack(">q", struct.pack(">Q", number % 2**64))[0]


def test_the_checksum_begins_where_the_attributes_do() -> None:
    assert structure.CHECKED_FROM == structure.ATTRIBUTES_AT
    assert structure.HEAD_BYTES == 61

"""Batches of formats 0 and 1 read as the stock reader reads them, and never turn for ever."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatch, LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from bus.transport.splitter import legacy
from bus.transport.splitter.structure import Malformed, Reason

ROWS = st.lists(
    st.tuples(st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=99)), min_size=1, max_size=6
)


def written(magic: int, codec: int, rows: list[tuple[bytes | None, bytes | None]]) -> bytes:
    builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    for offset, (key, value) in enumerate(rows):
        builder.append(offset, 1_700_000_000_000 + offset, key, value)
    return bytes(builder.build())


@given(rows=ROWS, magic=st.sampled_from([0, 1]), codec=st.sampled_from([0, 1, 2, 3]), base=st.integers(0, 2**40))
def test_what_the_stock_reader_reads_is_read_alike(
    rows: list[tuple[bytes | None, bytes | None]], magic: int, codec: int, base: int
) -> None:
    if codec == 3 and magic == 0:
        return  # KAFKA-3160; see below
    data = written(magic, codec, rows if codec else rows[:1])
    if codec and magic:  # the broker gives the wrapper the offset of its last record
        data = struct.pack(">q", base + len(rows) - 1) + data[8:]
    stock = list(LegacyRecordBatch(data, magic))
    found = legacy.rows_of(data)
    assert [(r.offset, r.key, r.value) for r in found] == [(r.offset, r.key, r.value) for r in stock]
    assert [r.timestamp for r in found] == [-1 if r.timestamp is None else r.timestamp for r in stock]


def test_lz4_of_format_0_is_refused_as_its_framing_is_wrong() -> None:
    data = bytearray(written(0, 1, [(b"k", b"v")]))
    data[17] = 3
    data[12:16] = struct.pack(">I", zlib.crc32(bytes(data[16:])))
    with pytest.raises(Malformed, match="legacy"):
        legacy.rows_of(bytes(data))


def _entry(offset: int, value: bytes, *, magic: int = 1, attributes: int = 0, length: int | None = None) -> bytes:
    rest = struct.pack(">bb", magic, attributes) + (struct.pack(">q", 5) if magic else b"")
    rest += struct.pack(">i", -1) + struct.pack(">i", len(value)) + value
    body = struct.pack(">I", zlib.crc32(rest)) + rest
    return struct.pack(">qi", offset, len(body) if length is None else length) + body


@pytest.mark.parametrize("length", [-12, -1, 0, 13, 2**31 - 1, -(2**31)])
def test_an_inner_length_that_would_turn_the_stock_reader_for_ever_is_refused(length: int) -> None:
    inner = _entry(0, b"a") + _entry(1, b"b", length=length)
    with pytest.raises(Malformed, match="legacy"):
        legacy.rows_of(_entry(1, zlib_wrapped(inner), attributes=1))


def zlib_wrapped(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def test_a_batch_packed_twice_or_with_offsets_that_fall_is_refused() -> None:
    twice = _entry(0, zlib_wrapped(_entry(0, b"a")), attributes=1)
    falling = _entry(5, b"a") + _entry(4, b"b")
    for inner in (twice, falling, b""):
        with pytest.raises(Malformed, match="legacy"):
            legacy.rows_of(_entry(1, zlib_wrapped(inner), attributes=1))


def test_a_wrong_checksum_is_named() -> None:
    data = bytearray(_entry(0, b"value"))
    data[-1] ^= 1
    with pytest.raises(Malformed) as refused:
        legacy.rows_of(bytes(data))
    assert refused.value.reason is Reason.CHECKSUM


@given(at=st.integers(8, 200), to=st.integers(0, 255), codec=st.sampled_from([0, 1, 2]), sealed=st.booleans())
def test_a_changed_byte_is_refused_with_one_error_or_read(at: int, to: int, codec: int, sealed: bool) -> None:
    data = bytearray(written(1, codec, [(b"key", b"v" * 20), (None, b"w" * 9), (b"", None)][: 3 if codec else 1]))
    data[at % len(data)] = to
    if sealed:
        data[12:16] = struct.pack(">I", zlib.crc32(bytes(data[16:])))
    with suppress(Malformed):
        assert legacy.rows_of(bytes(data))

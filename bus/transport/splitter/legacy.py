"""Reads batches of message formats 0 and 1, which old segments may still hold.

Called by `split`. Own code, because the compiled reader of these formats follows inner lengths without a check and may
turn for ever on a negative one (`_read_last_offset` in aiokafka's `legacy_records.pyx`).
"""

from __future__ import annotations

import zlib
from itertools import pairwise
from struct import Struct

from bus.transport.splitter import codecs, limits
from bus.transport.splitter.salvage import Row
from bus.transport.splitter.structure import CODEC_BITS, Malformed, Reason

_ENTRY = Struct(">qiIbb")  # offset, bytes that follow, checksum, format, attributes
_MAGIC_AT = 16
_APPEND_TIME = 0x08
LEAST_BYTES = 14  # what follows offset and length in the smallest record of format 0


def rows_of(raw: bytes) -> list[Row]:
    """The records of one batch: one, or those packed in it.

    Args:
        raw: the batch; its length fits.

    Raises:
        Malformed: its fields do not fit, or its checksum.
    """
    outer, _, codec = _entry(raw, 0, checked=True)
    if not codec:
        return [outer]
    magic = raw[_MAGIC_AT]
    if outer.value is None or (magic == 0 and codec == codecs.LZ4):  # KAFKA-3160: framed wrongly in format 0
        raise Malformed(Reason.LEGACY)
    data = codecs.decompress(codec, outer.value, limits.MOST_DECOMPRESSED)
    rows: list[Row] = []
    at = 0
    while at < len(data):
        row, size, inner = _entry(data, at, checked=False)
        if inner or len(rows) == limits.MOST_RECORDS:
            raise Malformed(Reason.LEGACY if inner else Reason.RECORDS)
        rows.append(row)
        at += size
    if not rows:
        raise Malformed(Reason.LEGACY)
    shift = outer.offset - rows[-1].offset if magic else 0  # format 1 counts from the batch's first record
    for row in rows:
        row.offset += shift
        if outer.timestamp_type:
            row.timestamp, row.timestamp_type = outer.timestamp, outer.timestamp_type
    if any(one.offset >= other.offset for one, other in pairwise(rows)) or rows[0].offset < 0:
        raise Malformed(Reason.LEGACY)
    return rows


def _entry(data: bytes, at: int, *, checked: bool) -> tuple[Row, int, int]:
    """One record at `at`, its bytes, and its codec. Raises Malformed."""
    if len(data) - at < 12 + LEAST_BYTES:
        raise Malformed(Reason.LEGACY)
    offset, length, checksum, magic, attributes = _ENTRY.unpack_from(data, at)
    end = at + 12 + length
    if length < LEAST_BYTES or end > len(data) or magic not in {0, 1}:
        raise Malformed(Reason.LEGACY)
    if checked and zlib.crc32(data[at + _MAGIC_AT : end]) != checksum:
        raise Malformed(Reason.CHECKSUM)
    place = at + _ENTRY.size
    time = -1
    if magic:
        time = int.from_bytes(data[place : place + 8], "big", signed=True)
        place += 8
    key, place = _field(data, place, end)
    value, place = _field(data, place, end)
    if place != end:
        raise Malformed(Reason.LEGACY)
    append_time = int(bool(magic and attributes & _APPEND_TIME))
    return Row(offset, time, append_time, key, value, []), 12 + length, attributes & CODEC_BITS


def _field(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    size = int.from_bytes(data[at : at + 4], "big", signed=True)
    at += 4
    if size == -1:
        return None, at
    if size < 0 or at + size > end:
        raise Malformed(Reason.LEGACY)
    return data[at : at + size], at + size

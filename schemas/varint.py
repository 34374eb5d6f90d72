"""Avro's variable-length whole numbers: zigzag, seven bits a byte, shortest form only.

Called by the generated writers and readers and by the scan of foreign bytes. The trap it avoids: a number may be
written longer than needed (0x80 0x00 for 0), which makes two encodings of one event and breaks seals and hashes.
"""

from __future__ import annotations

from struct import Struct

from schemas.errors import Poison

LAST = [bytes((i,)) if i < 128 else bytes((i & 127 | 128, i >> 7)) for i in range(1 << 14)]
"""The bytes of a number whose zigzag form has at most fourteen bits, by that form."""
_MORE = [bytes((i & 127 | 128, i >> 7 | 128)) for i in range(1 << 14)]
_EIGHT = Struct("<HHHH").unpack_from
_MIN, _MAX = -(2**63), 2**63 - 1


def long(number: int) -> bytes:
    """Encode a whole number. Fourteen bits a step from a table: a time takes four look-ups instead of eight rounds.

    Raises:
        OverflowError: when it needs more than 64 bits.
    """
    if not _MIN <= number <= _MAX:
        raise OverflowError("needs more than 64 bits")
    zigzag = (number << 1) ^ (number >> 63)
    if zigzag < 16384:
        return LAST[zigzag]
    out = _MORE[zigzag & 16383]
    zigzag >>= 14
    while zigzag >= 16384:
        out += _MORE[zigzag & 16383]
        zigzag >>= 14
    return out + LAST[zigzag]


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """Decode a whole number at `at`; return it and the place after it.

    Raises:
        Poison: when it is not in its shortest form or longer than 64 bits. IndexError: when the bytes end in it.
    """
    byte = data[at]
    zigzag = byte & 127
    shift = 0
    start = at
    at += 1
    while byte > 127:
        byte = data[at]
        at += 1
        shift += 7
        zigzag |= (byte & 127) << shift
        if shift > 63:
            raise Poison("a whole number has more than 64 bits")
    if zigzag >> 64 or (byte == 0 and at - start > 1):
        raise Poison("a whole number is not in its shortest form")
    return (zigzag >> 1) ^ -(zigzag & 1), at


def _pairs(*, last: bool) -> list[int | None]:
    """Fourteen bits by the two bytes that hold them, as a little-endian word; None where a number would not go on so.

    Args:
        last: whether the second byte ends the number (and then is not 0), or both go on.
    """
    table: list[int | None] = [None] * (1 << 16)
    for low in range(128, 256):
        for high in range(1, 128) if last else range(128, 256):
            table[high << 8 | low] = (low & 127) | (high & 127) << 7
    return table


_ON, _END = _pairs(last=False), _pairs(last=True)


def read_eight(data: bytes, at: int) -> tuple[int, int]:
    """Decode as `read_long`, quickly where the number takes eight bytes: every time from 2005 to 2112 in microseconds.

    Four look-ups instead of eight rounds, 0.35 us against 0.82 us (tests/bench/codec.py measures the whole).
    """
    if len(data) - at >= 8:
        a, b, c, d = _EIGHT(data, at)
        first, second, third, fourth = _ON[a], _ON[b], _ON[c], _END[d]
        if first is not None and second is not None and third is not None and fourth is not None:
            zigzag = first | second << 14 | third << 28 | fourth << 42
            return (zigzag >> 1) ^ -(zigzag & 1), at + 8
    return read_long(data, at)


def read_size(data: bytes, at: int) -> tuple[int, int]:
    """Decode a length or count: as `read_long`, and never negative nor above the bytes that are left.

    Raises:
        Poison: beside what `read_long` raises, when it is negative or more than what is left.
    """
    size, at = read_long(data, at)
    if not 0 <= size <= len(data) - at:
        raise Poison("a length or count is negative or above what is left")
    return size, at

"""The layout of record batches and records (Kafka message format v2), read field by field and never past the end.

Used by the other files of the splitter. The layout is Kafka's `DefaultRecordBatch` and `DefaultRecord`. The trap it
avoids: the compiled reader checks too little before it reads (a batch of under 61 bytes makes it read and checksum
what lies behind), so every length is checked here first.
"""

from __future__ import annotations

from enum import StrEnum
from struct import Struct
from typing import NamedTuple

from bus.transport.splitter import limits

_HEAD = Struct(">qiibIhiqqqhii")
HEAD_BYTES = _HEAD.size  # 61
LEAST_RECORD = 7  # bytes of a record without key, value and headers
START = Struct(">qi")  # every format begins with its offset and the bytes that follow
MAGIC_AT = 16
CHECKED_FROM = 21  # the checksum covers from the attributes on
ATTRIBUTES_AT = 21
CODEC_BITS = 0x07
_APPEND_TIME = 0x08
_TRANSACTIONAL = 0x10
_CONTROL = 0x20
_LONG = 1 << 63


class Reason(StrEnum):
    """Why bytes could not be parsed; the whole vocabulary of `Unreadable.reason`."""

    CHECKSUM = "checksum"  # the bytes are not those that were stored
    BATCH_LENGTH = "batch-length"  # shorter than a batch can be
    MAGIC = "magic"  # no message format we know
    LEGACY = "legacy"  # a batch of format 0 or 1 whose fields do not fit
    CODEC = "codec"  # no codec has this number
    COMPRESSION = "compression"  # the codec does not decode it
    BOMB = "bomb"  # unpacks to more than `limits.MOST_DECOMPRESSED`
    RECORDS = "records"  # more records than `limits.MOST_RECORDS`
    COUNT = "count"  # count, last offset and records contradict each other
    BASE_OFFSET = "base-offset"  # its offsets are not where the log can have them
    CONTROL = "control"  # says it is a transaction marker and is none
    STRUCTURE = "structure"  # a record's fields leave the batch
    RECORD_LENGTH = "record-length"  # a record is not as long as it says
    RECORD_SIZE = "record-size"  # a record larger than `limits.MOST_RECORD`
    OFFSET_DELTA = "offset-delta"  # a record claims another place than it has
    HEADERS = "headers"  # more headers or bytes in them than `limits` allow
    HEADER_KEY = "header-key"  # a header's name is missing or not UTF-8
    INTERNAL = "internal"  # a fault of the splitter itself


class Malformed(Exception):
    """Fields that cannot be read.

    Args:
        reason: which word of `Reason`.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Head(NamedTuple):
    """The header of a batch of format v2."""

    base: int
    length: int
    leader_epoch: int
    magic: int
    checksum: int
    attributes: int
    last_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @property
    def codec(self) -> int:
        """Number of the compression codec, 0 for none."""
        return self.attributes & CODEC_BITS

    @property
    def append_time(self) -> bool:
        """Whether the broker's time counts."""
        return bool(self.attributes & _APPEND_TIME)

    @property
    def transactional(self) -> bool:
        """Whether it is part of a transaction."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def control(self) -> bool:
        """Whether it says to be a transaction marker."""
        return bool(self.attributes & _CONTROL)

    @property
    def dense(self) -> bool:
        """Whether count and last offset agree: nothing was compacted away, and neither is a lie alone."""
        return self.records == self.last_delta + 1


def head_of(buffer: bytes | memoryview, at: int) -> Head:
    """The header at `at`; the caller has checked that `HEAD_BYTES` are there."""
    return Head._make(_HEAD.unpack_from(buffer, at))


class Fields(NamedTuple):
    """One record's fields.

    Args:
        end: where they end. delta: the record's claim to its place. fault: why it is unreadable though its structure
            holds; then key, value and headers mean nothing.
    """

    end: int
    time_delta: int
    delta: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    fault: Reason | None


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag number of up to 64 bits and the place after it. Raises Malformed."""
    shift = raw = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed(Reason.STRUCTURE)
        byte = data[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            raw &= 2 * _LONG - 1
            return (raw >> 1) ^ -(raw & 1), at
        shift += 7


def wrapped(number: int) -> int:
    """`number` in 64 bits, as compiled readers add: a lying time must not become a number no store takes."""
    return (number + _LONG) % (2 * _LONG) - _LONG


def fields_of(data: bytes, at: int) -> Fields:
    """The fields of the record whose length has been read.

    Args:
        data: the batch's records, uncompressed.
        at: after the record's length.

    Raises:
        Malformed: they leave the batch, or there are too many headers to look for their end.
    """
    at += 1  # the attributes are one byte, of no use
    time_delta, at = varint(data, at)
    delta, at = varint(data, at)
    key, at = _bytes(data, at)
    value, at = _bytes(data, at)
    count, at = varint(data, at)
    if count < 0 or count > len(data) - at:
        raise Malformed(Reason.STRUCTURE)
    if count > limits.MOST_HEADERS:
        raise Malformed(Reason.HEADERS)
    start = at
    headers: list[tuple[str, bytes | None]] = []
    fault: Reason | None = None
    for _ in range(count):
        name, at = _bytes(data, at)
        content, at = _bytes(data, at)
        try:
            headers.append((name.decode(), content))  # type: ignore[union-attr]  # None is what AttributeError says
        except (UnicodeDecodeError, AttributeError):
            fault = Reason.HEADER_KEY
    if at - start > limits.MOST_HEADER_BYTES:
        fault = Reason.HEADERS
    return Fields(at, time_delta, delta, key, value, headers, fault)


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = varint(data, at)
    if size < 0:
        return None, at
    if size > len(data) - at:
        raise Malformed(Reason.STRUCTURE)
    return data[at : at + size], at + size

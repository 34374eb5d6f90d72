"""The slow path: finds the records of a batch by their structure and gives each the offset it has.

Called by `split` when the client's compiled reader raises on a batch, or its offsets are no offsets. The broker checks
how the fields of a record follow each other, not always the length before them, and inside an uncompressed batch not
the place a record claims (research/poison.md 1): so the end of the fields counts first, then the length; and the place
is the count of records before it, wherever count and last offset agree. The trap it avoids: one bad record must cost
neither its neighbours nor the position.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from bus.message import Unreadable
from bus.transport.splitter import limits
from bus.transport.splitter.structure import Fields, Head, Malformed, Reason, fields_of, varint, wrapped


class Row:
    """A record as both clients expect it of a batch.

    Args:
        value: `Unreadable` where it could not be parsed.
    """

    __slots__ = ("headers", "key", "offset", "timestamp", "timestamp_type", "value")

    checksum = None
    size_in_bytes = 0  # kafka-python adds it up for its metrics

    def __init__(  # noqa: PLR0917  # one is made per record, and keywords cost a third
        self,
        offset: int,
        timestamp: int,
        timestamp_type: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes | None]],
    ) -> None:
        self.offset = offset
        self.timestamp = timestamp
        self.timestamp_type = timestamp_type
        self.key = key
        self.value = value
        self.headers = headers


class Piece(NamedTuple):
    """Bytes that hold one record.

    Args:
        start, end: in the batch's records. fields: None where they do not fit. fault: why it is unreadable.
    """

    start: int
    end: int
    fields: Fields | None
    fault: Reason | None


def salvage(head: Head, raw: bytes, data: bytes, *, compressed: bool) -> list[Row]:
    """The records of a batch in order, the unreadable ones marked.

    Args:
        head: its header.
        raw: the whole batch as it was fetched.
        data: its records, uncompressed.
        compressed: whether they came compressed: only then is their size bounded here.

    Raises:
        Malformed: when no record's place can be told.
    """
    pieces, tail = _pieces(data, compressed=compressed)
    offsets = _offsets(head, pieces, cut=tail < len(data))
    kept = pieces[: len(offsets)]
    rows = [_row(head, data, piece, offset) for piece, offset in zip(kept, offsets, strict=True)]
    reached = offsets[-1] if offsets else head.base - 1
    last = head.base + head.last_delta
    if reached < last and (tail < len(data) or head.dense):
        rest = data[tail:] or raw
        reason = Reason.STRUCTURE if tail < len(data) else Reason.COUNT
        rows.append(unreadable(head, rest, reason=reason, first=reached + 1, last=last))
    return rows


def unreadable(head: Head, raw: bytes, *, reason: Reason, first: int, last: int) -> Row:
    """The row of several records that are lost together.

    Args:
        head: of their batch.
        raw: their bytes.
        reason: why.
        first: offset of the first of them.
        last: offset of the last.
    """
    value = Unreadable(raw, reason=reason, scope="batch", first=first, last=last)
    return Row(last, head.max_timestamp, int(head.append_time), None, value, [])


def _row(head: Head, data: bytes, piece: Piece, offset: int) -> Row:
    fields, fault = piece.fields, piece.fault
    time = head.max_timestamp
    if fields is not None and not head.append_time:
        time = wrapped(head.first_timestamp + fields.time_delta)
    if fault is None and fields is not None and head.dense and fields.delta != offset - head.base:
        fault = Reason.OFFSET_DELTA
    if fault is None and fields is not None:
        return Row(offset, time, int(head.append_time), fields.key, fields.value, fields.headers)
    value = Unreadable(
        data[piece.start : piece.end], reason=fault or Reason.STRUCTURE, scope="record", first=offset, last=offset
    )
    return Row(offset, time, int(head.append_time), None, value, [])


def _pieces(data: bytes, *, compressed: bool) -> tuple[list[Piece], int]:
    """The records one after the other, and where the last one that has an end ends."""
    pieces: list[Piece] = []
    at = headers = 0
    while at < len(data):
        try:
            piece = _piece(data, at)
        except Malformed:
            break
        if compressed and piece.end - at > limits.MOST_RECORD:
            piece = Piece(at, piece.end, piece.fields, Reason.RECORD_SIZE)
        headers += len(piece.fields.headers) if piece.fields else 0
        if len(pieces) == limits.MOST_RECORDS:
            raise Malformed(Reason.RECORDS)
        if headers > limits.MOST_BATCH_HEADERS:
            raise Malformed(Reason.HEADERS)
        pieces.append(piece)
        at = piece.end
    return pieces, at


def _piece(data: bytes, at: int) -> Piece:
    """The record at `at`. Raises Malformed when neither its fields nor its length give it an end."""
    length, inside = varint(data, at)
    end = inside + length if 0 < length <= len(data) - inside else None
    try:
        fields = fields_of(data, inside)
    except (Malformed, IndexError) as error:
        if end is None:
            raise Malformed(Reason.STRUCTURE) from None
        return Piece(at, end, None, error.reason if isinstance(error, Malformed) else Reason.STRUCTURE)
    if fields.end == end:
        return Piece(at, end, fields, fields.fault)
    if end is not None and not _begins(data, fields.end) and _begins(data, end):
        return Piece(at, end, None, Reason.RECORD_LENGTH)
    return Piece(at, fields.end, fields, Reason.RECORD_LENGTH)


def _begins(data: bytes, at: int) -> bool:
    """Whether a sound record begins at `at`, or the records end there."""
    if at == len(data):
        return True
    try:
        length, inside = varint(data, at)
        return fields_of(data, inside).end == inside + length
    except (Malformed, IndexError):
        return False


def _offsets(head: Head, pieces: Sequence[Piece], *, cut: bool) -> list[int]:
    """The offsets of the pieces; fewer than pieces when some are beyond the batch's last offset.

    Raises:
        Malformed: when the records contradict the header.
    """
    if not pieces and (cut or head.records):
        raise Malformed(Reason.STRUCTURE if cut else Reason.COUNT)
    span = head.last_delta + 1
    if head.dense or (len(pieces) == span and not cut):
        return list(range(head.base, head.base + min(span, len(pieces))))
    deltas: list[int] = []
    for piece in pieces:  # a record without fields stands right after the one before it
        deltas.append(piece.fields.delta if piece.fields else (deltas[-1] + 1 if deltas else 0))
    rising = all(one < other for one, other in pairwise(deltas))
    if rising and (not deltas or (deltas[0] >= 0 and (deltas[-1] < span or deltas[-1] == len(deltas) - 1))):
        return [head.base + delta for delta in deltas]
    raise Malformed(Reason.COUNT)

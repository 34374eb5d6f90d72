"""The records of a batch whose checksum holds: by the compiled reader where nothing is wrong, else by structure.

Called by `split`. A dense batch (count and last offset agree) is read a chunk at a time, each chunk checked before it
is handed on: to build all objects of a large batch at once costs a third more than to build them as they are taken. A
fault behind the first chunk is met by the slow path, which finds the same records again and goes on after them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import Any

from aiokafka.record._crecords.default_records import DefaultRecordBatch

from bus.transport.splitter import codecs, limits, structure
from bus.transport.splitter.salvage import salvage, unreadable
from bus.transport.splitter.structure import Head, Malformed, Reason

_log = logging.getLogger(__name__)
_CHUNK = 50
_OFFSET, _HEADERS = attrgetter("offset"), attrgetter("headers")


class Content:
    """A batch's records, unpacked.

    Args:
        raw: the whole batch as it was fetched, a view to copy none of it in vain; its checksum holds.
        head: its header.

    Raises:
        Malformed: it does not unpack, or says that it holds too many records.
    """

    def __init__(self, raw: memoryview, head: Head) -> None:
        if head.records > limits.MOST_RECORDS:
            raise Malformed(Reason.RECORDS)
        self._raw = raw
        self._head = head
        self._plain = _unpacked(raw, head)

    def stream(self) -> Iterable[Any]:
        """The records of a dense batch. Raises Malformed, now and not while they are taken."""
        records = self._compiled()
        first = None if records is None else self._chunk(records, self._head.base)
        if records is None or first is None:
            return self._salvaged()
        if len(first) == self._head.records < _CHUNK and next(records, None) is None:
            return first
        return chain.from_iterable(chain((first,), self._rest(records, self._head.base + len(first))))

    def all(self) -> Sequence[Any]:
        """The records at once, so that the last one can be asked for its offset. Raises Malformed."""
        if len(self._plain) > limits.MOST_AT_ONCE:
            return self._salvaged()
        try:
            rows = list(DefaultRecordBatch(self._plain))
        except Exception:  # noqa: BLE001  # it raises many kinds on broken bytes; the slow path names the fault
            return self._salvaged()
        at = self._head.base - 1
        for row in rows:
            if row.offset <= at or len(row.headers) > limits.MOST_HEADERS:
                return self._salvaged()
            at = row.offset
        fits = at <= self._head.base + self._head.last_delta and not self._long_headers(rows)
        return rows if fits else self._salvaged()

    def _salvaged(self) -> Sequence[Any]:
        data = bytes(self._plain[structure.HEAD_BYTES :])
        return salvage(self._head, bytes(self._raw), data, compressed=bool(self._head.codec))

    def _compiled(self) -> Iterator[Any] | None:
        """The compiled reader's records; None for a batch that only the slow path may unfold."""
        most = limits.MOST_HEADER_BYTES
        if len(self._plain) > limits.MOST_AT_ONCE or (len(self._plain) > most and _longest(self._plain) > most):
            return None
        return chain(DefaultRecordBatch(self._plain))  # it cannot be taken up again itself once it has begun

    def _chunk(self, records: Iterator[Any], at: int) -> list[Any] | None:
        """The next records, the first of them at offset `at`; None when anything is not as it should be."""
        try:
            rows = list(islice(records, _CHUNK))
        except Exception:  # noqa: BLE001  # as above
            return None
        if list(map(_OFFSET, rows)) != list(range(at, at + len(rows))):
            return None
        return rows if max(map(len, map(_HEADERS, rows)), default=0) <= limits.MOST_HEADERS else None

    def _rest(self, records: Iterator[Any], at: int) -> Iterator[list[Any]]:
        """The records from offset `at` on, by chunks. Never raises."""
        end = self._head.base + self._head.records
        while (rows := self._chunk(records, at)) and at + len(rows) <= end:
            yield rows
            at += len(rows)
        if rows is None or at != end:
            yield self._salvaged_from(at, end)

    def _salvaged_from(self, at: int, end: int) -> list[Any]:
        try:
            return [row for row in self._salvaged() if row.offset >= at]
        except Malformed as malformed:
            reason = malformed.reason
        except Exception:  # noqa: BLE001  # a fault of ours must not stop the partition either
            _log.exception("the splitter failed in a batch from offset %d on", at)
            reason = Reason.INTERNAL
        return [unreadable(self._head, bytes(self._raw), reason=reason, first=at, last=end - 1)]

    def _long_headers(self, rows: Sequence[Any]) -> bool:
        most = limits.MOST_HEADER_BYTES
        return len(self._plain) > most and any(_header_bytes(row) > most for row in rows)


def _unpacked(raw: memoryview, head: Head) -> bytes | memoryview:
    """The batch with its records uncompressed and its attributes saying so. Raises Malformed."""
    if not head.codec:
        return raw
    data = codecs.decompress(head.codec, bytes(raw[structure.HEAD_BYTES :]), limits.MOST_DECOMPRESSED)
    at = structure.ATTRIBUTES_AT
    attributes = (head.attributes & ~structure.CODEC_BITS).to_bytes(2, "big", signed=True)
    return b"".join((raw[:at], attributes, raw[at + 2 : structure.HEAD_BYTES], data))


def _longest(plain: bytes | memoryview) -> int:
    """The greatest length that a record claims: no record's headers are longer. Claims that lie are found later.

    Three bytes hold every length up to a million; one that takes more counts as too long.
    """
    at, end, longest = structure.HEAD_BYTES, len(plain) - 3, 0
    while at < end:
        size = plain[at]
        if size < 0x80:
            at += 1
        elif (high := plain[at + 1]) < 0x80:
            size, at = size & 0x7F | high << 7, at + 2
        elif (top := plain[at + 2]) < 0x80:
            size, at = size & 0x7F | (high & 0x7F) << 7 | top << 14, at + 3
        else:
            return len(plain)
        if size & 1:
            return len(plain)  # a negative length
        at += size >> 1
        longest = max(longest, size >> 1)
    return longest


def _header_bytes(row: Any) -> int:
    return sum(len(name) + len(content or b"") for name, content in row.headers)

"""What a fetch brought, batch by batch: the fast path, the slow path, and where the next fetch begins.

Made by the clients (`aiokafka_records`, `kafka_python_records`) in place of their own `MemoryRecords`. The fast path is
the compiled reader of aiokafka, for both clients. Nothing here raises on any bytes. Offsets, in short:

- count and last offset agree and the checksum holds: the batch ends where it says (the broker checked both);
- they disagree (compaction, or a lie): it ends before the batch that follows in the same fetch; where none follows, at
  its last record; when the broker sends it again for a place beyond, it has confirmed the claim;
- a batch that cannot be parsed is fetched three times before it is believed, and never moves the position backwards.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from aiokafka.record._crecords.cutil import crc32c_cython

from bus.transport.splitter import legacy, structure
from bus.transport.splitter.rows import Content
from bus.transport.splitter.salvage import unreadable
from bus.transport.splitter.sightings import Sightings
from bus.transport.splitter.structure import Head, Malformed, Reason

_log = logging.getLogger(__name__)
_NOTHING_KNOWN = -1  # leader epoch and producer id of a batch whose header proves nothing
_NO_PLACE = {Reason.BASE_OFFSET, Reason.BATCH_LENGTH}  # what such a batch says of its offsets means nothing
_MARKER_KEY = 4  # bytes of a transaction marker's key: version and kind


class Batch:
    """One batch as both clients ask for it; its checksum has been checked.

    Args:
        head: what its header says. rows: its records. next_offset: where reading goes on after it.
    """

    __slots__ = (
        "base_offset",
        "framed",
        "is_control_batch",
        "is_transactional",
        "last_offset",
        "leader_epoch",
        "magic",
        "next_offset",
        "producer_id",
        "rows",
    )

    def __init__(self, head: Head, rows: Iterable[Any], next_offset: int) -> None:
        self.rows = rows
        self.framed = True  # its length is right, so the next batch is where it should be
        self.base_offset = head.base
        self.next_offset = next_offset
        self.last_offset = next_offset - 1
        self.magic = head.magic
        self.is_control_batch = head.control
        self.is_transactional = head.transactional
        self.producer_id: int | None = head.producer_id
        self.leader_epoch = head.leader_epoch

    def has_producer_id(self) -> bool:
        """Whether an idempotent or transactional producer wrote it."""
        return self.producer_id is not None and self.producer_id >= 0

    def validate_crc(self) -> bool:
        """It holds: what it does not hold for is one unreadable record by now."""
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __next__(self) -> Any:
        """The one record of a transaction marker."""
        return next(iter(self.rows))


class Batches:
    """The batches of one fetch of one partition.

    Args:
        fetched: the bytes; the last batch may be cut, it is fetched again.
    """

    sightings: ClassVar[Sightings] = Sightings()  # of the process: a client makes one of these per fetch

    def __init__(self, fetched: bytes | bytearray | memoryview | None) -> None:
        self._buffer = memoryview(bytes(fetched or b""))
        self._at = 0
        self._next: Batch | None = None
        self._topic = ""
        self._partition = -1
        self._reached: int | None = None
        self._limit: int | None = None

    def place(self, topic: str, partition: int, position: int) -> None:
        """Say which partition was fetched, and from which offset; needed before the first batch is taken."""
        self._topic, self._partition, self._reached = topic, partition, position

    def bound(self, limit: int | None) -> None:
        """Say where the log ended when it was fetched: no batch is beyond."""
        self._limit = limit if limit is not None and limit >= 0 else None

    def has_next(self) -> bool:
        """Whether there is a batch to take; before `place`, whether there is anything to look at."""
        if self._reached is None:
            return bool(self._buffer)
        return self._look() is not None

    def next_batch(self) -> Batch | None:
        """The next batch, or None: the rest is cut, or must be fetched again before it is believed."""
        batch = self._look()
        self._next = None
        return batch

    def size_in_bytes(self) -> int:
        """0 where nothing can be taken: without a whole batch in them aiokafka skips an offset, kafka-python raises."""
        return len(self._buffer) if self.has_next() else 0

    def _look(self) -> Batch | None:
        if self._next is None and self._reached is not None and self._at < len(self._buffer):
            start, left = structure.START.size, len(self._buffer) - self._at
            base, length = structure.START.unpack_from(self._buffer, self._at) if left >= start else (self._reached, 0)
            end = self._at + start + length
            if length < legacy.LEAST_BYTES or end > len(self._buffer):
                if self._at and (left < start or length > 0):
                    self._at = len(self._buffer)  # cut: it comes whole with the next fetch
                    return None
                length, end = 0, len(self._buffer)  # no broker sends this: its length is wrong
            raw = self._buffer[self._at : end]
            batch = self._read(raw, base, length, self._following(end))
            self._at = end
            if batch is None or not batch.framed:
                self._at = len(self._buffer)  # what follows is fetched again
            if batch is not None:
                self._reached, self._next = batch.next_offset, batch
        return self._next

    def _following(self, end: int) -> int | None:
        """The base offset of the batch at `end`, if one follows."""
        if len(self._buffer) - end < structure.START.size:
            return None
        return int(structure.START.unpack_from(self._buffer, end)[0])

    def _read(self, raw: memoryview, base: int, length: int, following: int | None) -> Batch | None:
        """The batch in `raw`; None when it must be fetched again."""
        head = _head(raw, base, length)
        reason = Reason.BATCH_LENGTH
        if length >= legacy.LEAST_BYTES:
            try:
                return self._parse(raw, head, following)
            except Malformed as malformed:
                reason = malformed.reason
            except Exception:  # noqa: BLE001  # a fault of ours must not stop the partition either
                _log.exception("%s[%d]: the splitter failed on a batch", self._topic, self._partition)
                reason = Reason.INTERNAL
        return self._unparsable(raw, head, following, reason)

    def _parse(self, raw: memoryview, head: Head, following: int | None) -> Batch:
        """Raises Malformed when the batch cannot be parsed at all."""
        assert self._reached is not None
        if head.magic in {0, 1}:
            rows = legacy.rows_of(bytes(raw))
            self._check_place(head.base, rows[-1].offset)
            batch = Batch(head, rows, rows[-1].offset + 1)
            batch.is_control_batch = batch.is_transactional = False
            batch.producer_id = None
            return batch
        if head.magic != 2:
            raise Malformed(Reason.MAGIC)
        if len(raw) < structure.HEAD_BYTES:
            raise Malformed(Reason.BATCH_LENGTH)
        if not _holds(raw, head):
            raise Malformed(Reason.CHECKSUM)
        content = Content(raw, head)
        claim = head.base + head.last_delta
        if head.dense and not head.control and (following is None or following > claim):
            self._check_place(head.base, claim)
            return Batch(head, content.stream(), claim + 1)
        found = content.all()
        if head.control and not _is_marker(found):
            raise Malformed(Reason.CONTROL)
        if not head.dense and found and following is not None and self._reached < following <= found[-1].offset:
            raise Malformed(Reason.COUNT)
        last = self._last(head, found[-1].offset if found else None, following)
        self._check_place(head.base, last)
        return Batch(head, found, last + 1)

    def _check_place(self, base: int, last: int) -> None:
        """Refuse offsets that the log cannot have here: before what has been read, or beyond its end."""
        assert self._reached is not None
        beyond = self._limit is not None and last >= self._limit
        if base < 0 or last < self._reached or beyond:
            raise Malformed(Reason.BASE_OFFSET)

    def _last(self, head: Head, record: int | None, following: int | None) -> int:
        """The last offset of a parsed batch; see the module. `record`: its last record's."""
        assert self._reached is not None
        claim = head.base + head.last_delta
        sure = head.base if record is None else record
        if following is not None and following > max(sure, self._reached):
            return max(min(claim, following - 1), sure)
        if head.dense:
            return claim
        if self._reached > sure:  # the broker sent it for a place beyond its last record
            return min(claim, self._limit - 1) if self._limit is not None else claim
        return sure

    def _unparsable(self, raw: memoryview, head: Head, following: int | None, reason: Reason) -> Batch | None:
        """One unreadable row for the whole batch, or None when it must be fetched again first."""
        assert self._reached is not None
        if not self.sightings.believed((self._topic, self._partition, head.base), bytes(raw)):
            return None
        if reason is Reason.BASE_OFFSET and following == self._reached:
            return self._passed_over(head)
        proven = head.magic == 2 and reason not in _NO_PLACE and _holds(raw, head)
        last = self._reached
        if reason not in _NO_PLACE and head.base >= 0:
            last = max(self._last_unparsable(raw, head, following, proven=proven), last)
        if self._limit is not None:
            last = max(min(last, self._limit - 1), self._reached)
        first = min(max(head.base, self._reached), last)
        batch = Batch(head, [unreadable(head, bytes(raw), reason=reason, first=first, last=last)], last + 1)
        batch.is_control_batch = False
        batch.framed = proven
        if not proven or reason is Reason.CONTROL:
            batch.is_transactional = False  # else it goes the way of its transaction, aborted or not
            batch.producer_id = batch.leader_epoch = _NOTHING_KNOWN
        return batch

    def _passed_over(self, head: Head) -> Batch:
        """No rows for a batch behind the reader, when the one that is due stands right after it."""
        assert self._reached is not None
        _log.error(
            "%s[%d] holds a batch of offset %d before %d", self._topic, self._partition, head.base, self._reached
        )
        batch = Batch(head, [], self._reached)
        batch.is_control_batch = batch.is_transactional = False
        return batch

    def _last_unparsable(self, raw: memoryview, head: Head, following: int | None, *, proven: bool) -> int:
        """The last offset of a batch that cannot be parsed."""
        assert self._reached is not None
        if head.magic in {0, 1} or len(raw) < structure.HEAD_BYTES:
            return head.base  # these formats name the last one
        bounded = following is not None and following > max(head.base, self._reached)
        plausible = head.codec or head.records * structure.LEAST_RECORD <= len(raw) - structure.HEAD_BYTES
        if head.dense and (proven or plausible):
            last = head.base + head.last_delta
            return min(last, following - 1) if following is not None and bounded else last
        if proven and following is not None and bounded:
            return following - 1
        return self._reached  # one offset at a time: broken bytes say nothing


def _head(raw: memoryview, base: int, length: int) -> Head:
    """The header, or what there is of one in a batch too short for it."""
    if len(raw) >= structure.HEAD_BYTES:
        return structure.head_of(raw, 0)
    magic = int.from_bytes(raw[structure.MAGIC_AT : structure.MAGIC_AT + 1], "big", signed=True)
    return Head(base, length, -1, magic, 0, 0, 0, -1, -1, -1, -1, -1, 1)


def _holds(raw: memoryview, head: Head) -> bool:
    """Whether the checksum does; `raw` is at least a header."""
    if len(raw) < structure.HEAD_BYTES:
        return False
    return bool(crc32c_cython(raw[structure.CHECKED_FROM :]) == head.checksum)


def _is_marker(rows: Sequence[Any]) -> bool:
    return len(rows) == 1 and rows[0].key is not None and len(rows[0].key) >= _MARKER_KEY

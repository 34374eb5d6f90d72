"""One case partition in memory: its cases, timers and input positions.

Held by the runner for each partition it owns. Cases are kept as their bytes in the log, beside those touched last as
objects (`agents.hot`), so recovery costs a dict entry per case, and an open case little more memory than its bytes.
The trap it avoids: a timer heap is never searched; an entry that no longer matches its case's due moment is dropped
when it comes up.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agents import case as cases
from agents import case_bytes, case_log, parked
from agents.case_bytes import Damaged
from agents.case_log import Marker, Positions, Row, Stored
from agents.hot import Hot
from agents.parked import Waiting

Entry = Stored | Marker
_UNKNOWN = (-1, -1)


@dataclass(slots=True)
class Shelf:
    """Entries by case id, a heap of (due microseconds, case id), next input offset per topic, queues of parked cases.

    Args:
        entries: cases and markers as their bytes in the log; what has been closed since as `case_log.at_rest` has it.
        chapters: what is closed off of long cases, as the bytes in the log, oldest first.
        hot: the cases touched last, as objects; the partitions of a worker share it.
        placed: partition and offset of each output that was acknowledged after the bytes of its case were written.
        settled: keys of rows of ``<group>.parked`` that the last batch took in, whose tombstones may not be written.
    """

    entries: dict[str, bytes] = field(default_factory=dict)
    chapters: dict[str, list[bytes]] = field(default_factory=dict)
    hot: Hot = field(default_factory=Hot)
    placed: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    timers: list[tuple[int, str]] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    unconfirmed: list[str] = field(default_factory=list)
    processes: set[str] = field(default_factory=set)  # hashes whose description stands in the log
    parked: dict[str, list[Waiting]] = field(default_factory=dict)
    settled: tuple[bytes, ...] = ()

    def get(self, case_id: str) -> Entry | None:
        """The entry of a case, decoded when it has not been touched for long. Raises Damaged."""
        hot = self.hot.get(case_id)
        if hot is not None:
            return hot
        value = self.entries.get(case_id)
        if value is None:
            return None
        entry = case_log.unpack(value, self.chapters.get(case_id, ()))
        if isinstance(entry, Stored):
            known = dict(zip((emit.id for emit in entry.pending), self.placed.get(case_id, ()), strict=False))
            cases.place(entry.case, len(known), known)
            self.hot.keep(case_id, entry, len(value))
        return entry

    def put(self, case_id: str, rows: Mapping[bytes, bytes | None], entry: Entry | None) -> None:
        """Keep, replace or (None) forget an entry, and note its timer.

        Args:
            case_id: of the case.
            rows: the stored batch by key; it has what the method `rows` gave for this entry.
            entry: what they say.
        """
        value = rows[case_id.encode()]
        self.placed.pop(case_id, None)
        if not isinstance(entry, Stored):
            self.hot.drop(case_id)
            self.chapters.pop(case_id, None)
        if value is None:
            self.entries.pop(case_id, None)
            return
        before = self.entries.get(case_id)
        self.entries[case_id] = case_log.at_rest(entry, value) if isinstance(entry, Marker) else value
        if isinstance(entry, Stored):
            written = self.chapters.get(case_id, ())
            if len(entry.case.chapters) > len(written):
                new = range(len(written), len(entry.case.chapters))
                self.chapters[case_id] = [*written, *(rows[case_log.chapter_key(case_id, n)] or b"" for n in new)]
            self.hot.keep(case_id, entry, len(value))
        if before is None or not case_log.same_due(before, value):
            due = case_log.due_of(value)
            if due is not None:
                heapq.heappush(self.timers, (due, case_id))

    def rows(self, case_id: str, entry: Entry | None) -> list[Row]:
        """The rows that store an entry, its own the last; before it new chapters, or tombstones of a case that ended.

        Args:
            case_id: of the case.
            entry: it, None to forget it.
        """
        written = len(self.chapters.get(case_id, ()))
        found: list[Row] = []
        if isinstance(entry, Stored):
            cases.close_chapters(entry.case, len(entry.pending))
            new = [case_bytes.chapter_to_bytes(chapter) for chapter in entry.case.chapters[written:]]
            if new:
                folded = map(case_bytes.chapter_from_bytes, new)
                entry.case.chapters = (*entry.case.chapters[:written], *folded)
                found += [(case_log.chapter_key(case_id, number), raw) for number, raw in enumerate(new, written)]
        else:
            found += [(case_log.chapter_key(case_id, number), None) for number in range(written)]
        found.append((case_id.encode(), None if entry is None else case_log.pack(entry)))
        return found

    def acknowledge(self, case_id: str, entry: Stored, places: Mapping[str, tuple[int, int]]) -> None:
        """Note where the outputs of a case stand, for when its bytes are read again; its next bytes will say it.

        Args:
            case_id: of the case.
            entry: it, with the outputs.
            places: partition and offset by event id.
        """
        cases.place(entry.case, len(entry.pending), places)
        if entry.pending and case_id in self.entries:
            self.placed[case_id] = tuple(places.get(emit.id, _UNKNOWN) for emit in entry.pending)

    def queue(self, case_id: str, waiting: list[Waiting]) -> None:
        """Replace the queue of a parked case; with the last of it the timers of the case run again."""
        if waiting:
            self.parked[case_id] = waiting
            return
        value = self.entries.get(case_id)
        due = None if self.parked.pop(case_id, None) is None or value is None else case_log.due_of(value)
        if due is not None:
            heapq.heappush(self.timers, (due, case_id))

    def any_due(self, moment: int) -> bool:
        """Whether `due` may have something to give."""
        return bool(self.timers) and self.timers[0][0] <= moment

    def due(self, moment: int) -> Iterator[tuple[int, str]]:
        """(due, id) of entries due at or before `moment` (microseconds), in that order, taken off the heap."""
        while self.any_due(moment):
            due, case_id = heapq.heappop(self.timers)
            value = self.entries.get(case_id)
            if value is not None and case_log.due_of(value) == due:
                yield due, case_id

    def restore(self, timers: Iterable[tuple[int, str]]) -> None:
        """Put back timers that `due` gave out for a decision that was dropped."""
        for timer in timers:
            heapq.heappush(self.timers, timer)


def recover(rows: Iterable[tuple[int, bytes, bytes | None]], *, opens_on: str = "", hot: Hot | None = None) -> Shelf:
    """Rebuild a partition from its log. Rows under a key of our own that this version does not know are left alone.

    Args:
        rows: (offset, key, value) in offset order.
        opens_on: topic of the events that open cases.
        hot: see `Shelf`; default of its own.

    Returns:
        The shelf; `unconfirmed` lists the cases of the last batch, whose outputs may not have been sent.

    Raises:
        Damaged: when a row cannot be read.
    """
    latest: dict[bytes, tuple[int, bytes]] = {}
    for offset, key, value in rows:
        if value is None:
            latest.pop(key, None)
        else:
            latest[key] = (offset, value)
    latest.pop(case_log.BARRIER, None)
    at, raw = latest.pop(case_log.POSITIONS, (0, None))
    shelf = Shelf() if hot is None else Shelf(hot=hot)
    positions = Positions({}, 0) if raw is None else case_log.unpack_positions(raw)
    shelf.positions = dict(positions.inputs)
    shelf.settled = positions.settled
    for key, (offset, value) in latest.items():
        if key.startswith(case_log.OURS):
            _ours(shelf, key, value, opens_on)
            continue
        case_id = _text(key)
        shelf.entries[case_id] = value
        due = case_log.due_of(value)
        if due is not None:
            shelf.timers.append((due, case_id))
        if offset >= at - positions.rows:
            shelf.unconfirmed.append(case_id)
    heapq.heapify(shelf.timers)
    found = case_log.chapters((key, value) for key, (_, value) in latest.items())
    shelf.chapters = {
        case_id: parts for case_id, parts in found.items() if case_log.continues(shelf.entries.get(case_id))
    }
    for queue in shelf.parked.values():
        queue.sort(key=lambda waiting: waiting.order)
    return shelf


def _ours(shelf: Shelf, key: bytes, value: bytes, opens_on: str) -> None:
    if key.startswith(case_log.PROCESS):
        shelf.processes.add(_text(key.removeprefix(case_log.PROCESS)))
    elif key.startswith(parked.PREFIX):
        found = parked.read(key, value, opens_on=opens_on)
        shelf.parked.setdefault(found.case, []).append(found)


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise Damaged("a key of the case log is not UTF-8.", remedy="Restore the topic; do not skip.") from None


def merged(shelf: Shelf, changes: Mapping[str, Entry | None], case_id: str) -> Entry | None:
    """The entry of a case as a unit under way sees it: its own changes before what is kept.

    Args:
        shelf: what is kept.
        changes: the unit's own, None for a case it removed.
        case_id: of the case.
    """
    return changes[case_id] if case_id in changes else shelf.get(case_id)

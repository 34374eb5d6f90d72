"""One case partition in memory: its cases, timers and input positions.

Held by the runner for each partition it owns. Cases stay packed bytes until first touched, so recovery costs a dict
entry per case. The trap it avoids: a timer heap is never searched; an entry that no longer matches its case's due
moment is dropped when it comes up.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agents import case as cases
from agents import case_log, parked
from agents.case_log import Damaged, Marker, Positions, Stored
from agents.parked import Waiting

Entry = Stored | Marker


@dataclass(slots=True)
class Shelf:
    """Entries by case id, a heap of (due microseconds, case id), next input offset per topic, queues of parked cases.

    Args:
        settled: keys of rows of ``<group>.parked`` that the last batch took in, whose tombstones may not be written.
    """

    entries: dict[str, Entry | bytes] = field(default_factory=dict)
    timers: list[tuple[int, str]] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    unconfirmed: list[str] = field(default_factory=list)
    processes: set[str] = field(default_factory=set)  # hashes whose description stands in the log
    parked: dict[str, list[Waiting]] = field(default_factory=dict)
    settled: tuple[bytes, ...] = ()

    def get(self, case_id: str) -> Entry | None:
        """The entry of a case, decoded on first touch. Raises Damaged."""
        entry = self.entries.get(case_id)
        if isinstance(entry, bytes):
            entry = case_log.unpack(entry)
            self.entries[case_id] = entry
        return entry

    def put(self, case_id: str, entry: Entry | None) -> None:
        """Keep, replace or (None) forget an entry, and note its timer."""
        if entry is None:
            self.entries.pop(case_id, None)
            return
        before = self.entries.get(case_id)
        self.entries[case_id] = entry
        due = due_of(entry)
        if due is not None and (before is None or due != due_of(before)):
            heapq.heappush(self.timers, (due, case_id))

    def queue(self, case_id: str, waiting: list[Waiting]) -> None:
        """Replace the queue of a parked case; with the last of it the timers of the case run again."""
        if waiting:
            self.parked[case_id] = waiting
            return
        entry = self.entries.get(case_id)
        due = None if self.parked.pop(case_id, None) is None or entry is None else due_of(entry)
        if due is not None:
            heapq.heappush(self.timers, (due, case_id))

    def due(self, moment: int) -> Iterator[tuple[int, str]]:
        """(due, id) of entries due at or before `moment` (microseconds), in that order, taken off the heap."""
        while self.timers and self.timers[0][0] <= moment:
            due, case_id = heapq.heappop(self.timers)
            entry = self.entries.get(case_id)
            if entry is not None and due_of(entry) == due:
                yield due, case_id

    def restore(self, timers: Iterable[tuple[int, str]]) -> None:
        """Put back timers that `due` gave out for a decision that was dropped."""
        for timer in timers:
            heapq.heappush(self.timers, timer)


def due_of(entry: Entry | bytes) -> int | None:
    """When something must happen to an entry by time alone, microseconds."""
    if isinstance(entry, bytes):
        return case_log.due_of(entry)
    return entry.expires if isinstance(entry, Marker) else cases.next_due(entry.case)


def recover(rows: Iterable[tuple[int, bytes, bytes | None]], *, opens_on: str = "") -> Shelf:
    """Rebuild a partition from its log. Rows under a key of our own that this version does not know are left alone.

    Args:
        rows: (offset, key, value) in offset order.
        opens_on: topic of the events that open cases.

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
    shelf = Shelf()
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

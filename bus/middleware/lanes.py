"""Who waits behind whom: the state of one partition's parked entries, and what may be tried now.

Called by `bus.parked_store` and `agents.runner`, which feed it every row in the order of the log. Pure. The state is a
fold of the rows, so whoever reads them knows the same, and it is the same after compaction: a row means what it says
whatever earlier rows have been removed, and a command counts only as long as its row stands. The traps it avoids: a
later event of a key that overtakes the parked one, and a release that still counts after the next failure.

What moves a lane: its head is tried when it only queued (nothing before it is left), when its time has come, or when a
command marks it. A command marks the failed entries that stand before it in the log; the row of a new failure stands
behind it, so it is not marked.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterator
from datetime import UTC, datetime

from bus.message import Record
from bus.middleware.parking import Command, Entry, Mode, entry_key, is_command, unpack, unpack_command

_Lane = tuple[str | None, bytes | None, bytes | None]  # topic (None: across topics), key, row of an entry that is alone
_Order = tuple[int, str, int, bytes]
_AT_ONCE = datetime.min.replace(tzinfo=UTC)


class Parking:
    """The parked entries of one partition: one lane per key, and one per entry that is alone.

    Args:
        across: whether a key's records queue in one lane whatever their topic (workflows: a case has one order, by time
            of record), or in one per topic (subscriptions: topics have no order between them).
    """

    def __init__(self, *, across: bool = False) -> None:
        self._across = across
        self._entries: dict[bytes, Entry] = {}
        self._lanes: dict[_Lane, list[_Order]] = {}
        self._of_key: dict[bytes | None, set[_Lane]] = {}
        self._commands: dict[bytes, Command] = {}
        self._marks: dict[bytes, bytes] = {}  # row of an entry: row of the command that it waits for no longer
        self._waiting: list[tuple[datetime, int, _Lane]] = []  # a heap; what no longer holds is passed over
        self._turn = 0

    def apply(self, row_key: bytes, value: bytes | None) -> None:
        """Take in one row, None for its tombstone.

        Raises:
            Refused: a newer program wrote it. Damaged: it is no row of ours.
        """
        if is_command(row_key):
            self._obey(row_key, None if value is None else unpack_command(row_key, value))
            return
        entry = None if value is None else unpack(value)
        before = self._entries.get(row_key)
        if before is not None:
            self._take_out(row_key, before)
        if entry is not None:
            self._put_in(row_key, entry)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __contains__(self, row_key: bytes) -> bool:
        return row_key in self._entries

    def held(self, topic: str, key: bytes | None) -> bool:
        """Whether a record of this topic and key has to queue behind others."""
        return self._lane(topic, key) in self._lanes

    def queue(self, topic: str, key: bytes | None) -> Iterator[Entry]:
        """The entries of a held key, first to be handled first; none is looked at before it is asked for."""
        return (self._entries[order[3]] for order in self._lanes.get(self._lane(topic, key), ()))

    def next(self, now: datetime) -> Entry | None:
        """One entry to be tried now (or given up, see `dropped`), the longest due first; None when all have to wait."""
        while self._waiting:
            when, _, lane = self._waiting[0]
            if lane in self._lanes and self._when(lane) == when:
                return self._entries[self._lanes[lane][0][3]] if when <= now else None
            heapq.heappop(self._waiting)
        return None

    def dropped(self, entry: Entry) -> bool:
        """Whether an operator gave this entry up: it is not to be tried but becomes a dead letter."""
        by = self._marks.get(entry_key(entry))
        return by is not None and self._commands[by].do == "drop"

    def spent(self) -> tuple[Command, ...]:
        """Commands that have no more to do here; who owns all that they are about writes the tombstones."""
        working = set(self._marks.values())
        return tuple(said for row_key, said in self._commands.items() if row_key not in working)

    def _lane(self, topic: str, key: bytes | None, alone: bytes | None = None) -> _Lane:
        return None if self._across else topic, key, alone

    def _lane_of(self, row_key: bytes, entry: Entry) -> _Lane:
        alone = row_key if entry.mode is Mode.ALONE else None
        return self._lane(entry.record.topic, entry.record.key, alone)

    def _order(self, row_key: bytes, record: Record) -> _Order:
        """In one topic the offset is the order: a writer's clock may go back."""
        return record.timestamp if self._across else 0, record.topic, record.offset, row_key

    def _put_in(self, row_key: bytes, entry: Entry) -> None:
        lane = self._lane_of(row_key, entry)
        self._entries[row_key] = entry
        insort(self._lanes.setdefault(lane, []), self._order(row_key, entry.record))
        self._of_key.setdefault(entry.record.key, set()).add(lane)
        self._watch(lane)

    def _take_out(self, row_key: bytes, entry: Entry) -> None:
        lane = self._lane_of(row_key, entry)
        del self._entries[row_key]
        self._marks.pop(row_key, None)
        self._lanes[lane].remove(self._order(row_key, entry.record))
        if self._lanes[lane]:
            self._watch(lane)
            return
        del self._lanes[lane]
        self._of_key[entry.record.key].discard(lane)
        if not self._of_key[entry.record.key]:
            del self._of_key[entry.record.key]

    def _obey(self, row_key: bytes, command: Command | None) -> None:
        for marked in [entry for entry, by in self._marks.items() if by == row_key]:
            del self._marks[marked]
        if command is None:
            self._commands.pop(row_key, None)
            return
        self._commands[row_key] = command
        for lane in self._of_key.get(command.key, ()):
            if command.topic is None or self._across or lane[0] == command.topic:
                failed = (order[3] for order in self._lanes[lane] if not self._entries[order[3]].queued)
                self._marks.update(dict.fromkeys(failed, row_key))
                self._watch(lane)

    def _when(self, lane: _Lane) -> datetime | None:
        """From when on the lane's head may be tried; None: not before a command."""
        head = self._lanes[lane][0][3]
        entry = self._entries[head]
        return _AT_ONCE if entry.queued or head in self._marks else entry.due

    def _watch(self, lane: _Lane) -> None:
        when = self._when(lane)
        if when is not None:
            self._turn += 1
            heapq.heappush(self._waiting, (when, self._turn, lane))

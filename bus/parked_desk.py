"""Reads what is parked, as operators see it: one line per key that stands, whoever parked it.

Called by the commands `parked` and `lag`. Subscriptions park on ``<group>.parked``; workflows park in their case log,
under row keys that begin with ``!parked/`` (`agents.parked`), and find only commands and redriven letters on
``<group>.parked``. The traps it avoids: a row of a newer program, or a damaged one, that hides all others, and a case
log of a million rows read again for each look (what is new is read on).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from bus.errors import Refused, UsageError
from bus.message import Partition
from bus.middleware.dead_letter import Failure
from bus.middleware.parking import SUFFIX, Command, Entry, Mode, is_command, parked_topic, unpack, unpack_command
from bus.ports import Reader, TopicState

IN_CASES = b"!parked/"
_CASES = ".cases"
_TOLD = 20_000  # records between two lines of progress


@dataclass(frozen=True, slots=True)
class Row:
    """One parked record.

    Args:
        key: of the row. entry: what it holds.
    """

    key: bytes
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What stands together: the records of a key, in the order in which they will be handled.

    Args:
        group: whose they are.
        place: of the rows; commands for them go to the same partition number.
        topic: of the records; None in a workflow, where a case has one order whatever the topic.
        key: of the records, of a workflow the case id.
        rows: at least one.
        asked: the operator's command that is not obeyed yet, if any.
    """

    group: str
    place: Partition
    topic: str | None
    key: bytes | None
    rows: tuple[Row, ...]
    asked: Command | None = None

    @property
    def failed(self) -> Entry:
        """The entry that holds the others up."""
        return next((row.entry for row in self.rows if not row.entry.queued), self.rows[0].entry)

    @property
    def why(self) -> Failure:
        """Its failure."""
        return self.failed.failure

    @property
    def due(self) -> datetime | None:
        """When the first of them is tried by itself; None: not before a command."""
        return self.rows[0].entry.due

    @property
    def alone(self) -> bool:
        """Whether nothing queues behind it."""
        return self.rows[0].entry.mode is Mode.ALONE

    @property
    def case(self) -> str | None:
        """The case id: the key as text."""
        try:
            return None if self.key is None else self.key.decode()
        except UnicodeDecodeError:
            return None


@dataclass(frozen=True, slots=True)
class Unread:
    """A row that cannot be read.

    Args:
        place: where it stands. reason: a clause.
    """

    place: Partition
    reason: str


def row_id(group: str, key: bytes) -> str:
    """What an action on record calls a parked record: 16 hexadecimal digits.

    Args:
        group: whose it is.
        key: of its row.
    """
    return sha256(group.encode() + b"\0" + key).hexdigest()[:16]


class ParkedDesk:
    """Reads the parked records of a cluster.

    Args:
        reader: by position; closed by the caller.
        topics: those of the cluster.
        progress: told in sentences that begin with the same word.
    """

    def __init__(self, reader: Reader, topics: Mapping[str, TopicState], *, progress: Callable[[str], None]) -> None:
        self._reader = reader
        self.topics = topics
        self._progress = progress
        self._rows: dict[Partition, dict[bytes, bytes]] = {}
        self._next: dict[Partition, int] = {}

    def groups(self, only: str | None = None) -> list[str]:
        """The groups that can park records, or the one asked for.

        Raises:
            UsageError: that one cannot.
        """
        found = sorted(name.removesuffix(SUFFIX) for name in self.topics if name.endswith(SUFFIX))
        if only is None:
            return found
        if only not in found:
            known = ", ".join(found[:10]) or "none"
            raise UsageError(
                f"There is no topic {parked_topic(only)}: group {only} has parked nothing, or is called otherwise.",
                remedy=f"Groups that can park records: {known}.",
            )
        return [only]

    def read(self, groups: Iterable[str]) -> None:
        """Take in what is new on the topics of `groups`. Raises Unreachable."""
        for group in groups:
            for topic in (parked_topic(group), group + _CASES):
                if topic in self.topics:
                    self._follow(topic, only=IN_CASES if topic.endswith(_CASES) else b"")

    def _follow(self, topic: str, *, only: bytes) -> None:
        """Fold a topic's rows by key, those whose keys begin with `only`, from where the last look ended."""
        bounds = self._reader.bounds([Partition(topic, n) for n in range(self.topics[topic].partitions)])
        starts = {place: max(first, self._next.get(place, 0)) for place, (first, _) in bounds.items()}
        total = sum(end - starts[place] for place, (_, end) in bounds.items())
        read = 0
        for place, (_, end) in sorted(bounds.items()):
            rows = self._rows.setdefault(place, {})
            for record in self._reader.read(place, starts[place], end):
                read += 1
                if read % _TOLD == 0:
                    self._progress(f"Reading {topic}: {read:,} of {total:,} records")
                if record.key is None or not record.key.startswith(only):
                    continue
                if record.value is None:
                    rows.pop(record.key, None)
                else:
                    rows[record.key] = record.value
            self._next[place] = max(end, starts[place])

    def held(self, groups: Iterable[str]) -> tuple[list[Held], list[Unread]]:
        """What stands in `groups`, those that failed first on top, and what cannot be read."""
        found: list[Held] = []
        unread: list[Unread] = []
        for group in groups:
            for place in sorted(self._rows):
                if place.topic == parked_topic(group):
                    found += _of_topic(group, place, self._rows[place], self._asked(place, unread), unread)
                elif place.topic == group + _CASES:
                    asked = self._asked(Partition(parked_topic(group), place.number), [])
                    found += _of_cases(group, place, self._rows[place], asked, unread)
        return sorted(found, key=lambda one: (one.why.first, one.group, one.place, one.key or b"")), unread

    def _asked(self, place: Partition, unread: list[Unread]) -> list[Command]:
        """The commands that stand on a partition."""
        found = []
        for key, value in self._rows.get(place, {}).items():
            if is_command(key):
                try:
                    found.append(unpack_command(key, value))
                except (ValueError, Refused) as error:
                    unread.append(Unread(place, str(error)))
        return found


def _entries(place: Partition, rows: Mapping[bytes, bytes], unread: list[Unread]) -> Iterator[Row]:
    for key, value in rows.items():
        if not is_command(key) or key.startswith(IN_CASES):
            try:
                yield Row(key, unpack(value))
            except (ValueError, Refused) as error:
                unread.append(Unread(place, str(error)))


def _of_topic(
    group: str, place: Partition, rows: Mapping[bytes, bytes], asked: list[Command], unread: list[Unread]
) -> Iterator[Held]:
    """What a subscription has parked: a line per topic and key, and one per record that waits alone."""
    lanes: dict[tuple[str, bytes | None, bytes | None], list[Row]] = {}
    for row in _entries(place, rows, unread):
        record, alone = row.entry.record, row.key if row.entry.mode is Mode.ALONE else None
        lanes.setdefault((record.topic, record.key, alone), []).append(row)
    for (topic, key, _), lane in lanes.items():
        lane.sort(key=lambda row: (row.entry.record.offset, row.key))
        command = next((said for said in asked if said.key == key and said.topic in {None, topic}), None)
        yield Held(group=group, place=place, topic=topic, key=key, rows=tuple(lane), asked=command)


def _of_cases(
    group: str, place: Partition, rows: Mapping[bytes, bytes], asked: list[Command], unread: list[Unread]
) -> Iterator[Held]:
    """What a workflow has parked: a line per case."""
    lanes: dict[bytes, list[Row]] = {}
    for row in _entries(place, rows, unread):
        lanes.setdefault(row.key.removeprefix(IN_CASES).split(b"\0", 1)[0], []).append(row)
    for case, lane in lanes.items():
        lane.sort(key=lambda row: (row.entry.queued, row.entry.record.timestamp, row.entry.record.topic, row.key))
        command = next((said for said in asked if said.key == case), None)
        yield Held(group=group, place=place, topic=None, key=case, rows=tuple(lane), asked=command)

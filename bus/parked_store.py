"""The parked entries of the partitions a member owns: read from ``<group>.parked`` at assignment, then followed.

Called by `bus.hold`; made by `bus.core`. The topic is the truth: the state in memory is what its rows say, so a crash
forgets nothing, and commands or redriven letters that others append are found by reading on. What this member appends
counts for it at once. The traps it avoids: a key that flows on because its parked entry has not been read yet, a row in
memory that the topic does not have, and two owners of equal partition numbers (of topics that differ in their counts)
of whom one removes a command before the other has seen it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

from bus.errors import Refused
from bus.message import Outgoing, Partition, Record
from bus.middleware.lanes import Parking
from bus.middleware.parking import (
    Command,
    Damaged,
    Entry,
    command_key,
    entry_key,
    is_command,
    pack,
    parked_topic,
)
from bus.ports import Reader

_log = logging.getLogger(__name__)
_LOOK_EVERY = 5  # turns between two looks for a topic that nobody has made yet, or that has grown


class Rows(Protocol):
    """What reaches the topic."""

    def append(self, place: Partition, records: Sequence[Outgoing]) -> object:
        """Store and return after the replicated ack; raises what a `Producer` raises."""
        ...

    def reader(self) -> Reader:
        """A reader. Raises Unreachable."""
        ...

    def make(self) -> int:
        """Make the topic if it is not there, or as wide as the topics read; how wide it is. Raises as `reader`."""
        ...


class ParkedStore:
    """What is parked on the partitions of one member.

    Args:
        group: the consumer group.
        topics: those it reads.
        rows: reaches the topic.
    """

    def __init__(self, group: str, topics: Sequence[str], rows: Rows) -> None:
        self.topic = parked_topic(group)
        self._topics = topics
        self._rows = rows
        self._reader: Reader | None = None
        self._width = 0  # partitions the topic is known to have; 0 while there is none
        self._turn = 0
        self._parkings: dict[Partition, Parking] = {}
        self._read: dict[int, int] = {}  # per partition number: the next offset to read

    def own(self, partitions: frozenset[Partition]) -> None:
        """Know what is parked on these partitions, and forget the others.

        What was followed before goes on from where it was: the rows tell what others have done meanwhile.

        Args:
            partitions: those assigned.

        Raises:
            Unreachable: then nothing of them may be handled yet.
        """
        new = {p.number for p in partitions - self._parkings.keys()}
        self._parkings = {
            p: self._parkings[p] if p in self._parkings and p.number not in new else Parking() for p in partitions
        }
        self._read = {p.number: 0 if p.number in new else self._read.get(p.number, 0) for p in partitions}
        self._turn = 0
        try:
            self._follow(iter)
        except BaseException:
            self._parkings, self._read = {}, {}
            raise

    def refresh(self) -> None:
        """Take in what others have appended. Raises Unreachable; Refused for a row of a newer program."""
        self._follow(list)  # whole: our own rows count already, and half of them again would be a state that never was

    def _follow(self, take: Callable[[Iterator[Record]], Iterable[Record]]) -> None:
        if not self._parkings:
            return
        reader = self._look()
        places = [Partition(self.topic, number) for number in sorted(self._read) if number < self._width]
        for place, (_, end) in reader.bounds(places).items() if places else ():
            for row in take(reader.read(place, self._read[place.number], end)):
                self._feed(place.number, row.key or b"", row.value)
            self._read[place.number] = max(end, self._read[place.number])

    def of(self, partition: Partition) -> Parking:
        """The parked entries of an owned partition."""
        return self._parkings[partition]

    def write(self, entries: Sequence[Entry]) -> None:
        """Park entries of one partition; only then may their records be acknowledged. Raises what the append raises."""
        self._append(entries[0].record.partition, [(entry_key(entry), pack(entry)) for entry in entries])

    def settle(self, entry: Entry) -> None:
        """The entry is dealt with: remove it. Raises what the append raises."""
        self._append(entry.record.partition, [(entry_key(entry), None)])

    def tidy(self, partition: Partition) -> None:
        """Remove commands that have no more to do. Raises what the append raises."""
        done = [said for said in self._parkings[partition].spent() if self._is_mine(said, partition)]
        if done:
            self._append(partition.number, [(command_key(said), None) for said in done])

    def close(self) -> None:
        """Disconnect."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _is_mine(self, said: Command, partition: Partition) -> bool:
        """Whether no other member has anything to do with a command."""
        if said.topic is not None:
            return said.topic == partition.topic
        return all(Partition(topic, partition.number) in self._parkings for topic in self._topics)

    def _append(self, number: int, rows: Sequence[tuple[bytes, bytes | None]]) -> None:
        if number >= self._width:
            self._width = self._rows.make()
        self._rows.append(Partition(self.topic, number), [Outgoing(key, value) for key, value in rows])
        for key, value in rows:
            self._feed(number, key, value)

    def _look(self) -> Reader:
        """The reader; now and then see how wide the topic is: others make it, or let it grow, too."""
        if self._reader is None:
            self._reader = self._rows.reader()
        if self._turn % _LOOK_EVERY == 0:
            with suppress(Refused):  # nothing has ever been parked
                self._width = max(self._width, self._reader.partitions(self.topic))
        self._turn += 1
        return self._reader

    def _feed(self, number: int, key: bytes, value: bytes | None) -> None:
        for parking in self._concerned(number, key):
            try:
                parking.apply(key, value)
            except Damaged as damage:
                _log.error("%s[%d]: a row is passed over, it cannot be read: %s", self.topic, number, damage)

    def _concerned(self, number: int, key: bytes) -> Iterator[Parking]:
        for partition, parking in self._parkings.items():
            if partition.number == number and (is_command(key) or key.startswith(partition.topic.encode() + b"\0")):
                yield parking

"""Reads dead letters, what operators did to them, and their bytes, from the topics where they stand.

Called by the commands `dlq`, `lag` and `doctor`. Holds no state of its own: whatever it shows follows from two topics,
``<group>.dead`` and ``bus.operator.acted.v1``. The traps it avoids: a gigabyte of payloads in memory (letters are kept
without their bytes, which are read again, a bounded chunk at a time), and a foreign record that ends the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bus.consume import Decoder, open_record
from bus.errors import UsageError
from bus.ledger import Ledger
from bus.letters import Letter, NotALetter, letter_of, original
from bus.message import Partition, Record
from bus.middleware.dead_letter import SUFFIX, dead_topic
from bus.ports import Reader, TopicState
from schemas.bus_events import OperatorActed
from schemas.catalogue import Catalogue
from schemas.envelope import from_ms, to_ms
from schemas.errors import SchemaSideError

ACTIONS = OperatorActed.topic("bus")
_CHUNK_BYTES = 8 << 20  # of payloads in memory at once
_NEAR = 200  # offsets apart: to read on costs less than to fetch anew
_TOLD = 5_000  # records between two lines of progress


@dataclass(frozen=True, slots=True)
class Stray:
    """A record on a topic of ours that is not what belongs there.

    Args:
        place: where it stands. offset: there. reason: a clause.
    """

    place: Partition
    offset: int
    reason: str


@dataclass(slots=True)
class Findings:
    """What was read: the letters with what became of them, and what could not be read as such."""

    ledger: Ledger
    strays: list[Stray] = field(default_factory=list)


class LetterDesk:
    """Reads the letters of a cluster.

    Args:
        reader: by position; closed by the caller.
        topics: those of the cluster.
        catalogue: today's contracts.
        codec: decodes events by them.
        writers: schemas of other versions by id, as they stand in `_schemas`.
        progress: told in sentences that begin with the same word.
    """

    def __init__(
        self,
        reader: Reader,
        topics: Mapping[str, TopicState],
        *,
        catalogue: Catalogue,
        codec: Decoder,
        writers: Mapping[int, dict[str, Any]],
        progress: Callable[[str], None],
    ) -> None:
        self.reader = reader
        self.topics = topics
        self.catalogue = catalogue
        self.codec = codec
        self.writers = writers
        self._progress = progress

    def groups(self, only: str | None = None) -> list[str]:
        """The groups that have a dead-letter topic, or the one asked for.

        Raises:
            UsageError: that one has none.
        """
        found = sorted(name.removesuffix(SUFFIX) for name in self.topics if name.endswith(SUFFIX))
        if only is None:
            return found
        if only not in found:
            known = ", ".join(found[:10]) or "none"
            raise UsageError(
                f"There is no topic {dead_topic(only)}: group {only} has had no dead letter, or is called otherwise.",
                remedy=f"Groups with dead letters: {known}.",
            )
        return [only]

    def case_partitions(self, group: str) -> int | None:
        """Partitions of the group's case log, None when it is no workflow's."""
        log = self.topics.get(f"{group}.cases")
        return None if log is None else log.partitions

    def read(self, groups: Iterable[str]) -> Findings:
        """Every letter of `groups`, and every action. Raises Unreachable."""
        strays: list[Stray] = []
        letters = [letter for group in groups for letter in self._letters(group, strays)]
        return Findings(Ledger(letters, self._acts(strays)), strays)

    def _letters(self, group: str, strays: list[Stray]) -> Iterator[Letter]:
        for record in self._all(dead_topic(group)):
            try:
                yield letter_of(record, group=group)
            except NotALetter as error:
                strays.append(Stray(Partition(record.topic, record.partition), record.offset, str(error)))

    def _acts(self, strays: list[Stray]) -> list[tuple[datetime, OperatorActed]]:
        """What operators did, in the order it was stored; none where the topic is not there yet."""
        found = []
        for record in sorted(self._all(ACTIONS), key=lambda one: (one.timestamp, one.partition, one.offset)):
            try:
                said = open_record(record, catalogue=self.catalogue, codec=self.codec).event
            except SchemaSideError as error:
                strays.append(Stray(Partition(record.topic, record.partition), record.offset, str(error)))
                continue
            assert isinstance(said, OperatorActed)
            found.append((from_ms(record.timestamp), said))
        return found

    def _all(self, topic: str) -> Iterator[Record]:
        """Every record of a topic, partition by partition; nothing when the topic is not there."""
        if topic not in self.topics:
            return
        bounds = self.reader.bounds([Partition(topic, n) for n in range(self.topics[topic].partitions)])
        total = sum(end - first for first, end in bounds.values())
        read = 0
        for place, (first, end) in sorted(bounds.items()):
            for record in self.reader.read(place, first, end):
                yield record
                read += 1
                if read % _TOLD == 0:
                    self._progress(f"Reading {topic}: {read:,} of {total:,} records")

    def records(self, letters: Sequence[Letter]) -> Iterator[tuple[Letter, Record | None]]:
        """The original record of each letter, in the order given; None when its bytes are nowhere any more.

        Bytes that did not fit into the letter are read from the topic they were on, while it still has them.
        """
        for chunk in _chunks(letters):
            found = self._fetch({_spot(letter) for letter in chunk})
            for letter in chunk:
                record = found.get(_spot(letter))
                if record is not None and letter.left_out is None:
                    record = original(letter, record)
                elif record is not None and record.timestamp != to_ms(letter.appended):
                    record = None  # its topic was deleted and made again: this is another one
                yield letter, record

    def _is_there(self, place: Partition) -> bool:
        return place.topic in self.topics and place.number < self.topics[place.topic].partitions

    def _fetch(self, wanted: set[tuple[Partition, int]]) -> dict[tuple[Partition, int], Record]:
        """The records at these places that are still there."""
        there = sorted(spot for spot in wanted if self._is_there(spot[0]))
        places = sorted({place for place, _ in there})
        bounds = self.reader.bounds(places) if places else {}
        found = {}
        for place, start, end in _runs(there):
            first, last = bounds[place]
            for record in self.reader.read(place, max(start, first), min(end, last)):
                if (place, record.offset) in wanted:
                    found[place, record.offset] = record
        return found


def _spot(letter: Letter) -> tuple[Partition, int]:
    """Where the record's bytes stand: in the letter, unless they did not fit into it."""
    return letter.stands if letter.left_out is None else (letter.place, letter.offset)


def _chunks(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """Letters in their order, as many at a time as memory shall hold."""
    chunk: list[Letter] = []
    size = 0
    for letter in letters:
        weight = letter.size + (letter.left_out or 0)
        if chunk and size + weight > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(letter)
        size += weight
    if chunk:
        yield chunk


def _runs(spots: Iterable[tuple[Partition, int]]) -> Iterator[tuple[Partition, int, int]]:
    """Sorted places as stretches worth reading in one go: partition, first offset, the offset after the last."""
    open_: tuple[Partition, int, int] | None = None
    for place, offset in spots:
        if open_ is not None and open_[0] == place and offset - open_[2] < _NEAR:
            open_ = (place, open_[1], offset + 1)
            continue
        if open_ is not None:
            yield open_
        open_ = (place, offset, offset + 1)
    if open_ is not None:
        yield open_

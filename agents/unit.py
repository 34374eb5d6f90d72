"""One fetch as the unit of work, and the merge that gives each case partition its records in time order.

Called by the runner with what a host fetched. Pure: the moment is an argument. A record may be taken only when every
other topic of its case partition is known to hold nothing older (KIP-353, KIP-695): a topic with unread records is
waited for without limit, a topic read to its end only until a fetch has looked again, and for `patience_ms` at most
(so clocks that differ between worker and broker delay work by the difference, never stop it). The trap it avoids:
after a restart the topics of a process arrive in any order, and a case would see its third event before its first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bus.message import Partition, Record

FULL = 2_000  # records held per topic partition before the host stops fetching it
_UNREAD = -1


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a host got in one fetch.

    Args:
        records: by topic partition, offset order.
        starts: the offset each of those fetches started at; must continue what was fetched before.
        positions: next offset to fetch, past transaction markers and holes.
        seen: for partitions read to their end, the time (ms) up to which that is known.
    """

    records: Mapping[Partition, Sequence[Record]]
    starts: Mapping[Partition, int]
    positions: Mapping[Partition, int]
    seen: Mapping[Partition, int]


class Hole(Exception):
    """A fetch does not continue the one before it: taking it would lose records (F4). The process must end."""


@dataclass(slots=True)
class Lane:
    """The records of one case partition waiting to be taken, one queue per topic.

    Args:
        positions: next offset to take per topic; where the next fetch must continue is kept beside it.
        first: the topic whose records open cases, taken as if stamped `lead_ms` earlier: brokers' clocks differ, and
            an event that waits beside the one it follows from must not be taken before it.
        aside: a topic whose records are taken at once: they have no time, and nothing waits for them.
    """

    positions: dict[str, int]
    first: str = ""
    lead_ms: int = 0
    aside: str = ""
    queues: dict[str, deque[Record]] = field(init=False)
    _told: deque[Record] = field(init=False, default_factory=deque)
    _reached: int = _UNREAD
    _fetched: dict[str, int] = field(init=False)
    _seen: dict[str, int] = field(init=False)
    _blocked_since: int | None = None

    def __post_init__(self) -> None:
        self.queues = {topic: deque() for topic in self.positions if topic != self.aside}
        self._fetched = dict(self.positions)
        self._seen = dict.fromkeys(self.queues, _UNREAD)

    def add(self, topic: str, records: Sequence[Record], *, start: int, position: int, seen: int | None) -> None:
        """Queue what was fetched of one topic.

        Args:
            topic: theirs.
            records: by offset.
            start: offset this fetch began at.
            position: offset the next one begins at.
            seen: broker time (ms) up to which the topic is known to be read; None when it was not read to its end.

        Raises:
            Hole: when `start` is not where the last fetch ended.
        """
        expected = self._fetched[topic]
        if start != expected:
            raise Hole(f"{topic}: fetched from offset {start}, expected {expected}")
        queue = self._queue(topic)
        queue.extend(records)
        self._fetched[topic] = position
        if topic != self.aside:
            self._seen[topic] = _UNREAD if seen is None else seen
        if not queue:
            self.positions[topic] = position

    def take(self, limit: int, *, now: int, patience_ms: int) -> list[Record]:
        """Up to `limit` records in (timestamp less lead, topic) order; stops where an older one may still come.

        Args:
            limit: most records to take.
            now: ms since 1970.
            patience_ms: how long to wait for a topic whose time is behind.
        """
        taken: list[Record] = []
        while len(taken) < limit:
            record = self._head(now, patience_ms)
            if record is None:
                break
            self.queues[record.topic].popleft()
            taken.append(record)
        for topic, queue in self.queues.items():
            self.positions[topic] = queue[0].offset if queue else self._fetched[topic]
        if taken:
            self._reached = max(self._reached, taken[-1].timestamp)
        return taken

    def take_aside(self, limit: int) -> list[Record]:
        """Up to `limit` records of the topic `aside`, by offset."""
        taken = [self._told.popleft() for _ in range(min(limit, len(self._told)))]
        if taken:
            self.positions[self.aside] = self._told[0].offset if self._told else self._fetched[self.aside]
        return taken

    def give_back(self, records: Sequence[Record]) -> None:
        """Undo a `take` or `take_aside` of exactly these records."""
        for record in reversed(records):
            self._queue(record.topic).appendleft(record)
            self.positions[record.topic] = record.offset
            if record.topic != self.aside:
                self._reached = min(self._reached, record.timestamp - 1)

    def _queue(self, topic: str) -> deque[Record]:
        return self._told if topic == self.aside else self.queues[topic]

    def _head(self, now: int, patience_ms: int) -> Record | None:
        heads = [queue[0] for queue in self.queues.values() if queue]
        if len(heads) == len(self.queues) == 1:
            return heads[0]
        if not heads:
            self._blocked_since = None
            return None
        first, lead = self.first, self.lead_ms
        best = min(heads, key=lambda r: (r.timestamp - lead if r.topic == first else r.timestamp, r.topic))
        if len(heads) == len(self.queues):
            self._blocked_since = None
            return best
        moment = best.timestamp - lead if best.topic == first else best.timestamp
        for topic, queue in self.queues.items():
            if queue or self._seen[topic] >= moment:
                continue
            if self._seen[topic] == _UNREAD or not self._waited(now, patience_ms):
                return None
        self._blocked_since = None
        return best

    def _waited(self, now: int, patience_ms: int) -> bool:
        if self._blocked_since is None:
            self._blocked_since = now
        return now - self._blocked_since >= patience_ms

    def may_still_come(self, topic: str, before: int) -> bool:
        """Whether a record of `topic` older than `before` (ms) may still be unread."""
        return not self.queues[topic] and self._seen[topic] < before

    def waits(self) -> bool:
        """Whether it holds a record."""
        return bool(self._told) or any(self.queues.values())

    def time(self) -> int | None:
        """How far (ms) this partition's time has come by itself: known only when nothing waits and all is read."""
        if any(self.queues.values()):
            return None
        reached = min(self._seen.values(), default=_UNREAD)
        return None if reached == _UNREAD else reached

    def now(self) -> int:
        """The time (ms) of this partition: of the last record taken, or how far it has come by itself."""
        return max(self._reached, self.time() or _UNREAD)


class Merge:
    """All lanes of a worker, by case partition number."""

    def __init__(self) -> None:
        self.lanes: dict[int, Lane] = {}

    def add(self, fetched: Fetched) -> None:
        """Queue a fetch; partitions that are not owned (any more) are dropped.

        Raises:
            Hole: when a partition's records do not continue the last fetch.
        """
        for partition, position in fetched.positions.items():
            lane = self.lanes.get(partition.number)
            if lane is not None:
                lane.add(
                    partition.topic,
                    fetched.records.get(partition, ()),
                    start=fetched.starts.get(partition, position),
                    position=position,
                    seen=fetched.seen.get(partition),
                )

    def full(self) -> Iterable[Partition]:
        """Topic partitions that hold enough; the host fetches the others first."""
        return [
            Partition(topic, number)
            for number, lane in self.lanes.items()
            for topic, queue in lane.queues.items()
            if len(queue) >= FULL
        ]

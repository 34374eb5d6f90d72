"""A Kafka in memory for tests: partitions, offsets, groups with rebalance, and faults on demand.

Called by unit tests through `bus.testing.memory_bus`. The trap it avoids: a twin that is kinder than Kafka. A joining
member waits until the others have polled, a member put out of its group cannot commit, a lost ack has stored the
record; `bus.testing.TransportContract` holds it to what the real one does. No retention, no compaction.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bus.errors import Fenced, OutcomeUnknown, Refused, Unreachable
from bus.message import Outgoing, Partition, Record
from bus.ports import Clock, TopicState
from bus.transport.memory_groups import Group
from bus.transport.rules import check_sizes, no_partition, no_topic
from schemas.envelope import to_ms


@dataclass
class Faults:
    """What shall go wrong next. Every counter counts down.

    Args:
        failing_appends: so many appends store nothing and raise Unreachable.
        lost_acks: so many appends store and raise OutcomeUnknown.
        doubled_polls: so many polls return their first record twice.
        held: when set, appends wait here before they store anything (a slow or silent broker).
    """

    failing_appends: int = 0
    lost_acks: int = 0
    doubled_polls: int = 0
    held: asyncio.Event | None = None


@dataclass
class MemoryCluster:
    """The shared state, and the `Transport` of it. Safe for several threads.

    Args:
        clock: stamps the append time.
    """

    clock: Clock
    faults: Faults = field(default_factory=Faults)
    topics: dict[str, TopicState] = field(default_factory=dict)
    logs: dict[Partition, list[Record]] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))

    def log(self, partition: Partition) -> list[Record]:
        """The records of `partition`. Raises Refused when it is not there."""
        if partition.topic not in self.topics:
            raise no_topic(partition.topic)
        if partition not in self.logs:
            raise no_partition(partition.topic, partition.number)
        return self.logs[partition]

    def store(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        """Append `records`; return the first offset."""
        with self.changed:
            log = self.log(partition)
            first = len(log)
            now = to_ms(self.clock.now())
            log.extend(
                Record(partition.topic, partition.number, first + i, now, r.key, r.value, tuple(r.headers))
                for i, r in enumerate(records)
            )
            self.changed.notify_all()
            return first

    def producer(self) -> MemoryProducer:
        """A producer."""
        return MemoryProducer(self)

    def consumer(self, topics: Sequence[str], *, group: str) -> MemoryConsumer:
        """A member of `group` reading `topics`."""
        return MemoryConsumer(self, tuple(topics), group)

    def reader(self) -> MemoryReader:
        """A reader by position."""
        return MemoryReader(self)

    def admin(self) -> MemoryAdmin:
        """An administrator."""
        return MemoryAdmin(self)


class MemoryProducer:
    """The `Producer` port in memory."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """Nothing is held back."""

    async def partitions(self, topic: str) -> int:
        """How many partitions `topic` has. Raises Refused when there is no such topic."""
        if topic not in self._cluster.topics:
            raise no_topic(topic)
        return self._cluster.topics[topic].partitions

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        """Append `records` and return the first offset.

        Raises:
            Refused: a record is too large, or the topic or partition is not there.
            Unreachable: `Faults.failing_appends` is above 0; nothing is stored.
            OutcomeUnknown: `Faults.lost_acks` is above 0; the records are stored.
        """
        check_sizes(records)
        faults = self._cluster.faults
        if faults.held is not None:
            await faults.held.wait()
        await asyncio.sleep(0)  # as on a network, others run meanwhile
        if faults.failing_appends:
            faults.failing_appends -= 1
            raise Unreachable("The broker is made to fail.", remedy="Try again.")
        first = self._cluster.store(partition, records)
        if faults.lost_acks:
            faults.lost_acks -= 1
            raise OutcomeUnknown("The acknowledgement is made to get lost.", event_id="")
        return first


class MemoryConsumer:
    """The `Consumer` port in memory: one member of one group."""

    def __init__(self, cluster: MemoryCluster, topics: tuple[str, ...], group: str) -> None:
        self._cluster = cluster
        self._topics = topics
        self._positions: dict[Partition, int] = {}
        self._paused: frozenset[Partition] = frozenset()
        self._generation = -1
        with cluster.changed:
            self._group = cluster.groups.setdefault(group, Group(group))

    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        """Up to `max_records` records, waiting at most `timeout` seconds for the first."""
        give_up = time.monotonic() + timeout
        with self._cluster.changed:
            while True:
                found = self._take(max_records) if self._take_part() else []
                left = give_up - time.monotonic()
                if found or left <= 0:
                    return found
                self._cluster.changed.wait(left)

    def _take_part(self) -> bool:
        """Join or rejoin as needed; True once the group is settled and this member knows its partitions."""
        for topic in self._topics:
            if topic not in self._cluster.topics:
                raise no_topic(topic)
        moved = self._group.take_part(self, self._topics, list(self._cluster.logs))
        if moved:
            self._cluster.changed.notify_all()
        if self._group.preparing:
            self._positions = {}
            return False
        if self._generation != self._group.generation:
            self._generation = self._group.generation
            self._positions = {p: self._group.commits.get(p, 0) for p in self._group.owned[self]}
            self._paused = frozenset()
        return True

    def _take(self, max_records: int) -> list[Record]:
        found: list[Record] = []
        for partition in sorted(self._positions.keys() - self._paused):
            at = self._positions[partition]
            part = self._cluster.logs[partition][at : at + max_records - len(found)]
            self._positions[partition] = at + len(part)
            found.extend(part)
        if found and self._cluster.faults.doubled_polls:
            self._cluster.faults.doubled_polls -= 1
            found.insert(0, found[0])
        return found

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Store the next offset to read. Raises Fenced when a partition is not this member's (any more)."""
        with self._cluster.changed:
            owned = self._group.owned.get(self, frozenset())
            lost = sorted(set(positions) - owned)
            if lost:
                raise Fenced(f"{lost[0].topic}[{lost[0].number}] belongs to another member of {self._group.name} now.")
            self._group.commits.update(positions)

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Continue from these offsets; a partition that is not owned is passed over."""
        with self._cluster.changed:
            self._positions.update({p: at for p, at in positions.items() if p in self._positions})

    def position(self, partition: Partition) -> int:
        """The offset of the next record to be given. Raises Fenced when the partition is not this member's."""
        if partition not in self._positions:
            raise Fenced(f"{partition.topic}[{partition.number}] belongs to another member of {self._group.name} now.")
        return self._positions[partition]

    def assignment(self) -> frozenset[Partition]:
        """The partitions this member owned when it polled last."""
        return frozenset(self._positions)

    def pause(self, partitions: frozenset[Partition]) -> None:
        """Give no records of exactly these partitions until told otherwise."""
        self._paused = partitions

    def generation(self) -> int:
        """Grows whenever partitions were dealt out anew."""
        return self._generation

    def evict(self) -> None:
        """Put this member out of its group, as a broker does with one that went silent (tests)."""
        with self._cluster.changed:
            self._group.leave(self)
            self._cluster.changed.notify_all()

    def close(self) -> None:
        """Leave the group."""
        self.evict()


class MemoryReader:
    """The `Reader` port in memory."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    def partitions(self, topic: str) -> int:
        """How many partitions `topic` has. Raises Refused when there is no such topic."""
        if topic not in self._cluster.topics:
            raise no_topic(topic)
        return self._cluster.topics[topic].partitions

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """First stored offset and end offset per partition."""
        return {p: (0, len(self._cluster.log(p))) for p in partitions}

    def read(self, partition: Partition, start: int, end: int) -> Iterator[Record]:
        """Records with start <= offset < end, in order.

        Args:
            partition: to read.
            start: first offset.
            end: the offset after the last.

        Raises:
            Refused: the partition is not there.
        """
        yield from self._cluster.log(partition)[start:end]

    def at_time(self, partitions: Sequence[Partition], ms: int) -> dict[Partition, int]:
        """First offset whose timestamp is >= `ms` per partition; the end offset when there is none."""
        return {
            p: next((r.offset for r in self._cluster.log(p) if r.timestamp >= ms), len(self._cluster.log(p)))
            for p in partitions
        }

    def close(self) -> None:
        """Nothing to disconnect."""


class MemoryAdmin:
    """The `Admin` port in memory."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    def topics(self) -> dict[str, TopicState]:
        """All topics."""
        return dict(self._cluster.topics)

    def create(self, topic: TopicState) -> None:
        """Create a topic; one that exists alike is no error. Raises Refused."""
        with self._cluster.changed:
            there = self._cluster.topics.setdefault(topic.name, topic)
            if there != topic:
                raise Refused(f"Topic {topic.name} exists with other settings.", field="topic")
            self._grow(topic)

    def _grow(self, topic: TopicState) -> None:
        for number in range(topic.partitions):
            self._cluster.logs.setdefault(Partition(topic.name, number), [])

    def alter(self, topic: str, config: Mapping[str, str | None]) -> None:
        """Set or unset configuration entries."""
        there = self._there(topic)
        merged = {**there.config, **config}
        kept = {key: value for key, value in merged.items() if value is not None}
        self._cluster.topics[topic] = replace(there, config=kept)

    def add_partitions(self, topic: str, total: int) -> None:
        """Grow `topic` to `total` partitions. Raises Refused when that is no growth."""
        there = self._there(topic)
        if total <= there.partitions:
            raise Refused(f"{topic} has {there.partitions} partitions already.", field="partitions")
        self._cluster.topics[topic] = replace(there, partitions=total)
        self._grow(self._cluster.topics[topic])

    def delete(self, topic: str) -> None:
        """Delete `topic`; one that is not there is no error."""
        with self._cluster.changed:
            self._cluster.topics.pop(topic, None)
            for partition in [p for p in self._cluster.logs if p.topic == topic]:
                del self._cluster.logs[partition]

    def groups(self) -> list[str]:
        """Ids of the groups that have commits or members."""
        return sorted(g.name for g in self._cluster.groups.values() if g.commits or g.members)

    def committed(self, groups: Sequence[str]) -> dict[str, dict[Partition, int]]:
        """Committed offsets per group."""
        none = Group("")
        return {name: dict(self._cluster.groups.get(name, none).commits) for name in groups}

    def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """Set the committed offsets of a group that has no members. Raises Refused when it has."""
        with self._cluster.changed:
            found = self._cluster.groups.setdefault(group, Group(group))
            if found.members:
                raise Refused(f"Group {group} has running members.", field="group")
            found.commits.update(positions)

    def _there(self, topic: str) -> TopicState:
        if topic not in self._cluster.topics:
            raise no_topic(topic)
        return self._cluster.topics[topic]

    def close(self) -> None:
        """Nothing to disconnect."""

"""The seams of the bus: what a transport must offer, and nothing more.

`bus.transport.memory` and the Kafka files implement these; one `TransportContract` suite (`bus.testing`) holds both to
the same behaviour. Ports are narrow on purpose: a twin of a wide port can only imitate its names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from bus.message import Outgoing, Partition, Record


class Clock(Protocol):
    """The time as an argument. Only edges hold one; rules take a moment."""

    def now(self) -> datetime:
        """The current time, aware, UTC."""
        ...


class Producer(Protocol):
    """Appends records; asynchronous, safe for many tasks at once."""

    async def start(self) -> None:
        """Connect. Raises Unreachable."""
        ...

    async def stop(self) -> None:
        """Send what was accepted, then disconnect."""
        ...

    async def partitions(self, topic: str) -> int:
        """How many partitions `topic` has. Raises Refused when there is no such topic, Unreachable."""
        ...

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        """Append `records` in order as few record batches; return the first offset after the replicated ack.

        Raises:
            Refused: the broker will never take them (too large, no rights, no topic).
            Unreachable: nothing was stored and trying again may work.
            OutcomeUnknown: the answer is missing; they may be stored (the caller puts the event id in).
        """
        ...


class Consumer(Protocol):
    """A member of a consumer group; synchronous, one thread."""

    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        """Up to `max_records` records, waiting at most `timeout` seconds for the first. Raises Unreachable."""
        ...

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Store the next offset to read per partition. Raises Fenced when the partition has moved to another member."""
        ...

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Continue from these offsets (for a retry in place)."""
        ...

    def pause(self, partitions: frozenset[Partition]) -> None:
        """Give no records of exactly these partitions until told otherwise; none that is owned anew is paused."""
        ...

    def position(self, partition: Partition) -> int:
        """The offset of the next record of `partition` to be given. Raises Fenced when it is not owned, Unreachable."""
        ...

    def assignment(self) -> frozenset[Partition]:
        """The partitions this member owned when it polled last; a loss is heard at a poll or a commit."""
        ...

    def generation(self) -> int:
        """Grows whenever partitions were dealt out anew: then each is read again from its committed offset."""
        ...

    def close(self) -> None:
        """Leave the group. Commits nothing by itself."""
        ...


class Reader(Protocol):
    """Reads by position, without a group; synchronous."""

    def partitions(self, topic: str) -> int:
        """How many partitions `topic` has. Raises Refused when there is no such topic."""
        ...

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """First stored offset and end offset (next to be written) per partition."""
        ...

    def read(self, partition: Partition, start: int, end: int) -> Iterator[Record]:
        """Records with start <= offset < end, in order; holes of compaction are passed over.

        Args:
            partition: to read.
            start: first offset.
            end: the offset after the last.

        Raises:
            Unreachable: the broker does not answer.
        """
        ...

    def at_time(self, partitions: Sequence[Partition], ms: int) -> dict[Partition, int]:
        """First offset whose timestamp is >= `ms` per partition; the end offset when there is none."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is, or as it should be: partitions, replication factor and explicitly set configuration."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)


class Admin(Protocol):
    """Reads and changes topics and groups; synchronous. Every call may raise Unreachable."""

    def topics(self) -> dict[str, TopicState]:
        """All topics but Kafka's internal ones, with their non-default configuration."""
        ...

    def create(self, topic: TopicState) -> None:
        """Create a topic; one that exists alike is no error. Raises Refused."""
        ...

    def alter(self, topic: str, config: Mapping[str, str | None]) -> None:
        """Set (or with None, unset) configuration entries of `topic`."""
        ...

    def add_partitions(self, topic: str, total: int) -> None:
        """Grow `topic` to `total` partitions."""
        ...

    def delete(self, topic: str) -> None:
        """Delete `topic`; one that is not there is no error."""
        ...

    def groups(self) -> list[str]:
        """Ids of the consumer groups that have commits or members."""
        ...

    def committed(self, groups: Sequence[str]) -> dict[str, dict[Partition, int]]:
        """Committed offsets per group; a partition without a commit is absent."""
        ...

    def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """Set the committed offsets of a group that has no members. Raises Refused when it has."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class Transport(Protocol):
    """Makes the four ports for one cluster; nothing connects before it is used or constructed."""

    def producer(self) -> Producer:
        """A producer, not yet started."""
        ...

    def consumer(self, topics: Sequence[str], *, group: str) -> Consumer:
        """A member of `group` reading `topics`, from the earliest record where nothing is committed."""
        ...

    def reader(self) -> Reader:
        """A reader by position."""
        ...

    def admin(self) -> Admin:
        """An administrator of topics and groups."""
        ...

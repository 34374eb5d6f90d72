"""The broker of one run, its topics, and the one yardstick for both sides: what stands in the follow-up topic.

Called by the scenarios. A fresh real Kafka in a temporary directory serves the whole run; every measured process
reads as a fresh group. The trap it avoids: each side measuring itself.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bus.broker import launcher
from bus.message import Outgoing, Partition, Record
from bus.ports import TopicState
from bus.topology import group_states
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_producer import KafkaProducer
from bus.transport.kafka_reader import KafkaReader
from tests.bench.child import Child
from tests.bench.machine import broker_files
from tests.bench.statistics import Void

PARTITIONS = 6
_POLL_S = 0.05
_GIVE_UP_S = 60.0  # without one more follow-up


class Sample(NamedTuple):
    """How much was done at a moment, and the CPU seconds used until then."""

    done: int
    cpu_s: float


class Cluster:
    """A running broker.

    Args:
        bootstrap: its address. scratch: directory for the output of measured programs.
    """

    def __init__(self, bootstrap: str, scratch: Path) -> None:
        self.bootstrap = bootstrap
        self.scratch = scratch
        self._admin = KafkaAdmin(bootstrap)
        self._reader = KafkaReader(bootstrap)

    def close(self) -> None:
        """Disconnect."""
        self._admin.close()
        self._reader.close()

    def create(self, *topics: str) -> None:
        """Create topics of `PARTITIONS` partitions whose records carry the broker's append time."""
        for topic in topics:
            self._admin.create(_state(topic))

    def create_group_topics(self, group: str) -> None:
        """What a workflow worker's group needs of its own."""
        for topic in group_states(group, _state("")):
            self._admin.create(topic)

    def ends(self, topic: str) -> dict[Partition, int]:
        """End offset per partition."""
        places = [Partition(topic, number) for number in range(PARTITIONS)]
        return {place: end for place, (_, end) in self._reader.bounds(places).items()}

    def begin_at(self, group: str, places: Mapping[Partition, int]) -> None:
        """Let a fresh group start at these offsets."""
        self._admin.commit(group, places)

    def begin_at_end(self, group: str, topic: str) -> None:
        """Let a fresh group start behind what the topic holds now."""
        self.begin_at(group, self.ends(topic))

    def await_follow_ups(
        self, topic: str, before: dict[Partition, int], count: int, child: Child
    ) -> tuple[list[Record], list[Sample]]:
        """Wait until `count` records were appended since `before`; they, and the samples from the first one seen on.

        Offsets say that something moved, never how much: the markers of transactions take offsets, too. So the
        records are read, and only while nothing moves: the program under measurement shares the machine. What comes
        while they are read is for the next look, or it would have no sample.

        Raises:
            Void: when the child ends, or nothing moves for a long time.
        """
        seen: list[tuple[dict[Partition, int], float]] = []
        records: list[Record] = []
        grown, moved = 0, time.monotonic()
        while len(records) < count:
            time.sleep(_POLL_S)
            child.check()
            ends = self.ends(topic)
            growth = sum(ends.values()) - sum(before.values())
            if growth > grown:
                seen.append((ends, child.cpu_s()))
                grown, moved = growth, time.monotonic()
            elif grown >= count:
                records = self._between(before, ends)
            if time.monotonic() - moved > _GIVE_UP_S:
                raise child.failed(f"{topic}: nothing new for {_GIVE_UP_S:.0f} s; {grown} offsets for {count} records")
        return records, [Sample(_below(ends, records), cpu_s) for ends, cpu_s in seen]

    def since(self, topic: str, before: dict[Partition, int]) -> list[Record]:
        """Every record appended to a topic since `before`."""
        return self._between(before, self.ends(topic))

    def _between(self, starts: Mapping[Partition, int], ends: Mapping[Partition, int]) -> list[Record]:
        return [record for place, start in starts.items() for record in self._reader.read(place, start, ends[place])]


async def append(bootstrap: str, batches: dict[Partition, list[Outgoing]], *, at_once: int = 1_000) -> None:
    """Append ready records, as the input of a run."""
    producer = KafkaProducer(bootstrap)
    await producer.start()
    for place, records in batches.items():
        for start in range(0, len(records), at_once):
            await producer.append(place, records[start : start + at_once])
    await producer.stop()


def _quiet(_sentence: str) -> None:
    """The launcher's progress, which would drown the rounds."""


@contextmanager
def started(say: Callable[[str], None]) -> Iterator[Cluster]:
    """A fresh broker for the length of the block."""
    say("starting Apache Kafka (the first time its jars are downloaded)")
    directory = Path(tempfile.mkdtemp(prefix="agencybus-bench-", dir=broker_files()))
    try:
        found = launcher.up(directory / "broker", progress=_quiet, port=launcher.free_port())
        cluster = Cluster(found.bootstrap, directory)
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        launcher.down(directory / "broker", progress=_quiet)
        shutil.rmtree(directory, ignore_errors=True)


def cpu_per_event_us(samples: Sequence[Sample]) -> float:
    """CPU microseconds per event between the first and the last sample. Raises Void when there is only one."""
    first, last = samples[0], samples[-1]
    if first.done == last.done:
        raise Void("it was over before two samples were taken: take more events")
    return (last.cpu_s - first.cpu_s) / (last.done - first.done) * 1e6


def _below(ends: Mapping[Partition, int], records: Sequence[Record]) -> int:
    """How many of the records stood in their topic when it ended there."""
    numbers = {place.number: end for place, end in ends.items()}
    return sum(record.offset < numbers[record.partition] for record in records)


def _state(topic: str) -> TopicState:
    return TopicState(topic, PARTITIONS, 1, {"message.timestamp.type": "LogAppendTime"})

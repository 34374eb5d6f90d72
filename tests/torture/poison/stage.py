"""Publishes a corpus, notes what must become of every record, and says what became of it.

Used by `test_poison`. The traps it avoids: a bad record whose neighbours are not counted, and a refused one that a
broker's validation keeps from ever reaching a client: an honest batch of the same length is stored in its place, and
the proxy exchanges the bytes on their way out.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bus.message import Partition, Record
from bus.ports import TopicState
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_reader import KafkaReader
from tests.agents.harness import PARTITIONS
from tests.torture.poison.kit import OFFICE, READER, SDK, WORKFLOW, Evil, Kit, PoisonWorld
from tests.torture.poison.wire import Batch, Item, RawProducer, encode
from tests.torture.proxy import Swap

ROOM = 8 << 20  # bytes of the largest batch: bombs of a gigabyte take four megabytes
_NEW_TOPIC_S = 20.0
_NOT_LEADER = (3, 6)  # Kafka's errors while a new topic settles


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Due:
    """What must become of the records from `first` to `place.offset`.

    Args:
        place: the last of them, which names them. token: what a delivery of it is known by.
        stage: of its dead letter; None when it is delivered. name: whose neighbour or evil it is.
        at: seconds since 1970 when it was stored.
        loose: nothing is known of where the batch ends: letters at any of its offsets count as one.
    """

    place: Place
    first: int
    token: str
    stage: str | None
    name: str
    at: float
    loose: bool = False

    @property
    def places(self) -> list[Place]:
        """Where its dead letter may be about."""
        first = self.first if self.loose else self.place.offset
        return [Place(self.place.partition, offset) for offset in range(first, self.place.offset + 1)]


@dataclass(slots=True)
class Outcome:
    """What became of a corpus at one reader.

    Args:
        got: token -> when it was delivered, each time. dead: place -> stage and cause, each time, with when.
    """

    got: dict[str, list[float]] = field(default_factory=dict)
    dead: dict[Place, list[tuple[str, str, int, float]]] = field(default_factory=dict)

    def missing(self, due: Sequence[Due]) -> list[Due]:
        """What has not happened yet."""
        return [d for d in due if not self.times(d)]

    def times(self, due: Due) -> list[float]:
        """When it happened, each time."""
        if due.stage is None:
            return self.got.get(due.token, [])
        return [at for place in due.places for *_, at in self.dead.get(place, ())]

    def wrong(self, due: Sequence[Due]) -> list[str]:
        """Everything that is not as it must be, once nothing is missing, in words."""
        found = [f"{d.name} at {d.place}: {'no dead letter' if d.stage else 'lost'}" for d in self.missing(due)]
        tokens = {d.token for d in due if d.stage is None}
        found += [f"{token} was delivered and should not have been" for token in self.got if token not in tokens]
        found += [f"{token} was delivered {len(times)} times" for token, times in self.got.items() if len(times) > 1]
        dead = {place: d for d in due if d.stage for place in d.places}
        for place, letters in self.dead.items():
            expected = dead.get(place)
            if expected is None:
                found.append(f"{place} is a dead letter ({letters[0][:2]}) and should not be")
                continue
            found += [f"{expected.name} at {place} has {len(letters)} dead letters"] * (len(letters) > 1)
            stage, cause, first, _ = letters[0]
            if stage != expected.stage or not cause or (first != expected.first and not expected.loose):
                found.append(f"{expected.name} at {place}: {stage}, {cause!r}, from {first}; not {expected}")
        return found

    def stall_s(self, due: Sequence[Due]) -> float:
        """The longest that a partition stood still with something to do, in seconds."""
        longest = 0.0
        for number in range(PARTITIONS):
            here = [d for d in due if d.place.partition == number]
            steps = [(min(times), d.at) for d in here if (times := self.times(d))]
            before = 0.0
            for done, stored in sorted(steps):
                longest = max(longest, done - max(before, stored))
                before = done
        return longest


def groups(world: PoisonWorld) -> Mapping[str, str]:
    """The consumer group of each reader that has one."""
    return {WORKFLOW: world.group, SDK: f"sdk.{world.agency}", OFFICE: f"{world.agency}.desk"}


def create(world: PoisonWorld) -> None:
    """Make every topic of the world, for every reader."""
    admin = KafkaAdmin(world.bootstrap)
    stamped = {"message.timestamp.type": "LogAppendTime"}
    admin.create(TopicState(world.topic("asked"), PARTITIONS, 1, {**stamped, "max.message.bytes": str(ROOM)}))
    for name in (world.topic("ordered"), world.topic("answered")):
        admin.create(TopicState(name, PARTITIONS, 1, stamped))
    for group in groups(world).values():
        for role in ("cases", "parked"):
            admin.create(TopicState(f"{group}.{role}", PARTITIONS, 1, {"cleanup.policy": "compact"}))
        for role in ("archive", "dead"):
            admin.create(TopicState(f"{group}.{role}", PARTITIONS, 1, stamped))
    admin.close()


class Publisher:
    """Puts evils among good neighbours on the topic `asked` of a world.

    Args:
        world: its topics exist. seed: chooses the partitions.
    """

    def __init__(self, world: PoisonWorld, *, seed: int) -> None:
        self._topic = world.topic("asked")
        self._kits = [Kit(world, number) for number in range(PARTITIONS)]
        self._random = random.Random(seed)
        self._producer = RawProducer(world.bootstrap)
        self.swaps: list[Swap] = []

    def close(self) -> None:
        """Disconnect."""
        self._producer.close()

    def publish(self, evils: Sequence[Evil], reader: str, *, positions: int, ready: Callable[[], None]) -> list[Due]:
        """Store each evil at so many positions of its batch.

        Args:
            evils: in what order, the seed decides. reader: whose.
            positions: how many of its positions each evil takes.
            ready: called when a swap has been added, before its batch is stored.

        Returns:
            What must become of all that was stored, at `reader`.
        """
        due: list[Due] = []
        plan = [(e, at) for e in evils for at in ((1,) if e.bend is None else _some(e.positions, positions, e.name))]
        self._random.shuffle(plan)
        for evil, at in plan:
            kit = self._kits[self._random.randrange(PARTITIONS)]
            due += self._good(kit, evil.name)
            due += self._evil(kit, evil, at, reader, ready)
        for kit in self._kits:
            due += self._good(kit, "the end")
        return due

    def _good(self, kit: Kit, name: str) -> list[Due]:
        token = kit.token()
        at, base = self._store(kit, encode(Batch([kit.good(token)])))
        return [Due(Place(kit.partition, base), base, token, None, f"the neighbour before {name}", at)]

    def _evil(self, kit: Kit, evil: Evil, position: int, reader: str, ready: Callable[[], None]) -> list[Due]:
        items = [kit.good() for _ in range(3)]
        if evil.bend is not None:
            items[position] = evil.bend(kit, items[position])
        batch = Batch(items, codec=evil.codec)
        if evil.batch is not None:
            batch = evil.batch(batch)
        stored = encode(batch)
        last = (batch.count or 3) - 1 if batch.payload is not None and not evil.refused else 2
        if evil.refused:
            marker = os.urandom(16)
            evil_bytes, stored = stored, stand_in(len(stored), marker)
            self.swaps.append(Swap(marker, stored.find(marker), evil_bytes))
            ready()
        at, base = self._store(kit, stored)
        stage = evil.fate.get(reader)
        if evil.whole:
            return [Due(Place(kit.partition, base + last), base, "", stage, evil.name, at, evil.loose)]
        due = []
        for i, item in enumerate(items):
            hit = i == position if evil.bend is not None else i not in evil.spared
            name = evil.name if hit else f"a neighbour of {evil.name} at {position}"
            where = Place(kit.partition, base + i)
            known = "" if reader == READER else token_of(item)  # it reads places: a hostile id may stand at several
            token = known or f"offset {where.offset} of {where.partition}"
            due.append(Due(where, base + i, token, stage if hit else None, name, at))
        return due

    def _store(self, kit: Kit, batch: bytes) -> tuple[float, int]:
        give_up = time.monotonic() + _NEW_TOPIC_S
        while True:
            code, base = self._producer.send(self._topic, kit.partition, batch)
            if code == 0:
                return time.time(), base
            if code not in _NOT_LEADER or time.monotonic() > give_up:
                raise AssertionError(f"the broker refused a batch of the corpus: error {code}")


def _some(positions: Sequence[int], count: int, name: str) -> Sequence[int]:
    """`count` of the positions; which ones, the name decides."""
    turn = sum(name.encode()) % len(positions)
    return [*positions[turn:], *positions[:turn]][:count]


def token_of(item: Item) -> str:
    """What a delivery of this record is known by."""
    return (dict(item.headers).get(b"ce_id") or b"").decode(errors="replace").removeprefix("e/")


def stand_in(size: int, marker: bytes) -> bytes:
    """An honest batch of three records with exactly `size` bytes; `marker` stands in it once."""
    for filler in range(3):
        for pad in range(size):
            items = [Item(value=marker + bytes(pad)), Item(value=bytes(filler)), Item(value=b"")]
            made = encode(Batch(items))
            if len(made) == size:
                return made
            if len(made) > size:
                break
            if size - len(made) > 64:
                items = [replace(items[0], value=marker + bytes(pad + size - len(made) - 16)), *items[1:]]
                made = encode(Batch(items))
                if len(made) == size:
                    return made
    raise ValueError(f"no batch of three has {size} bytes")


def letter(record: Record) -> tuple[Place, tuple[str, str, int, float]]:
    """The place a dead letter is about; its stage, cause, first offset and when it was stored."""
    said = {name: (value or b"").decode() for name, value in record.headers if name.startswith("dead_")}
    place = Place(int(said["dead_partition"]), int(said["dead_offset"]))
    first = int(said.get("dead_first_offset", place.offset))
    return place, (said["dead_stage"], said["dead_error"], first, record.timestamp / 1000)


def peak_mb(pid: int) -> float:
    """The most memory a process has had, in MB (its high-water mark; what `ps` says where there is none)."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    said = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(said.stdout) / 1024


def misplaced(world: PoisonWorld, reader: str) -> list[str]:
    """Partitions whose commit is not the end of what is stored, in words: a lie about an offset moved it."""
    reading, admin = KafkaReader(world.bootstrap), KafkaAdmin(world.bootstrap)
    places = [Partition(world.topic("asked"), number) for number in range(PARTITIONS)]
    ends = reading.bounds(places)
    committed = admin.committed([groups(world)[reader]])[groups(world)[reader]]
    reading.close()
    admin.close()
    return [
        f"{place.number} is committed at {committed.get(place)}, and ends at {end}"
        for place, (_, end) in ends.items()
        if committed.get(place) != end
    ]

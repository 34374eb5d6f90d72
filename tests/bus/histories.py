"""Seeded histories of a group under random failures, rebalances and crashes, and what must hold of every one of them.

Used by `test_histories`, which also runs it with guards taken out, and by `tests.torture.test_order`. One thread:
processes are generators that a seed interleaves, so a failing seed replays. The effect of an event is a line in a
`Ledger` that outlives every process and takes each event once, as an inbox does.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from bus.errors import OutcomeUnknown, Unreachable
from bus.hold import Hold
from bus.member import Hand, Member
from bus.message import Outgoing, Partition
from bus.middleware.dedupe import Seen
from bus.middleware.parking import is_command
from bus.middleware.retry import Policy, RetryPolicy
from bus.parked_store import ParkedStore
from bus.partitioner import partition_for
from bus.ports import Reader, TopicState
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from tests.bus.delivery import GROUP, Desk, PatientConsumer, Rows, Time, command, outgoing, parked, parked_rows
from tests.bus.support import TOPIC

PARKED, DEAD = f"{GROUP}.parked", f"{GROUP}.dead"
POLICY = Policy(retry=RetryPolicy(attempts=2, base_s=0.1, cap_s=1.0))


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Ledger:
    """Effects, each event once, in the order in which they happened. Its own `Seen`: kept with the effect."""

    effects: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    texts: set[str] = field(default_factory=set)
    repeated: int = 0

    def apply(self, text: str) -> None:
        key, number = text.split("-")
        if text in self.texts:
            self.repeated += 1
        else:
            self.texts.add(text)
            self.effects[key].append(int(number))

    def inversions(self) -> int:
        return sum(later < earlier for line in self.effects.values() for earlier, later in pairwise(line))


class Nothing(Seen):
    """Remembers nothing, as a process that was started again."""

    def has(self, partition: Partition, mark: str) -> bool:
        return False

    def add(self, partition: Partition, mark: str) -> None:
        pass


@dataclass
class Parts:
    """What processes are made of; a test puts a broken one here to see a history go wrong."""

    member: type[Member] = Member
    hold: type[Hold] = Hold
    store: type[ParkedStore] = ParkedStore


class CrashingRows(Rows):
    """Topics that are away at times, lose acks, and kill the process before or after it stored something."""

    world: World
    owner: Process

    def reader(self) -> Reader:
        if self.world.rough and self.world.chance.random() < 0.2:
            raise Unreachable("The broker is made to fail.")
        return super().reader()

    def append(self, place: Partition, records: Sequence[Outgoing]) -> int:
        chance, world = self.world.chance, self.world
        if world.rough and chance.random() < 0.02:
            raise Crash
        if place.topic == PARKED and any(r.value is not None and not is_command(r.key or b"") for r in records):
            mine = world.cluster.groups[GROUP].owned.get(self.owner.consumer, frozenset())
            world.expect(Partition(TOPIC, place.number) in mine, "a stranger parked")
        if world.rough and chance.random() < 0.1:
            raise Unreachable("The broker is made to fail.")
        first = super().append(place, records)
        if world.rough and chance.random() < 0.02:
            raise Crash
        if world.rough and chance.random() < 0.05:
            raise OutcomeUnknown("The ack is made to get lost.", event_id="")
        return first


class WatchedConsumer(PatientConsumer):
    """A member whose every commit is looked at."""

    world: World

    def commit(self, positions: Mapping[Partition, int]) -> None:
        super().commit(positions)
        for place, end in positions.items():
            self.world.look_at_commit(place, end)


class Process:
    """A process of the group: runs until the scheduler stops asking."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows = CrashingRows(world.cluster)
        self.rows.world, self.rows.owner = world, self
        desk = Desk(world.cluster, policy=POLICY, seen=Nothing(), time=world.time, rows=self.rows)
        desk.consumer.__class__ = WatchedConsumer
        self.consumer = desk.consumer
        self.consumer.world = world  # type: ignore[attr-defined]
        store = world.parts.store(GROUP, [TOPIC], self.rows)
        self.member = world.parts.member(desk.consumer, desk.pipeline, store, group=GROUP, monotonic=world.time)
        self.member._hold.__class__ = world.parts.hold
        self.turns = self.run()

    def run(self) -> Iterator[None]:
        member = self.member
        while True:
            member.poll(max_records=self.world.chance.choice((1, 5, 50)))
            yield
            for hand in member.hands():
                while self.try_one(hand):
                    yield
                    member.commit_if_due()
                yield
            member.commit_if_due()

    def try_one(self, hand: Hand) -> bool:
        attempt = self.member.next(hand)
        if attempt is None:
            return False
        text = attempt.message.event.text  # type: ignore[attr-defined]  # a note
        error = self.world.failure(text)
        if error is None:
            self.world.ledger.apply(text)
            self.member.handled(hand)
        else:
            self.member.failed(hand, error, where="here")
        return True


class World:
    """A group, its topics, its processes, and the seed that decides what happens to them."""

    def __init__(self, seed: int, *, parts: Parts | None = None, keys: int = 6, partitions: int = 3) -> None:
        self.chance = random.Random(seed)
        self.parts = parts or Parts()
        self.cluster: MemoryCluster = memory_cluster(TOPIC, partitions=partitions)
        self.time = Time()
        self.ledger = Ledger()
        self.keys = [f"k{n}" for n in range(keys)]
        self.sick = set(self.chance.sample(self.keys, 2))  # the others never meet a bug
        self.published: Counter[str] = Counter()
        self.bugs: set[str] = set()
        self.rough = self.watched = True
        self.wrong: list[str] = []
        self.looked: dict[Partition, int] = {}
        self.living: list[Process] = []
        self.met: Counter[str] = Counter()
        self.cluster.admin().create(TopicState(PARKED, partitions, 1))

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)

    def publish(self) -> None:
        key = self.chance.choice(self.keys)
        text = f"{key}-{self.published[key]}"
        self.published[key] += 1
        if key in self.sick and self.chance.random() < 0.2:
            self.bugs.add(text)
        place = Partition(TOPIC, partition_for(key.encode(), self.cluster.topics[TOPIC].partitions))
        self.cluster.store(place, [outgoing(text, case=key)])

    def failure(self, text: str) -> Exception | None:
        if text in self.bugs:
            return ValueError("a bug")
        if self.rough and self.chance.random() < 0.05:
            return Unreachable("The registry is down.")
        return None

    def look_at_commit(self, place: Partition, end: int) -> None:
        """Whatever lies below a commit has had its effect, is parked, or is a dead letter."""
        start = self.looked.get(place, 0)
        if self.watched and end > start:
            waiting = {key for key, value in parked_rows(self.cluster, place.number).items() if value is not None}
            for record in self.cluster.logs[place][start:end]:
                text = (dict(record.headers)["ce_id"] or b"").decode()
                row = f"{place.topic}\0{place.number}\0{record.offset}".encode()
                self.expect(text in self.ledger.texts or row in waiting, f"a commit passed {text}")
            self.looked[place] = end

    def step(self) -> None:
        """One thing happens."""
        dice = self.chance.random()
        if self.rough and dice < 0.3:
            self.publish()
        elif self.rough and dice < 0.31:
            self.living.append(Process(self))
            self.met["joins"] += 1
        elif self.rough and dice < 0.32 and len(self.living) > 1:
            self.bury(self.chance.choice(self.living))
        elif self.rough and dice < 0.325 and self.living:
            self.chance.choice(self.living).consumer.evict()  # paused beyond its session; it goes on
            self.met["zombies"] += 1
        elif self.rough and dice < 0.345:
            self.release()
        elif self.living:
            self.advance(self.chance.choice(self.living))

    def advance(self, process: Process) -> None:
        self.time.seconds += 0.02
        try:
            next(process.turns)
        except Crash:
            self.bury(process)

    def bury(self, process: Process) -> None:
        """The process is gone; the group learns of it."""
        self.living.remove(process)
        process.consumer.evict()
        self.met["crashes"] += 1

    def release(self) -> None:
        key = self.chance.choice(self.keys)
        number = partition_for(key.encode(), self.cluster.topics[TOPIC].partitions)
        command(self.cluster, "release", key=key, number=number, action=f"r{self.chance.random()}")
        self.met["releases"] += 1

    def calm(self) -> None:
        """Faults end; one process goes on. Bugs stay."""
        self.rough = False
        for process in list(self.living):
            self.bury(process)
        self.living = [Process(self)]

    def heal(self) -> None:
        """Bugs are mended and keys released."""
        self.bugs.clear()
        for key in self.keys:
            number = partition_for(key.encode(), self.cluster.topics[TOPIC].partitions)
            command(self.cluster, "release", key=key, number=number, action=f"heal-{key}")

    def wait(self, keys: Sequence[str]) -> list[str]:
        """Let time pass until every event of `keys` had its effect; the events that had none after long enough."""
        for step in range(3_000):
            if step % 20 == 0 and not self.missing(keys):
                return []
            self.advance(self.living[0])
            self.time.seconds += 0.2
        return self.missing(keys)

    def missing(self, keys: Sequence[str]) -> list[str]:
        return [f"{k}-{n}" for k in keys for n in range(self.published[k]) if f"{k}-{n}" not in self.ledger.texts]


def live(seed: int, *, parts: Parts | None = None, steps: int = 500) -> World:
    """Live one history; `World.wrong` says what must not be."""
    world = World(seed, parts=parts)
    world.living.append(Process(world))
    for _ in range(steps):
        world.step()
    world.calm()
    for text in world.wait([key for key in world.keys if key not in world.sick]):
        world.wrong.append(f"{text} did not move although its key is healthy")
    world.met["parked"] = sum(value is not None for n in range(3) for value in parked_rows(world.cluster, n).values())
    world.heal()
    for text in world.wait(world.keys):
        world.wrong.append(f"{text} is lost")
    if world.ledger.inversions():
        world.wrong.append(f"{world.ledger.inversions()} inversions")
    return world


class Country(World):
    """Many keys, all of whose events are there already; some fail for a while."""

    def __init__(self, keys: int, each: int) -> None:
        super().__init__(1, keys=keys, partitions=6)
        self.rough = self.watched = False
        self.left = {}
        chance = random.Random(2)
        for number in range(each):
            for key in self.keys:
                text = f"{key}-{number}"
                place = Partition(TOPIC, partition_for(key.encode(), 6))
                self.cluster.store(place, [outgoing(text, case=key)])
                if chance.random() < 0.05:
                    self.left[text] = chance.choice((1, 1, 1, 2, 3))  # two tries in place: some are parked
        self.published.update(dict.fromkeys(self.keys, each))

    left: dict[str, int]

    def failure(self, text: str) -> Exception | None:
        if not self.left.get(text):
            return None
        self.left[text] -= 1
        return ValueError("for a moment")

    def release_all(self) -> int:
        """Release every key that is parked; how many entries there were."""
        count = 0
        for number in range(6):
            entries = parked(self.cluster, number)
            count += len(entries)
            for key in {(entry.record.key or b"").decode() for entry in entries}:
                command(self.cluster, "release", key=key, number=number, action=f"{key}-{self.time.seconds}")
        return count

"""The processes of a simulated country: offices that publish, workers that carry cases; each may die at any await.

Started and restarted by `tests.simulation.history`. What a process must remember over its death stands in a `Journal`
outside of it, as it would on disk. The trap it avoids: a host kinder than the real ones. As under Kafka, a worker that
was silent for its session loses its partitions to another, and learns of it at its next poll or when the log refuses
it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from agents.unit import Fetched
from bus.errors import Fenced, OutcomeUnknown, Unreachable
from bus.message import Partition, Receipt, Record
from bus.publish import Publisher
from bus.transport.memory import MemoryConsumer
from schemas.envelope import to_ms
from schemas.event import Event
from tests.agents import births
from tests.agents.world import CATALOGUE, CODEC, World

Tell = Callable[[World, str], None]
AFTER: dict[Tell, Tell] = {births.notify: births.register, births.register: births.identify}


@dataclass(frozen=True, slots=True)
class Said:
    """What an office tells: an event of a case, under an id that stays."""

    event: Event
    case: str
    agency: str
    id: str


class _Capture:
    """Takes what `tests.agents.births` would store."""

    said: Said

    def publish(self, event: Event, case: str, *, agency: str, event_id: str, source: str | None = None) -> None:
        self.said = Said(event, case, agency, event_id)


def said_by(tell: Tell, case: str) -> Said:
    """The event of a step of `tests.agents.births`."""
    capture = _Capture()
    tell(cast("World", capture), case)
    return capture.said


@dataclass
class Journal:
    """What the offices have on disk.

    Args:
        todo: what is to be told next. begun: what has been followed by its next step. acked: receipts by event id.
    """

    todo: list[tuple[Tell, str]]
    begun: set[tuple[Tell, str]] = field(default_factory=set)
    acked: dict[str, Receipt] = field(default_factory=dict)


async def offices(world: World, journal: Journal, chance: random.Random) -> None:
    """Tell of births, most steps after the one before is acknowledged, some twice; again when the network fails."""
    producer = world.cluster.producer()
    publishers = {
        agency: Publisher(producer, CODEC, CATALOGUE, agency=agency, clock=world.clock, deadline_s=5.0)
        for agency in ("health", "justice", "interior")
    }
    while journal.todo:
        await asyncio.sleep(chance.choice((0.01, 0.1, 0.5, 2.0)))
        entry = chance.choice(journal.todo)
        said = said_by(*entry)
        early = entry[0] is births.register and chance.random() < 0.5  # the next office need not wait for its receipt
        if early and entry not in journal.begun:
            journal.begun.add(entry)
            journal.todo.append((AFTER[entry[0]], entry[1]))
        try:
            receipt = await publishers[said.agency].publish(said.event, case=said.case, id=said.id)
        except (Unreachable, OutcomeUnknown):
            continue
        journal.acked[said.id] = receipt
        if chance.random() < 0.9:  # else it forgets that it was told and tells it again
            journal.todo.remove(entry)
            if entry[0] in AFTER and entry not in journal.begun:
                journal.begun.add(entry)
                journal.todo.append((AFTER[entry[0]], entry[1]))


class Member:
    """A member of a group that remembers when it was last heard of.

    Args:
        world: whose cluster. topics: what the process listens to. group: its group.
    """

    def __init__(self, world: World, topics: Sequence[str], group: str) -> None:
        self.consumer: MemoryConsumer = world.cluster.consumer(topics, group=group)
        self.joined = False
        self.group = world.cluster.groups[group]
        self.beat()

    def beat(self) -> None:
        """A sign of life."""
        self.heard = asyncio.get_running_loop().time()

    def put_out(self) -> bool:
        """Whether the group has given its place away."""
        return self.joined and self.consumer not in self.group.members

    def poll(self, most: int) -> list[Record]:
        """Take part in the group and read; empty while it settles."""
        self.beat()
        found = self.consumer.poll(max_records=most, timeout=0)
        self.joined = True
        return found

    @property
    def turn(self) -> int:
        """The generation in which this member may work; -1 while the group settles."""
        return -1 if self.group.preparing or self.consumer not in self.group.owned else self.group.generation


async def worker(world: World, member: Member, chance: random.Random) -> None:
    """A host in miniature: the shape of `agents.aiokafka_host` with its fetches one at a time.

    Raises:
        Fenced: its place is another's; what it held is void.
    """
    runner = world.worker().runner
    turn, at = -1, dict[Partition, int]()
    quiet = 0
    while True:
        await asyncio.sleep(chance.choice((0.01, 0.05, 0.2)) if quiet < 5 else 0.5)
        if member.put_out():
            raise Fenced("the group gave this member's partitions away.")
        if at and member.turn != turn:  # revoked: finish while still the owner
            await runner.finish()
            _commit(member, runner.committable())
            await runner.released()
            at = {}
        records = member.poll(chance.choice((1, 3, 8)))
        if member.turn == -1:
            continue
        if member.turn != turn or not at:
            turn = member.turn
            at = await _take_over(runner, member, turn)
            continue
        fetched = _fetched(world, member, records, at)
        at.update(fetched.positions)
        quiet = 0 if records else quiet + 1
        await runner.handle(fetched)
        if chance.random() < 0.2:
            _commit(member, runner.committable())


async def _take_over(runner: Any, member: Member, turn: int) -> dict[Partition, int]:
    async def floor(inputs: Sequence[Partition]) -> dict[Partition, int]:
        await asyncio.sleep(0.001)
        return dict.fromkeys(inputs, 0)

    numbers = sorted({p.number for p in member.consumer.assignment()})
    try:
        at: dict[Partition, int] = await runner.assigned(numbers, floor=floor, still_mine=lambda: member.turn == turn)
    except Fenced:
        if member.turn == turn:
            raise
        return {}
    if member.turn != turn:
        return {}
    member.consumer.seek(at)
    return at


def _fetched(world: World, member: Member, records: Sequence[Record], at: dict[Partition, int]) -> Fetched:
    found: dict[Partition, list[Record]] = {partition: [] for partition in at}
    for record in records:
        found[Partition(record.topic, record.partition)].append(record)
    positions = {partition: start + len(found[partition]) for partition, start in at.items()}
    now = to_ms(world.clock.now())
    seen = {p: now for p, position in positions.items() if position == len(world.cluster.logs[p])}
    return Fetched(found, dict(at), positions, seen)


def _commit(member: Member, offsets: dict[Partition, int]) -> None:
    owned = member.consumer.assignment()
    member.consumer.commit({p: offset for p, offset in offsets.items() if p in owned})

"""The social fund of the simulated country: an SDK subscription whose effect, dedupe and outbox are one transaction.

Run by `tests.simulation.history` as two processes: `fund` reads requests, `relay` publishes what the fund has decided.
The `Database` stands outside of both and outlives them; a method of it is one transaction.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bus.consume import Subscription, open_record
from bus.errors import OutcomeUnknown, Unreachable
from bus.message import Message, Outgoing, Partition
from bus.middleware.dead_letter import DeadLetters, dead_topic
from bus.middleware.dedupe import mark_of
from bus.middleware.parking import parked_topic
from bus.middleware.retry import Policy, RetryPolicy
from bus.parked_store import ParkedStore
from bus.pipeline import Pipeline
from bus.ports import TopicState
from bus.publish import Publisher
from bus.transport.memory import MemoryReader
from tests.agents import births
from tests.agents.world import CATALOGUE, CODEC, PARTITIONS, World
from tests.simulation.blocking import FarConsumer, Waiter
from tests.simulation.network import FarProducer
from tests.simulation.processes import Said, said_by

FUND = "social-fund.benefits"
REQUESTS = "portal.request.created.v1"
OWN = (parked_topic(FUND), dead_topic(FUND))


@dataclass
class Database:
    """What the fund has on disk. It is its own `Seen`: a mark is kept in the transaction of the effect.

    Args:
        paid: how often each case was paid. marks: of events that had their effect.
        outbox: events to be published. sent: ids that are acknowledged.
        broken: cases at which the fund's program fails, until it is mended.
    """

    paid: Counter[str] = field(default_factory=Counter)
    marks: set[str] = field(default_factory=set)
    outbox: list[Said] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)

    def pay(self, message: Message) -> None:
        """Effect, mark and answer, all or nothing."""
        mark = mark_of(message)[1]
        if mark in self.marks:
            return
        case = message.case or ""
        if case in self.broken:
            raise ZeroDivisionError
        self.marks.add(mark)
        self.paid[case] += 1
        self.outbox.append(said_by(births.assign, case))

    def has(self, partition: Partition, mark: str) -> bool:
        """Whether this event had its effect."""
        return mark in self.marks

    def add(self, partition: Partition, mark: str) -> None:
        """Nothing: `pay` has kept it."""


@dataclass(frozen=True, slots=True)
class FarRows:
    """The topic of what the fund has parked, behind the network."""

    producer: FarProducer
    waiter: Waiter
    world: World

    def append(self, place: Partition, records: Sequence[Outgoing]) -> int:
        """Store, after the acknowledgement."""
        return self.waiter.on(self.producer.append(place, records))

    def reader(self) -> MemoryReader:
        """A reader."""
        return self.world.cluster.reader()

    def make(self) -> int:
        """It is there; how wide it is."""
        return PARTITIONS


def make_topics(world: World) -> None:
    """What the fund's group has of its own."""
    for topic in OWN:
        world.cluster.admin().create(TopicState(topic, PARTITIONS, 1))


async def fund(world: World, database: Database, chance: random.Random, consumer: FarConsumer, waiter: Waiter) -> None:
    """Pay what is asked for; some tries fail."""
    producer: Any = world.cluster.producer()
    loop = asyncio.get_running_loop()

    def work() -> None:
        dead = DeadLetters(
            group=FUND,
            append=lambda place, records: waiter.on(producer.append(place, records)),
            partitions=lambda topic: PARTITIONS,
        )
        pipeline = Pipeline(
            opener=partial(open_record, catalogue=CATALOGUE, codec=CODEC),
            seen=database,
            policy=Policy(retry=RetryPolicy(attempts=2)),
            dead_letters=dead,
            clock=world.clock,
            chance=chance.random,
        )
        store = ParkedStore(FUND, [REQUESTS], FarRows(producer, waiter, world))
        subscription: Subscription[Any] = Subscription(consumer, pipeline, store, group=FUND, monotonic=loop.time)
        for delivery in subscription:
            with delivery:
                if chance.random() < 0.1:
                    raise Unreachable("The fund's database is away.")
                waiter.on(asyncio.sleep(chance.choice((0.0, 0.001, 0.5))))
                database.pay(delivery.message)
                waiter.on(asyncio.sleep(0.0))

    await waiter.run(work)


async def relay(world: World, database: Database, chance: random.Random) -> None:
    """Publish what the fund has decided, in order, until acknowledged."""
    publisher = Publisher(
        world.cluster.producer(), CODEC, CATALOGUE, agency="social-fund", clock=world.clock, deadline_s=5.0
    )
    while True:
        await asyncio.sleep(chance.choice((0.05, 0.5)))
        for said in [said for said in database.outbox if said.id not in database.sent]:
            try:
                await publisher.publish(said.event, case=said.case, id=said.id)
            except (Unreachable, OutcomeUnknown):
                break
            database.sent.add(said.id)

"""One simulated history: a seed in, what went wrong out.

Called by `test_simulation` and by ``python -m tests.simulation`` for thousands of seeds. The seed decides everything:
the order in which ready callbacks run, latencies, lost requests and answers, which process dies at which await, which
one is paused and wakes up after another has taken over, when days go by. The trap it avoids: a property that holds
because nothing it looks at ever happens (`met` counts what did).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from agents import compile as compiler
from agents.case_log import MemoryCaseLog
from agents.decide import Decider
from agents.intake import Intake
from agents.runner import Runner
from agents.worker import PROCESSES
from bus.errors import Fenced, Unreachable
from bus.message import Outgoing, Partition
from bus.testing import ManualClock
from bus.transport.memory import MemoryCluster
from tests.agents import births
from tests.agents.crashes import LARGEST_SKEW_MS
from tests.agents.faults import Faults
from tests.agents.world import CATALOGUE, GROUP, PARKED, World
from tests.simulation import verdict
from tests.simulation.blocking import FarConsumer, Waiter
from tests.simulation.fund import FUND, REQUESTS, Database, fund, make_topics, relay
from tests.simulation.loop import Actor, SimulatedLoop
from tests.simulation.network import FarCaseLog, FarProducer, LoopClock, Weather
from tests.simulation.operators import Operators
from tests.simulation.processes import Journal, Member, offices, worker

GRAPH = compiler.compile_file(PROCESSES / "birth.yaml", CATALOGUE)
BIRTHS = 3
SESSION_S = 6.0  # after this silence a member loses its place
STORM_S = 60.0  # so long things go wrong; then the network heals and nobody dies any more
CALM_S = 60.0  # within it all must have come to its end ("unseen" in research/trust.md 1.3)
AFTERMATH_S = 3.0  # so long those that wake up last may still do harm

Life = Callable[[Actor], Coroutine[Any, Any, None]]


@dataclass
class FarCluster(MemoryCluster):
    """The cluster as processes see it: behind the network."""

    weather: Weather = field(kw_only=True)
    made_of: type[FarProducer] = field(kw_only=True)
    skew: dict[str, timedelta] = field(default_factory=dict)  # by topic: how far its broker's clock is off

    def producer(self) -> FarProducer:
        """A producer behind the network."""
        return self.made_of(self, self.weather)

    def store(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        """Append, stamped by the clock of the topic's broker."""
        right = self.clock
        self.clock = ManualClock(right.now() + self.skew.get(partition.topic, timedelta()))
        try:
            return super().store(partition, records)
        finally:
            self.clock = right


class SimulatedWorld(World):
    """A world whose network and clock are the simulation's."""

    weather: Weather
    producer: type[FarProducer]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.clock = cast("Any", LoopClock())
        there = self.cluster
        self.cluster: FarCluster = FarCluster(
            self.clock, topics=there.topics, logs=there.logs, weather=self.weather, made_of=self.producer
        )
        for topic in sorted(GRAPH.listens):
            off = self.weather.chance.randint(-LARGEST_SKEW_MS, LARGEST_SKEW_MS)
            self.cluster.skew[topic] = timedelta(milliseconds=off)


@dataclass
class Outcome:
    """What a history came to.

    Args:
        wrong: anomalies, in words. met: how often what happened. trace: equal for equal runs.
    """

    wrong: list[str]
    met: Counter[str]
    trace: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the processes are made of; a control puts a broken part here."""

    runner: type[Runner] = Runner
    case_log: type[MemoryCaseLog] = FarCaseLog
    decider: type[Decider] = Decider
    intake: type[Intake] = Intake
    database: type[Database] = Database
    consumer: type[FarConsumer] = FarConsumer
    producer: type[FarProducer] = FarProducer


WHOLE = Parts()


def live(seed: int, parts: Parts = WHOLE) -> Outcome:
    """Live the history of a seed. Call it with the garbage collector off: see `tests.simulation.__main__`.

    Args:
        seed: everything follows from it.
        parts: of the processes.
    """
    chance = random.Random(seed)
    loop = SimulatedLoop(chance)
    asyncio.set_event_loop(loop)
    history = History(loop, chance, parts)
    try:
        wrong = loop.run_until_complete(history.run())
    except RuntimeError as error:  # stuck
        wrong = [str(error)]
    finally:
        history.end()
        asyncio.set_event_loop(None)
        loop.close()
    return Outcome(wrong + loop.faults, history.met, loop.trace)


class History:
    """The course of one run; see `live`."""

    def __init__(self, loop: SimulatedLoop, chance: random.Random, parts: Parts) -> None:
        self.met: Counter[str] = Counter()
        self._loop = loop
        self._chance = chance
        self._weather = Weather(chance)
        self._parts = parts
        log = type("Log", (parts.case_log,), {"weather": self._weather})
        country = type("Country", (SimulatedWorld,), {"weather": self._weather, "producer": parts.producer})
        faults = Faults(decider=parts.decider)
        self.world: World = country(
            GRAPH, runner=faults.runner(parts.runner), case_log=log, intake=faults.intake(parts.intake)
        )
        make_topics(self.world)
        self.cases = [f"birth-{number}" for number in range(BIRTHS)]
        self.journal = Journal([(births.notify, case) for case in self.cases])
        self.database = parts.database()
        self.operators = Operators(self.world, faults, self.database, cases=self.cases, chance=chance, met=self.met)
        self._processes: list[Actor] = []
        self._begun = 0
        self._members: list[Member] = []
        self._storm = True
        loop.on_death = self._died

    async def run(self) -> list[str]:
        """Storm, then calm, then what is wrong."""
        world, chance = self.world, self._chance
        self._begin("offices", lambda actor: offices(world, self.journal, chance))
        self._begin("relay", lambda actor: relay(world, self.database, chance))
        self._begin("fund", self._fund)
        for number in range(chance.choice((1, 2, 2))):
            self._begin(f"worker-{number}", self._worker)
        while self._loop.time() < STORM_S and not self._over():
            await asyncio.sleep(0.5)
            self._trouble()
            self.operators.meddle()
        self._storm = False
        self._weather.heal()
        for actor in self._processes:
            actor.dies_at = actor.pauses_at = None
            if actor.paused:
                self._loop.resume(actor)
        begun = self._loop.time()
        while self._loop.time() - begun < (AFTERMATH_S if self._over() else CALM_S):
            await asyncio.sleep(0.5)
            self._put_out_the_silent()
            self.operators.clear_up()
        self.met["turns"] = self._loop.turns
        return verdict.anomalies(world, self.cases, self.journal, self.database)

    def _over(self) -> bool:
        told = not self.journal.todo and len(self.database.sent) == len(self.cases)  # quick to see
        return told and verdict.closed(self.world, self.cases)

    # -- processes --------------------------------------------------------------------------------------------------

    def _worker(self, actor: Actor) -> Coroutine[Any, Any, None]:
        member = self._joins([*sorted(GRAPH.listens), PARKED], GROUP)
        return worker(self.world, member, self._chance)

    def _fund(self, actor: Actor) -> Coroutine[Any, Any, None]:
        member = self._joins([REQUESTS], FUND)
        waiter = actor.waiter = Waiter()
        consumer = self._parts.consumer(member.consumer, self._weather, waiter, member.beat)
        return fund(self.world, self.database, self._chance, consumer, waiter)

    def _joins(self, topics: list[str], group: str) -> Member:
        member = Member(self.world, topics, group)
        self._members.append(member)
        return member

    def _begin(self, name: str, life: Life) -> None:
        """Start a process; in a storm it may be its fate to stop for a while, or to die."""
        self._begun += 1
        actor = Actor(name, self._begun)
        if self._storm and self._chance.random() < 0.7:
            actor.dies_at = self._soon()
        if self._storm and self._chance.random() < 0.7:
            actor.pauses_at, actor.wakes = self._soon(), self._chance.choice((0.0, 0.05, 0.3))
        self._processes.append(actor)
        self._loop.start(actor, self._supervised(actor, life))

    def _soon(self) -> int:
        return int(self._chance.expovariate(1 / 150)) + 1

    async def _supervised(self, actor: Actor, life: Life) -> None:
        """A process and, once it has ended by an error, its next one."""
        actor.life = life
        try:
            await life(actor)
        except (Fenced, Unreachable, TimeoutError) as error:  # a unit that was paused runs into its own time limit
            self.met[type(error).__name__] += 1
            self._gone(actor)
        except Exception as error:  # noqa: BLE001  # whatever else ends a process is what is looked for
            self._loop.faults.append(f"{actor.name} ended: {type(error).__name__}: {error}")

    def _died(self, actor: Actor) -> None:
        self.met["deaths"] += 1
        self._gone(actor)

    def _gone(self, actor: Actor) -> None:
        """Let the supervisor start a new process after a pause."""
        self._loop.kill(actor)
        self._processes.remove(actor)
        pause = self._chance.choice((0.1, 0.5, 2.0))
        self._loop.call_later(pause, self._begin, actor.name, actor.life, context=Context())

    def end(self) -> None:
        """Whatever still runs is dead now, so that its unwinding touches nothing."""
        for actor in self._processes:
            self._loop.kill(actor)

    # -- trouble ----------------------------------------------------------------------------------------------------

    def _trouble(self) -> None:
        chance = self._chance
        for actor in self._processes:
            if actor.paused and chance.random() < actor.wakes:
                self.met["pauses"] += 1
                self._loop.resume(actor)
        self._put_out_the_silent()
        if chance.random() < 0.01:
            self.met["days"] += 4
            cast("LoopClock", self.world.clock).jumped += timedelta(days=4)

    def _put_out_the_silent(self) -> None:
        """What the group's coordinator does with members it has not heard of for a session."""
        for member in self._members:
            if self._loop.time() - member.heard > SESSION_S and member.consumer in member.group.members:
                self.met["put out"] += 1
                member.consumer.evict()

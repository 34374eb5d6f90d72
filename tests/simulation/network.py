"""The network between simulated processes and the cluster in memory: latency, lost requests, lost answers.

Used by `tests.simulation.processes`. Every call takes simulated time before and after it has its effect, so a process
can die, or be paused, on either side of it. The trap it avoids: an effect that happens in the same turn as its answer,
which no crash could come between.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agents.case_log import MemoryCaseLog, Row
from bus.errors import OutcomeUnknown, Unreachable
from bus.message import Outgoing, Partition
from bus.testing import START
from bus.transport.memory import MemoryCluster, MemoryProducer
from tests.simulation.loop import ACTOR


@dataclass
class Weather:
    """How the network is, until the history heals it.

    Args:
        chance: the seed's.
        lost_requests, lost_answers: probabilities of one call.
        freezes, deaths: probabilities that the caller is stopped, or dies, while a message of it is on its way.
    """

    chance: random.Random
    lost_requests: float = 0.02
    lost_answers: float = 0.03
    freezes: float = 0.02
    deaths: float = 0.01

    async def travel(self, *, risk: float = 1.0) -> None:
        """One way: mostly a millisecond, sometimes much longer.

        Args:
            risk: how much likelier than elsewhere it is that the caller is stopped here.
        """
        actor = ACTOR.get()
        if actor is not None and self.lost(self.freezes * risk):
            actor.pauses_at = actor.turns
        elif actor is not None and self.lost(self.deaths):
            actor.dies_at = actor.turns
        await asyncio.sleep(self.chance.choice((0.0, 0.001, 0.001, 0.005, 0.02, 0.3)))

    async def rest(self, seconds: float) -> None:
        """Wait where there is nothing to do."""
        await asyncio.sleep(seconds)

    def lost(self, probability: float) -> bool:
        """Whether this message is lost."""
        return self.chance.random() < probability

    def heal(self) -> None:
        """Nothing is lost and nobody stopped from now on."""
        self.lost_requests = self.lost_answers = self.freezes = self.deaths = 0.0


class LoopClock:
    """Simulated wall time: the loop's seconds and the days that were jumped over."""

    def __init__(self) -> None:
        self.jumped = timedelta()

    def now(self) -> datetime:
        """The time, aware, UTC."""
        return START + self.jumped + timedelta(seconds=asyncio.get_running_loop().time())


class FarProducer(MemoryProducer):
    """A producer behind the network."""

    def __init__(self, cluster: MemoryCluster, weather: Weather) -> None:
        super().__init__(cluster)
        self._weather = weather

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        """Append after one way, answer after another."""
        await self._weather.travel()
        if self._weather.lost(self._weather.lost_requests):
            raise Unreachable("The request is made to get lost.", remedy="Try again.")
        first = await super().append(partition, records)
        await self._weather.travel()
        if self._weather.lost(self._weather.lost_answers):
            raise OutcomeUnknown("The answer is made to get lost.", event_id="")
        return first


class FarCaseLog(MemoryCaseLog):
    """A case log behind the network: what was on its way when its writer was overtaken is refused on arrival."""

    weather: Weather

    async def claim(self, numbers: Sequence[int], owner: str) -> None:
        """Claim after one way."""
        await self.weather.travel()
        await super().claim(numbers, owner)
        await self.weather.travel()

    async def append(self, batches: Mapping[int, Sequence[Row]]) -> None:
        """Append after one way, answer after another."""
        await self.weather.travel(risk=10.0)  # here a fence is needed
        await super().append(batches)
        await self.weather.travel()

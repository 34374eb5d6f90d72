"""Runs blocking code of the SDK inside the simulation: wherever it would wait, the loop's turn comes.

Used by `tests.simulation.fund`. The code runs in a greenlet; `Waiter.on` hands an awaitable to the loop and comes back
with its result. A killed process is never switched to again, so its ``finally`` blocks have no effect on the world. The
trap it avoids: threads, whose order no seed decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from greenlet import getcurrent, greenlet

from bus.message import Partition, Record
from bus.transport.memory import MemoryConsumer
from tests.simulation.network import Weather

T = TypeVar("T")


class Killed(BaseException):
    """The process is dead; whatever its unwinding tries has no effect."""


class Waiter:
    """Lets blocking code wait for the loop."""

    def __init__(self) -> None:
        self._dead = False
        self._turn: greenlet | None = None

    def on(self, work: Awaitable[T]) -> T:
        """The result of an awaitable; raises what it raises, and `Killed` once the process is dead."""
        if self._dead:
            if hasattr(work, "close"):
                work.close()
            raise Killed
        result: T = getcurrent().parent.switch(work)
        return result

    async def run(self, code: Callable[[], None]) -> None:
        """Run blocking code to its end."""
        turn = self._turn = greenlet(code)
        wanted = turn.switch()
        while not turn.dead:
            try:
                result = await wanted
            except Exception as error:  # noqa: BLE001  # it belongs to the code that waits
                wanted = turn.throw(error)
            else:
                wanted = turn.switch(result)

    def kill(self) -> None:
        """End the process where it waits. Left to the garbage collector, a greenlet unwinds at any moment."""
        self._dead = True
        if self._turn is not None and not self._turn.dead:
            with suppress(Killed):
                self._turn.throw(Killed())


class FarConsumer:
    """The `Consumer` port behind the network, for blocking code.

    Args:
        inner: the member in memory. weather, waiter, heard: `heard` is called at each sign of life.
    """

    def __init__(self, inner: MemoryConsumer, weather: Weather, waiter: Waiter, heard: Callable[[], None]) -> None:
        self._inner = inner
        self._weather = weather
        self._waiter = waiter
        self._heard = heard

    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        """Records after one way there and one back; when there are none, a while later."""
        self._waiter.on(self._weather.travel())
        self._heard()
        found = self._inner.poll(max_records=min(max_records, self._weather.chance.choice((1, 3, 8))), timeout=0)
        self._waiter.on(self._weather.travel() if found else self._weather.rest(timeout))
        return found

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Commit after one way, answer after another."""
        self._waiter.on(self._weather.travel())
        self._inner.commit(positions)
        self._waiter.on(self._weather.travel())

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """In memory only."""
        self._inner.seek(positions)

    def position(self, partition: Partition) -> int:
        """In memory only."""
        return self._inner.position(partition)

    def pause(self, partitions: frozenset[Partition]) -> None:
        """In memory only."""
        self._inner.pause(partitions)

    def generation(self) -> int:
        """In memory only."""
        return self._inner.generation()

    def assignment(self) -> frozenset[Partition]:
        """In memory only."""
        return self._inner.assignment()

    def close(self) -> None:
        """Leave the group after one way."""
        self._waiter.on(self._weather.travel())
        self._inner.close()

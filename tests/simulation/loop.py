"""An event loop whose time, order and deaths are chosen by a seed.

Made by `tests.simulation.history`. Time passes only when nothing is ready; among what is ready chance picks, so every
order that awaits allow is met sooner or later. A task belongs to the `Actor` in whose context it was started: a killed
actor's callbacks never run again, not even its ``finally`` (as after kill -9), a paused one's wait (as after SIGSTOP).
The traps it avoids: cancelling a task instead, which lets it tidy up as no killed process can, and real time or real
threads, after which a failing seed does not fail again.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any

_MASK = (1 << 64) - 1
ACTOR: ContextVar[Actor | None] = ContextVar("actor", default=None)


@dataclass(eq=False)
class Actor:
    """A process of the simulation.

    Args:
        name: of its kind. number: how many came before it.
    """

    name: str
    number: int
    alive: bool = True
    paused: bool = False
    held: list[asyncio.Handle] = field(default_factory=list)
    turns: int = 0
    dies_at: int | None = None  # after so many turns
    pauses_at: int | None = None
    wakes: float = 0.0  # how likely it wakes up at each half second; 0: only when all is over
    life: Any = None  # what its supervisor starts again
    waiter: Any = None  # of its blocking code, if it has any


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the module.

    Args:
        chance: the seed's; nothing else decides.
        patience: turns until the run counts as stuck.
    """

    def __init__(self, chance: random.Random, *, patience: int = 200_000) -> None:
        super().__init__()
        self._chance = chance
        self._seconds = 0.0
        self._patience = patience
        self._ready: list[asyncio.Handle] = []
        self._scheduled: list[asyncio.TimerHandle] = []
        self.trace = 0  # checksum over who ran when: equal for equal runs
        self.turns = 0
        self.on_death: Callable[[Actor], None] = lambda actor: None
        self.faults: list[str] = []
        self._graves: list[object] = []  # what the dead were about to do: a coroutine that is let go tidies up

    def time(self) -> float:
        """Simulated seconds since the start."""
        return self._seconds

    def start(self, actor: Actor, work: Any) -> asyncio.Task[Any]:
        """Run a coroutine as this actor."""
        context = copy_context()
        context.run(ACTOR.set, actor)
        return self.create_task(work, name=actor.name, context=context)

    def kill(self, actor: Actor) -> None:
        """Nothing of the actor runs from now on."""
        actor.alive = False
        self._graves.append(actor)
        if actor.waiter is not None:
            actor.waiter.kill()

    def resume(self, actor: Actor) -> None:
        """What the paused actor was about to do goes on."""
        actor.paused = False
        self._ready.extend(actor.held)
        actor.held.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what nobody has caught; a killed actor's tasks are pending for ever, and that is meant."""
        if "exception" in context:
            self.faults.append(f"{context['message']}: {context['exception']!r}")

    def _write_to_self(self) -> None:
        """Nothing sleeps that would have to be woken."""

    def _run_once(self) -> None:
        """One turn: let time pass when nothing is ready, else run one callback that chance picks."""
        scheduled, ready = self._scheduled, self._ready
        if not ready and scheduled:
            self._seconds = max(self._seconds, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._seconds:
            due = heapq.heappop(scheduled)
            due._scheduled = False  # type: ignore[attr-defined]  # asyncio's own mark
            if not due.cancelled():
                ready.append(due)
        self.turns += 1
        if not ready:
            if scheduled or self._stopping:  # type: ignore[attr-defined]  # as asyncio's own loops do
                return
            raise RuntimeError("everything waits and nothing is to come")
        if self.turns > self._patience:
            raise RuntimeError(f"no end after {self._patience:,} turns")
        index = self._chance.randrange(len(ready)) if len(ready) > 1 else 0
        handle = ready[index]
        ready[index] = ready[-1]
        ready.pop()
        if not handle.cancelled():
            self._run(handle)

    def _run(self, handle: asyncio.Handle) -> None:
        actor = handle._context.get(ACTOR)  # type: ignore[attr-defined]  # who started it stands there only
        if actor is None:
            handle._run()
            return
        if not actor.alive:
            self._graves.append(handle)
            return
        if actor.paused:
            actor.held.append(handle)
            return
        actor.turns += 1
        self.trace = (self.trace * 1_000_003 + actor.number * 1_009 + int(self._seconds * 1_000)) & _MASK
        handle._run()
        if actor.turns == actor.pauses_at:
            actor.paused = True
        if actor.dies_at is not None and actor.turns >= actor.dies_at and actor.alive:
            self.kill(actor)
            self.on_death(actor)

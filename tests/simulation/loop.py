"""An event loop whose time, order and deaths are chosen by a seed.

Made by `tests.simulation.history`. Time passes only when nothing is ready; among what is ready chance picks, so every
order that awaits allow is met sooner or later. A task belongs to the `Actor` in whose context it was started: a killed
actor's callbacks never run again, not even its ``finally`` (as after kill -9), a paused one's wait (as after SIGSTOP).
The traps it avoids: cancelling a task instead, which lets it tidy up as no killed process can, and real time or real
threads, after which a failing seed does not fail again. Ten thousand histories are some fifteen million turns, so a
turn is kept cheap: a `Callback` stands for asyncio's handles, and the heap of timers compares in C.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, TypeVarTuple

_MASK = (1 << 64) - 1
_Ts = TypeVarTuple("_Ts")
ACTOR: ContextVar[Actor | None] = ContextVar("actor", default=None)


@dataclass(eq=False, slots=True)
class Actor:
    """A process of the simulation.

    Args:
        name: of its kind. number: how many came before it.
    """

    name: str
    number: int
    alive: bool = True
    paused: bool = False
    held: list[Callback] = field(default_factory=list)
    turns: int = 0
    dies_at: int | None = None  # after so many turns
    pauses_at: int | None = None
    wakes: float = 0.0  # how likely it wakes up at each half second; 0: only when all is over
    life: Any = None  # what its supervisor starts again
    waiter: Any = None  # of its blocking code, if it has any


class Callback(float):
    """What is to be called, and when; as a number it is the moment, so that a heap need not ask us."""

    __slots__ = ("args", "call", "context")
    call: Callable[..., Any] | None
    args: tuple[Any, ...]
    context: Context

    def cancel(self) -> None:
        """Do not call it."""
        self.call = None

    def cancelled(self) -> bool:
        """Whether it will not be called."""
        return self.call is None

    def when(self) -> float:
        """The moment, in seconds of the loop."""
        return float(self)


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the module.

    Args:
        chance: the seed's; nothing else decides.
        patience: turns until the run counts as stuck.
    """

    get_debug = staticmethod(bool)  # False; asked at every future

    def __init__(self, chance: random.Random, *, patience: int = 200_000) -> None:
        super().__init__()
        self._chance = chance
        self._seconds = 0.0
        self._patience = patience
        self._ready: list[Callback] = []
        self._scheduled: list[Callback] = []
        self.trace = 0  # checksum over who ran when: equal for equal runs
        self.turns = 0
        self.on_death: Callable[[Actor], None] = lambda actor: None
        self.faults: list[str] = []
        self._graves: list[object] = []  # what the dead were about to do: a coroutine that is let go tidies up

    def time(self) -> float:
        """Simulated seconds since the start."""
        return self._seconds

    def call_soon(self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None) -> Any:
        """As asyncio's."""
        handle = Callback()
        handle.call, handle.args = callback, args
        handle.context = copy_context() if context is None else context
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> Any:
        """As asyncio's."""
        handle = Callback(self._seconds + delay)
        handle.call, handle.args = callback, args
        handle.context = copy_context() if context is None else context
        heappush(self._scheduled, handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> Any:
        """As asyncio's."""
        handle = Callback(when)
        handle.call, handle.args = callback, args
        handle.context = copy_context() if context is None else context
        heappush(self._scheduled, handle)
        return handle

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
        """One turn after another until the end: each lets time pass when nothing is ready, else runs one callback."""
        scheduled, ready, chosen = self._scheduled, self._ready, self._chance.randrange
        while not self._stopping:  # type: ignore[attr-defined]  # as asyncio's own loops do
            if scheduled and (not ready or scheduled[0] <= self._seconds):
                self._let_time_pass()
            self.turns += 1
            if not ready:
                if scheduled:
                    continue
                raise RuntimeError("everything waits and nothing is to come")
            if self.turns > self._patience:
                raise RuntimeError(f"no end after {self._patience:,} turns")
            if len(ready) == 1:
                handle = ready.pop()
            else:
                index = chosen(len(ready))
                handle, ready[index] = ready[index], ready[-1]
                ready.pop()
            if handle.call is not None:
                self._turn(handle)

    def _let_time_pass(self) -> None:
        """Until something is ready, or due: then all that is due is ready."""
        scheduled = self._scheduled
        if not self._ready:
            self._seconds = max(self._seconds, float(scheduled[0]))
        while scheduled and scheduled[0] <= self._seconds:
            due = heappop(scheduled)
            if due.call is not None:
                self._ready.append(due)

    def _turn(self, handle: Callback) -> None:
        actor = handle.context.get(ACTOR)
        if actor is not None:
            if not actor.alive:
                self._graves.append(handle)
                return
            if actor.paused:
                actor.held.append(handle)
                return
            actor.turns += 1
            self.trace = (self.trace * 1_000_003 + actor.number * 1_009 + int(self._seconds * 1_000)) & _MASK
        try:
            handle.context.run(handle.call, *handle.args)  # type: ignore[arg-type]  # it is not cancelled
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  # as asyncio: the loop goes on
            self.call_exception_handler({"message": f"Exception in callback {handle.call!r}", "exception": error})
        if actor is None:
            return
        if actor.turns == actor.pauses_at:
            actor.paused = True
        if actor.dies_at is not None and actor.turns >= actor.dies_at and actor.alive:
            self.kill(actor)
            self.on_death(actor)

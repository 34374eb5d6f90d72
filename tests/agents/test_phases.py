"""A unit and a takeover end in time, and say what to do when they do not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from agents.health import Pulse
from agents.phases import take_over, take_unit
from bus.errors import BusError, Fenced
from bus.message import Partition

A = Partition("a.x.y.v1", 0)


class Slow:
    """A runner that takes its time."""

    numbers = (0,)

    def __init__(self, *, hangs: bool = False) -> None:
        self.hangs = hangs
        self.ended = False

    async def handle(self, *_: object) -> None:
        if self.hangs:
            raise TimeoutError

    async def assigned(self, *_: object, **__: object) -> dict[Partition, int]:
        if self.hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.ended = True
        return {A: 7}


async def over(runner: Any, pulse: Pulse, *, mine: bool = True, limit_s: float = 0.05) -> dict[Partition, int]:
    async def floor(_: object) -> dict[Partition, int]:
        return {}

    return await take_over(runner, [0], pulse, floor=floor, still_mine=lambda: mine, limit_s=limit_s)


async def test_a_unit_beyond_its_limit_says_so() -> None:
    pulse = Pulse(time.monotonic)
    runner: Any = Slow(hangs=True)
    with pytest.raises(BusError, match=r"One unit of work took longer than 20 s\..*starts again"):
        await take_unit(runner, [], pulse)
    assert pulse.facts().busy == {}


async def test_a_takeover_beyond_its_limit_ends_with_the_remedy() -> None:
    pulse = Pulse(time.monotonic)
    with pytest.raises(BusError, match=r"case store took longer than 0\.05 s.*AGENCYBUS__RECOVERY_S"):
        await over(Slow(hangs=True), pulse)
    assert pulse.facts().owned is None


async def test_a_takeover_has_the_whole_of_its_limit_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    seconds = [loop.time()]
    monkeypatch.setattr(loop, "time", lambda: seconds[0])
    runner = Slow(hangs=True)
    taking = asyncio.create_task(over(runner, Pulse(time.monotonic), limit_s=120))
    for passed, done in ((0.0, False), (119.9, False), (0.2, True)):
        seconds[0] += passed
        for _ in range(10):
            await asyncio.sleep(0)
        assert taking.done() is done
    with pytest.raises(BusError, match="longer than 120 s"):
        await taking


async def test_a_takeover_ends_when_the_group_moves_on_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.phases._LOOK_S", 0.01)
    mine = iter([True, True])
    runner: Any = Slow(hangs=True)

    async def floor(_: object) -> dict[Partition, int]:
        return {}

    with pytest.raises(Fenced):
        await take_over(
            runner, [0], Pulse(time.monotonic), floor=floor, still_mine=lambda: next(mine, False), limit_s=30
        )
    assert runner.ended, "else it would still hold the runner"


async def test_a_takeover_in_time_is_noted_with_its_positions_and_its_length() -> None:
    pulse = Pulse(time.monotonic)
    assert await over(Slow(), pulse) == {A: 7}
    facts = pulse.facts()
    assert (facts.owned, facts.behind) == ((0,), {A: 0})
    assert facts.recovered_in is not None


async def test_a_takeover_the_group_has_overtaken_owns_nothing() -> None:
    pulse = Pulse(time.monotonic)
    await over(Slow(), pulse, mine=False)
    assert pulse.facts().owned is None

"""A unit and a takeover, each with its limit and noted on the pulse: what both hosts do with a runner.

Called by `agents.aiokafka_host` and `agents.faust_host`. The traps they avoid: a handler that never returns holds its
group for ever (F20), a recovery that never ends (F22): each has a deadline, and its end names what to do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from agents.health import TAKEOVER, UNIT, Pulse
from agents.runner import UNIT_S, Floor, Runner
from agents.unit import Fetched
from bus.errors import BusError, Fenced
from bus.message import Partition

_LOOK_S = 0.5


async def take_unit(runner: Runner, fetches: Sequence[Fetched], pulse: Pulse) -> None:
    """Hand one unit to the runner.

    Args:
        runner: takes it.
        fetches: of the unit.
        pulse: where it is noted.

    Raises:
        BusError: it took longer than the runner's limit. And what `Runner.handle` raises.
    """
    with pulse.busy(UNIT):
        try:
            await runner.handle(*fetches)
        except TimeoutError:
            raise BusError(
                f"One unit of work took longer than {UNIT_S:g} s.",
                remedy="Check that the brokers take records for the process's topics; the worker starts again from "
                "its case log.",
            ) from None


async def take_over(
    runner: Runner,
    numbers: Sequence[int],
    pulse: Pulse,
    *,
    floor: Floor,
    still_mine: Callable[[], bool],
    limit_s: float,
) -> dict[Partition, int]:
    """Let the runner take an assignment over; where each input is to be read from.

    Args:
        runner: takes it over.
        numbers: the case partitions.
        pulse: where it is noted.
        floor: see `Runner.assigned`.
        still_mine: as above; asked during the takeover too.
        limit_s: seconds it may take in all.

    Raises:
        BusError: it took longer. Fenced: the group has moved on. And what `Runner.assigned` raises.
    """
    pulse.lost()
    started = time.monotonic()
    with pulse.busy(TAKEOVER):
        try:
            async with asyncio.timeout(limit_s):
                seeks = await _while_mine(runner.assigned(numbers, floor=floor, still_mine=still_mine), still_mine)
        except TimeoutError:
            raise BusError(
                f"Reading the case store took longer than {limit_s:g} s.",
                remedy="See that the brokers answer and that its topic is being compacted, or give it more time with "
                "AGENCYBUS__RECOVERY_S.",
            ) from None
    if still_mine():
        pulse.took_over(seeks, runner.numbers, seconds=time.monotonic() - started)
    return seeks


async def _while_mine(
    taking: Coroutine[Any, Any, dict[Partition, int]], still_mine: Callable[[], bool]
) -> dict[Partition, int]:
    """Cut a takeover short when the group moves on: whoever gives its partitions up waits for it, and would be late."""
    task = asyncio.create_task(taking)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_S))[0]:
            if not still_mine():
                raise Fenced("the assignment changed while it was being taken over.")
    finally:
        task.cancel()
        await asyncio.wait({task})
    return task.result()

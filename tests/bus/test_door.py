"""A door lets one pass at a time, in the order of asking; who gives up is in nobody's way."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.door import Door

FAR = 1e12


@given(seed=st.integers(0, 2**32), given_up=st.booleans())
def test_it_is_passed_one_at_a_time_in_the_order_of_asking(seed: int, given_up: bool) -> None:
    asyncio.run(_passed(random.Random(seed), given_up=given_up))


async def _passed(dice: random.Random, *, given_up: bool) -> None:
    door, inside, passed = Door(), [], []

    async def through(number: int) -> None:
        await door.enter(FAR)
        try:
            inside.append(number)
            assert len(inside) == 1
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            passed.append(number)
        finally:
            inside.clear()
            door.leave()

    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(through(number)))
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
        if given_up and dice.random() < 0.3:
            dice.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert passed == sorted(passed)
    assert given_up or len(passed) == 20
    await door.enter(FAR)  # it is free in the end


async def test_who_waits_too_long_has_not_passed_and_the_next_one_does() -> None:
    door = Door()
    await door.enter(FAR)
    with pytest.raises(TimeoutError):
        await door.enter(asyncio.get_running_loop().time())
    door.leave()
    await door.enter(FAR)

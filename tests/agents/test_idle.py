"""A partition with nothing to decide is asked, not decided: events come one by one, and there are many partitions."""

from __future__ import annotations

from typing import Any

import pytest

from agents.decide import Decider
from agents.runner import Runner
from bus.partitioner import partition_for
from tests.agents import births
from tests.agents.crashes import GRAPH
from tests.agents.world import PARTITIONS, World


@pytest.fixture
def decided() -> list[int]:
    """The partitions of which a decision was made."""
    return []


@pytest.fixture
def world(decided: list[int]) -> World:
    class Counted(Decider):
        def __init__(self, *told: Any, number: int, **more: Any) -> None:
            super().__init__(*told, number=number, **more)
            decided.append(number)

    class Counting(Runner):
        decider = Counted

    return World(GRAPH, runner=Counting)


async def test_only_the_partition_of_an_event_or_a_timer_is_decided(world: World, decided: list[int]) -> None:
    worker = world.worker()
    await worker.step()
    assert decided == []
    births.notify(world, "birth-1")
    await worker.step()
    own = partition_for(b"birth-1", PARTITIONS)
    assert decided == [own]
    world.clock.advance(days=400)  # beyond every deadline of the process
    await worker.step()
    assert set(decided[1:]) == {own}

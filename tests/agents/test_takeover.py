"""A takeover reads a few partitions side by side, and a failure of one is a failure of all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agents import compile as compiler
from agents.case_log import MemoryCaseLog
from agents.worker import PROCESSES
from bus.errors import Fenced
from tests.agents import births
from tests.agents.world import CATALOGUE, PARTITIONS, World


@pytest.fixture
def world() -> World:
    return World(compiler.compile_file(PROCESSES / "birth.yaml", CATALOGUE))


class Watched(MemoryCaseLog):
    """Notes how many partitions are being read at once."""

    reading = most = 0

    async def load(self, number: int) -> list[tuple[int, bytes, bytes | None]]:
        self.reading += 1
        self.most = max(self.most, self.reading)
        for _ in range(10):
            await asyncio.sleep(0)
        self.reading -= 1
        return await super().load(number)


@pytest.mark.parametrize("at_once", [1, 2])
async def test_partitions_are_read_side_by_side_but_only_so_many(
    world: World, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("agents.runner._AT_ONCE", at_once)
    world.case_log = Watched
    worker = world.worker()
    await worker.start()
    assert isinstance(worker.log, Watched)
    assert worker.log.most == at_once
    assert worker.runner.numbers == tuple(range(PARTITIONS))


class Torn(MemoryCaseLog):
    """Another has claimed partition 0; the claim of any other gets no answer."""

    waiting = 0

    async def claim(self, numbers: Sequence[int], owner: str) -> None:
        if 0 in numbers:
            for _ in range(10):
                await asyncio.sleep(0)
            raise Fenced("case partition 0 has another owner.")
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1


async def test_when_one_partition_cannot_be_had_no_other_is_claimed_any_more(world: World) -> None:
    world.case_log = Torn
    worker = world.worker()
    with pytest.raises(Fenced, match="another owner"):
        await worker.start()
    assert isinstance(worker.log, Torn)
    assert worker.log.waiting == 0
    assert worker.runner.numbers == ()


async def test_all_partitions_of_a_worker_share_the_room_for_cases_as_objects(world: World) -> None:
    worker = world.worker()
    for number in range(8):
        births.notify(world, f"birth-{number}")
    await worker.step()
    kept = [shelf.hot for shelf in worker.runner._shelves.values()]
    assert len(kept) == PARTITIONS
    assert all(len(shelf.entries) > 0 for shelf in worker.runner._shelves.values())
    assert all(hot.get(f"birth-{number}") is not None for hot in kept for number in range(8))

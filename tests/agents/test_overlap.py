"""A busy worker does not wait where it could work: outputs are built and sent beside what else it does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from agents import compile as compiler
from agents.decide import Decider
from agents.decision import Decision
from agents.outputs import Outputs, Ready, Said
from agents.worker import PROCESSES
from bus.errors import Fenced
from bus.message import Outgoing, Partition
from bus.transport.memory import MemoryProducer
from tests.agents import births
from tests.agents.crashes import REQUEST
from tests.agents.world import CATALOGUE, World


@pytest.fixture
def world() -> World:
    return World(compiler.compile_file(PROCESSES / "birth.yaml", CATALOGUE))


async def test_outputs_are_built_while_the_decision_behind_them_is_being_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    await worker.start()
    built = asyncio.Event()
    prepare, append = Outputs.prepare, worker.log.append

    async def noted(self: Outputs, emits: Sequence[Said]) -> Ready:
        ready = await prepare(self, emits)
        built.set()
        return ready

    async def once_built(batches: Any) -> None:
        async with asyncio.timeout(5):
            await built.wait()
        assert not world.stored(REQUEST)  # built is not sent
        await append(batches)

    monkeypatch.setattr(Outputs, "prepare", noted)
    monkeypatch.setattr(worker.log, "append", once_built)
    births.notify(world, "birth-1")
    births.register(world, "birth-1")
    await worker.step()
    assert len(world.stored(REQUEST)) == 1


async def test_outputs_that_were_built_for_a_decision_that_was_not_stored_never_leave(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    await worker.start()

    async def overtaken(batches: Any) -> None:
        raise Fenced("another owner")

    monkeypatch.setattr(worker.log, "append", overtaken)
    births.notify(world, "birth-1")
    births.register(world, "birth-1")
    with pytest.raises(Fenced):
        await worker.step()
    await worker.runner.finish()
    assert not world.stored(REQUEST)


async def test_outputs_are_with_the_client_before_the_next_decision_is_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    births.notify(world, "birth-1")
    births.register(world, "birth-1")
    world.clock.advance(seconds=5)
    for number in range(2, 8):
        births.notify(world, f"birth-{number}")
    monkeypatch.setattr("agents.pace.TAKE", 1)
    worker = world.worker()
    await worker.start()
    did: list[str] = []
    append, decide = MemoryProducer.append, Decider.decide

    async def sent(self: MemoryProducer, partition: Partition, records: Sequence[Outgoing]) -> int:
        did.append("sent")
        return await append(self, partition, records)

    def decided(self: Decider) -> Decision:
        decision = decide(self)
        if not decision.empty:
            emits = any(getattr(entry, "pending", ()) for entry in decision.changes.values())
            did.append("output" if emits else "none")
        return decision

    monkeypatch.setattr(MemoryProducer, "append", sent)
    monkeypatch.setattr(Decider, "decide", decided)
    await worker.step()
    after = did[did.index("output") + 1 :]
    assert "none" in after  # there was more to decide
    assert after[0] == "sent"

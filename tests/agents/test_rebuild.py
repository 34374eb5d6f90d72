"""`worker rebuild` on real Kafka: a worker refuses a damaged row and names the command, which brings all cases back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec import structs

from agents import case_log, rebuild
from agents.case import Case
from agents.case_bytes import Damaged
from agents.case_log import Marker, Stored
from agents.kafka_case_log import KafkaCaseLog
from agents.shelf import recover
from bus.errors import Refused
from bus.message import Outgoing, Partition
from bus.partitioner import partition_for
from bus.transport.kafka_producer import KafkaProducer
from bus.transport.kafka_reader import KafkaReader
from tests.agents.harness import PARTITIONS, World, host_of, runner_of, until

pytestmark = pytest.mark.kafka
CASES = [f"c-{n}" for n in range(24)]
ENDED = CASES[:12]


@pytest.fixture
def world(kafka: str, fresh: Callable[[str], str]) -> World:
    world = World(kafka, fresh("t"))
    world.create()
    return world


async def work(world: World, done: Callable[[], bool]) -> None:
    """A worker until `done`, then a clean end."""
    async with runner_of(world) as runner:
        host = host_of("aiokafka", world, runner, lambda _: None)
        task = asyncio.create_task(host.run())
        try:
            await until(lambda: task.done() or done(), what="the work")
        finally:
            host.stop()
            await task


def entries(world: World) -> dict[str, object]:
    """What is stored of each case, but for the places of outputs."""
    reader = KafkaReader(world.bootstrap)
    found: dict[str, object] = {}
    for number in range(PARTITIONS):
        place = Partition(f"{world.group}.cases", number)
        rows = [(r.offset, r.key or b"", r.value) for r in reader.read(place, *reader.bounds([place])[place])]
        shelf = recover(rows)
        for case_id in shelf.entries:
            entry = shelf.get(case_id)
            if isinstance(entry, Marker):
                found[case_id] = ("marker", sorted(entry.applied))
            elif isinstance(entry, Stored):
                found[case_id] = told(entry.case, world.topic("ordered"))
    reader.close()
    return found


def told(case: Case, output: str) -> object:
    trail = [structs.replace(m, partition=-1, offset=-1) if m.topic == output else m for m in case.trail]
    return case.id, case.transitions, dict(case.active), dict(case.values), sorted(case.applied), trail


async def damage(world: World, case: str, value: bytes) -> None:
    producer = KafkaProducer(world.bootstrap)
    await producer.start()
    place = Partition(f"{world.group}.cases", partition_for(case.encode(), PARTITIONS))
    await producer.append(place, [Outgoing(case.encode(), value)])
    await producer.stop()


async def test_damaged_rows_stop_the_worker_and_rebuild_brings_every_case_back(world: World) -> None:
    await world.ask(CASES)
    await world.answer(ENDED)
    await work(world, lambda: len(set(world.archived())) == len(ENDED) and len(set(world.orders())) == len(CASES))
    before, ids = entries(world), world.order_ids()
    assert sum(isinstance(one, tuple) and one[0] == "marker" for one in before.values()) == len(ENDED)
    await damage(world, CASES[20], b"\x00never a case")
    await damage(world, ENDED[3], b"\xffnever a marker")
    with pytest.raises(Damaged):
        await work(world, lambda: False)

    said: list[str] = []
    found = await rebuild.look(world.bootstrap, world.group, world.graph(), say=said.append)
    assert sorted((d.case, d.archived) for d in found.damaged) == sorted([(CASES[20], False), (ENDED[3], True)])
    assert found.gone == ()
    await rebuild.rebuild(world.bootstrap, world.group, world.graph(), say=said.append)
    assert any("read again from the beginning" in line for line in said)
    await work(world, lambda: world.committed() == world.ends())
    assert entries(world) == before
    assert world.order_ids() == ids  # what was sent again is the same events
    assert len(set(world.archived())) == len(ENDED)
    await world.answer(CASES[12:])
    await work(world, lambda: len(set(world.archived())) == len(CASES))


async def test_it_is_refused_while_anyone_works(world: World) -> None:
    async with runner_of(world) as runner:
        owned: list[object] = []
        host = host_of("aiokafka", world, runner, owned.append)
        task = asyncio.create_task(host.run())
        await until(lambda: bool(owned), what="a member")
        for what in (rebuild.look, rebuild.rebuild):
            with pytest.raises(Refused, match=r"has 1 running member.*Stop its workers"):
                await what(world.bootstrap, world.group, world.graph(), say=lambda _: None)
        host.stop()
        await task


async def test_a_case_whose_first_event_is_gone_is_named_before_anything_is_written(world: World) -> None:
    await damage(world, "old-1", b"\x00never a case")
    found = await rebuild.look(world.bootstrap, world.group, world.graph(), say=lambda _: None)
    assert found.gone == ("old-1",)


async def test_a_worker_that_was_not_seen_is_fenced_by_the_claim(world: World) -> None:
    from bus.errors import Fenced

    log = KafkaCaseLog(world.bootstrap, world.group)
    await log.start()
    await log.claim(list(range(PARTITIONS)), "hidden")
    await rebuild.rebuild(world.bootstrap, world.group, world.graph(), say=lambda _: None)
    with pytest.raises(Fenced):
        await log.append({0: [(b"x", case_log.pack(Marker("h", (), 1)))]})
    await log.stop()

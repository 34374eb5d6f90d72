"""The runner: decide, fence, send. In memory, with workers that die at any await."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from agents import case_log
from agents import compile as compiler
from agents.case_log import Marker, Stored
from agents.shelf import recover
from agents.worker import PROCESSES
from bus.errors import Fenced
from tests.agents import births
from tests.agents.world import CATALOGUE, GROUP, World, decoded

REQUEST = "portal.request.created.v1"
MISSED = "bus.deadline.missed.v1"


@pytest.fixture
def world() -> World:
    return World(compiler.compile_file(PROCESSES / "birth.yaml", CATALOGUE))


def open_cases(world: World) -> dict[str, Stored | Marker]:
    found: dict[str, Stored | Marker] = {}
    for rows in world.rows.values():
        shelf = recover((n, k, v) for n, (k, v) in enumerate(rows))
        found.update({c: e for c in shelf.entries if (e := shelf.get(c)) is not None})
    return found


async def test_a_birth_goes_from_the_clinic_to_the_benefit(world: World) -> None:
    births.notify(world, "birth-1")
    worker = world.worker()
    await worker.step()
    births.register(world, "birth-1")
    await worker.step()
    await worker.step()
    assert len(world.stored(REQUEST)) == 1
    births.identify(world, "birth-1")
    births.assign(world, "birth-1")
    await worker.step()
    world.clock.advance(seconds=2)
    await worker.step()
    (archived,) = world.stored(f"{GROUP}.archive")
    from agents import case as cases

    case = cases.from_bytes(archived.value or b"")
    assert (case.id, case.outcome) == ("birth-1", "completed")
    assert [mark.offset >= 0 for mark in case.trail] == [True] * len(case.trail)
    assert isinstance(open_cases(world)["birth-1"], Marker)
    assert not world.stored(f"{GROUP}.dead")


async def test_an_event_told_twice_is_applied_once(world: World) -> None:
    worker = world.worker()
    for _ in range(2):
        births.notify(world, "birth-1")
        births.register(world, "birth-1")
    await worker.step()
    await worker.step()
    assert len(world.stored(REQUEST)) == 1
    assert not world.stored(f"{GROUP}.dead")


async def test_an_event_for_a_closed_case_is_a_dead_letter_and_a_repeat_of_an_old_one_is_not(world: World) -> None:
    worker = world.worker()
    births.notify(world, "birth-1", stillborn=True)
    births.register(world, "birth-1", stillbirth=True)
    for _ in range(3):
        await worker.step()
        world.clock.advance(seconds=2)
    births.register(world, "birth-1", stillbirth=True)
    births.identify(world, "birth-1")
    await worker.step()
    (dead,) = world.stored(f"{GROUP}.dead")
    assert dict(dead.headers)["dead_error"] == b"late"
    assert dict(dead.headers)["ce_type"] == b"interior.identity.entered.v1"


async def test_a_record_that_cannot_be_read_is_a_dead_letter_with_its_bytes_and_its_neighbours_go_on(
    world: World,
) -> None:
    births.notify(world, "birth-1")
    world.store("health.birth.notified.v1", "birth-2", b"\x00junk", [("ce_id", b"1")])
    births.notify(world, "birth-3")
    worker = world.worker()
    await worker.step()
    await worker.step()
    (dead,) = world.stored(f"{GROUP}.dead")
    assert dead.value == b"\x00junk"
    assert dict(dead.headers)["dead_stage"] == b"envelope"
    assert {"birth-1", "birth-3"} <= set(open_cases(world))


async def test_a_deadline_fires_when_the_wall_clock_passes_it_and_all_is_read(world: World) -> None:
    births.notify(world, "birth-1")
    worker = world.worker()
    await worker.step()
    assert not world.stored(MISSED)
    world.clock.advance(days=4)
    await worker.step()
    await worker.step()
    (missed,) = world.stored(MISSED)
    assert decoded(missed).step == "registered"


async def test_a_worker_that_was_down_reads_what_came_in_time_before_a_deadline_fires(world: World) -> None:
    births.notify(world, "birth-1")
    worker = world.worker()
    await worker.step()
    world.clock.advance(hours=1)
    births.register(world, "birth-1")
    world.clock.advance(days=10)
    later = world.worker()
    await later.step()
    await later.step()
    missed = [decoded(record).step for record in world.stored(MISSED)]
    assert "registered" not in missed
    assert sorted(missed) == ["assigned", "id_entry"]


async def test_a_former_owner_cannot_write(world: World) -> None:
    births.notify(world, "birth-1")
    old, new = world.worker(), world.worker()
    await old.step()
    await new.step()
    births.register(world, "birth-1")
    with pytest.raises(Fenced):
        await old.step()
    await new.step()
    await new.step()
    assert len(world.events(REQUEST)) == 1


async def test_a_batch_too_large_is_split_and_nothing_is_lost(world: World) -> None:
    for number in range(60):
        births.notify(world, f"birth-{number}")
    worker = world.worker()
    worker.log.batch_bytes = 1_800  # smaller than three cases
    await worker.step()
    assert len(open_cases(world)) == 60
    for number, rows in world.rows.items():
        assert sum(1 for key, _ in rows if key == case_log.POSITIONS) > 2, number


async def kill_at(worker_step: object, ticks: int) -> bool:
    """Run a step and kill it after so many turns of the loop; True when it had ended by itself."""
    assert asyncio.iscoroutine(worker_step)
    before = asyncio.all_tasks()
    task = asyncio.create_task(worker_step)
    for _ in range(ticks):
        await asyncio.sleep(0)
        if task.done():
            break
    if task.done():
        task.result()
        return True
    for dying in asyncio.all_tasks() - before:
        dying.cancel()
        with suppress(asyncio.CancelledError):
            await dying
    return False


@pytest.mark.parametrize("seed", range(40))
async def test_wherever_a_worker_dies_every_case_ends_and_each_output_is_one_event(seed: int) -> None:
    chance = random.Random(seed)
    world = World(compiler.compile_file(PROCESSES / "birth.yaml", CATALOGUE))
    ids = [f"birth-{n}" for n in range(6)]
    todo: list[tuple[Callable[[World, str], None], str]] = [(births.notify, c) for c in ids]
    later: dict[Callable[[World, str], None], Callable[[World, str], None]]
    later = {births.notify: births.register, births.register: births.identify, births.identify: births.assign}
    worker = world.worker()
    for _ in range(400):
        if todo and chance.random() < 0.5:
            tell, case = todo.pop(chance.randrange(len(todo)))
            for _ in range(chance.choice((1, 1, 2))):
                tell(world, case)
            if tell in later:
                todo.append((later[tell], case))
        world.clock.advance(milliseconds=chance.randrange(400))
        if not await kill_at(worker.step(most=3, chance=chance), chance.choice((1, 3, 5, 8, 13, 10_000))):
            worker = world.worker()
    for _ in range(4):
        world.clock.advance(seconds=2)
        await worker.step()
    assert not todo
    assert set(world.events(REQUEST)) == set(world.events(REQUEST))
    assert len(world.events(REQUEST)) == len(ids)
    cases = open_cases(world)
    assert all(isinstance(cases[c], Marker) for c in ids), cases
    assert not world.stored(f"{GROUP}.dead")
    for topic in (REQUEST, f"{GROUP}.archive"):
        assert len({record.key for record in world.stored(topic)}) == len(ids)


async def test_an_event_stamped_just_before_the_one_that_opens_its_case_waits_for_it(world: World) -> None:
    worker = world.worker()
    births.register(world, "birth-1")
    await worker.step()
    assert not world.stored(f"{GROUP}.dead")
    births.notify(world, "birth-1")
    world.clock.advance(milliseconds=500)
    await worker.step()
    assert not world.stored(f"{GROUP}.dead")
    assert isinstance(open_cases(world)["birth-1"], Stored)


async def test_an_event_of_a_case_nobody_opened_is_a_dead_letter_once_its_opening_cannot_come_any_more(
    world: World,
) -> None:
    worker = world.worker()
    births.register(world, "birth-1")
    world.clock.advance(milliseconds=1_001)
    await worker.step()
    (dead,) = world.stored(f"{GROUP}.dead")
    assert dict(dead.headers)["dead_error"] == b"unopened"

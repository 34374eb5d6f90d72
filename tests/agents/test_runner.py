"""The runner: decide, fence, send. In memory, with workers that die at any await."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from msgspec.json import decode

from agents import case_log
from agents import compile as compiler
from agents.case_log import Marker, Stored
from agents.decision import Decision
from agents.machine import Emit
from agents.outputs import Outputs
from agents.worker import PROCESSES
from bus.errors import Fenced, Refused, Unreachable
from bus.message import Partition
from bus.partitioner import partition_for
from schemas.envelope import to_us
from tests.agents import births
from tests.agents.crashes import MISSED, REQUEST, anomalies, open_cases
from tests.agents.world import CATALOGUE, GROUP, PARTITIONS, World, decoded


@pytest.fixture
def world() -> World:
    return World(compiler.compile_file(PROCESSES / "birth.yaml", CATALOGUE))


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
    from agents import case_bytes

    case = case_bytes.from_bytes(archived.value or b"")
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


async def test_where_an_output_stands_is_noted_also_when_what_followed_at_once_was_too_large(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = partition_for(b"birth-1", PARTITIONS)
    names = [f"birth-{number}" for number in range(1, 40) if partition_for(b"birth-%d" % number, PARTITIONS) == home]
    for name in names[:6]:
        births.notify(world, name)
    worker = world.worker()
    await worker.step()
    births.register(world, "birth-1")
    world.clock.advance(seconds=1)
    births.identify(world, "birth-1")
    for name in names[1:6]:
        births.register(world, name)
    runner, decide = worker.runner, worker.runner._decide
    runner._limit = 1  # its request is under way while what follows is decided

    def decided() -> dict[int, Decision]:
        found = decide()
        worker.log.batch_bytes = 2_500 if runner._sent.get(home) else 900_000  # the first is smaller than six cases
        return found

    monkeypatch.setattr(runner, "_decide", decided)
    await worker.step()
    await worker.step()
    entry = open_cases(world)["birth-1"]
    assert isinstance(entry, Stored)
    assert [(mark.topic == REQUEST, mark.offset >= 0) for mark in entry.case.trail] == [
        (False, True),
        (False, True),
        (True, True),
        (False, True),
    ]


async def test_deadlines_that_fall_due_all_at_once_are_split_over_batches_too(world: World) -> None:
    for number in range(60):
        births.notify(world, f"birth-{number}")
    worker = world.worker()
    await worker.step()
    worker.log.batch_bytes = 3_000  # smaller than three cases
    world.clock.advance(days=4)
    await worker.step()
    await worker.step()
    assert len(world.events(MISSED)) == 60


async def test_an_event_after_many_deadlines_waits_until_they_have_fired(world: World) -> None:
    for number in range(60):
        births.notify(world, f"birth-{number}")
    worker = world.worker()
    await worker.step()
    worker.log.batch_bytes = 3_000
    world.clock.advance(days=4)
    for number in range(60):
        births.register(world, f"birth-{number}")
    await worker.step()
    await worker.step()
    assert len(world.events(MISSED)) == len(world.events(REQUEST)) == 60
    assert not world.stored(f"{GROUP}.dead")
    for entry in open_cases(world).values():
        assert isinstance(entry, Stored)
        assert [mark.topic for mark in entry.case.trail][1] == MISSED  # what was due first came first


@pytest.mark.parametrize("seed", range(60))
async def test_wherever_a_worker_dies_every_case_ends_and_each_output_is_one_event(seed: int) -> None:
    assert await anomalies(seed) == []


@pytest.mark.parametrize("seed", range(30))
async def test_wherever_one_of_two_dies_while_partitions_are_dealt_anew_every_case_ends_the_same(seed: int) -> None:
    assert await anomalies(seed, shared=True) == []


@pytest.mark.parametrize("seed", range(24))
async def test_through_bugs_small_batches_releases_drops_and_redrives_nothing_is_lost_or_taken_twice(seed: int) -> None:
    assert await anomalies(seed, trouble=True, shared=seed % 3 == 0) == []


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


async def test_an_event_stamped_before_its_opening_by_another_broker_s_clock_is_taken_after_it(world: World) -> None:
    world.skew_ms = {"health.birth.notified.v1": 400, "justice.birth.registered.v1": -400}
    births.notify(world, "birth-1")
    births.register(world, "birth-1")
    world.clock.advance(seconds=5)
    await world.worker().step()  # both are there already: after a stop, say
    assert not world.stored(f"{GROUP}.dead")
    assert len(world.stored(REQUEST)) == 1


async def test_an_opening_taken_ahead_of_older_events_fires_no_timer_those_came_before(world: World) -> None:
    births.notify(world, "birth-1")
    worker = world.worker()
    await worker.step()
    case = open_cases(world)["birth-1"]
    assert isinstance(case, Stored)
    due = case.case.active["registered"].due
    assert due is not None
    world.clock.advance(seconds=(due - to_us(world.clock.now())) / 1_000_000 - 0.1)
    births.register(world, "birth-1")
    world.clock.advance(milliseconds=500)
    births.notify(world, "birth-3")  # on the same partition
    await worker.step()
    assert isinstance(open_cases(world)["birth-3"], Stored)
    assert not world.stored(MISSED)


async def test_an_event_of_a_case_nobody_opened_is_a_dead_letter_once_its_opening_cannot_come_any_more(
    world: World,
) -> None:
    worker = world.worker()
    births.register(world, "birth-1")
    world.clock.advance(milliseconds=1_001)
    await worker.step()
    (dead,) = world.stored(f"{GROUP}.dead")
    assert dict(dead.headers)["dead_error"] == b"unopened"


@pytest.mark.parametrize("name", ["!positions", "!barrier", "!process/x", "", "a b"])
async def test_a_case_named_like_the_log_s_own_rows_is_a_dead_letter(world: World, name: str) -> None:
    births.notify(world, name)
    worker = world.worker()
    await worker.step()
    (dead,) = world.stored(f"{GROUP}.dead")
    assert dict(dead.headers)["dead_stage"] == b"envelope"
    assert not open_cases(world)


async def test_an_event_from_an_agency_that_does_not_own_the_topic_is_a_dead_letter(world: World) -> None:
    births.notify(world, "birth-1", source="/agencies/justice")
    worker = world.worker()
    await worker.step()
    (dead,) = world.stored(f"{GROUP}.dead")
    assert dict(dead.headers)["dead_error"] == b"EnvelopeRefused"


async def test_a_unit_that_hangs_ends_the_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.runner.UNIT_S", 0.01)
    worker = world.worker()
    await worker.step()
    world.cluster.faults.held = asyncio.Event()
    world.store("health.birth.notified.v1", "birth-1", b"junk", [])
    with pytest.raises(TimeoutError):
        await worker.step()


async def test_a_timer_whose_output_is_refused_neither_stops_the_worker_nor_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    births.notify(world, "birth-1")
    births.notify(world, "birth-2")
    worker = world.worker()
    await worker.step()
    check = Outputs.check

    def refusing(self: Outputs, emits: Sequence[Emit]) -> None:
        missed = [emit.id for emit in emits if emit.topic == MISSED and decode(emit.data)["step"] == "registered"]
        first.extend(missed[: not first])
        if set(first) & set(missed):
            raise Refused("made to be refused", field="due")
        check(self, emits)

    first: list[str] = []
    monkeypatch.setattr(Outputs, "check", refusing)
    world.clock.advance(days=4)
    await worker.step()
    assert len(world.stored(MISSED)) == 1
    assert "is parked: due (stage timer)" in caplog.text


async def test_a_takeover_that_is_cut_short_confirms_no_outputs_that_nobody_has_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = world.worker(), world.worker()
    await second.start()
    births.notify(world, "birth-1")
    await first.step()
    births.register(world, "birth-1")

    async def never(_emits: object) -> dict[str, tuple[int, int]]:
        unsent: asyncio.Future[dict[str, tuple[int, int]]] = asyncio.get_running_loop().create_future()
        return await unsent

    monkeypatch.setattr(first.runner._outputs, "send", never)  # it dies before what it decides is sent
    while first.runner._sending is None or first.runner._sending.done():
        await first.step()
    world.clock.advance(seconds=2)
    here = partition_for(b"birth-1", PARTITIONS)
    asked = iter([True, True])  # the group moves on when that partition has been taken over, and no other

    async def floor(inputs: Sequence[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(inputs, 0)

    with pytest.raises(Fenced, match="changed while"):
        await second.runner.assigned(
            [here, *(n for n in range(PARTITIONS) if n != here)], floor=floor, still_mine=lambda: next(asked, False)
        )
    await second.runner.handle()  # time passes for timers, too
    third = world.worker()
    await third.step()
    await third.step()
    assert len(world.stored(REQUEST)) == 1


async def test_a_unit_that_failed_confirms_no_event_that_nobody_has_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    births.notify(world, "birth-1")
    worker = world.worker()
    await worker.start()

    async def away(_batches: object) -> None:
        raise Unreachable("the case log does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(worker.log, "append", away)
        with pytest.raises(Unreachable):
            await worker.step()
    assert worker.runner.committable() == {}
    await worker.runner.finish()  # a rebalance that has waited for the unit, before the process has ended
    await worker.runner.released()
    await world.worker().step()
    assert "birth-1" in open_cases(world)


@pytest.mark.parametrize("what", ["handle", "finish", "released", "assigned"])
async def test_what_is_cut_short_while_outputs_are_under_way_confirms_none_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    worker = world.worker()
    births.notify(world, "birth-1")
    await worker.step()
    births.register(world, "birth-1")

    async def never(_emits: object) -> dict[str, tuple[int, int]]:
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(worker.runner._outputs, "send", never)
    while worker.runner._sending is None or worker.runner._sending.done():
        await worker.step()
    births.notify(world, "birth-2")
    births.notify(world, "birth-3")

    async def floor(inputs: Sequence[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(inputs, 0)

    again: dict[str, Callable[[], Awaitable[object]]] = {
        "handle": worker.step,
        "finish": worker.runner.finish,
        "released": worker.runner.released,
        "assigned": lambda: worker.runner.assigned(range(PARTITIONS), floor=floor, still_mine=lambda: True),
    }
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await again[what]()
    await worker.runner.finish()  # a rebalance on the way out
    await world.worker().step()
    assert len(world.stored(REQUEST)) == 1


async def test_a_long_backlog_is_taken_in_several_units_each_within_its_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        births.notify(world, f"birth-{number}")
    monkeypatch.setattr("agents.pace.TAKE", 1)
    worker = world.worker()
    await worker.start()
    loop = asyncio.get_running_loop()
    seconds = [loop.time()]
    monkeypatch.setattr(loop, "time", lambda: seconds[0])
    append = worker.log.append

    async def slowly(batches: Any) -> None:
        seconds[0] += 2.0
        await append(batches)

    monkeypatch.setattr(worker.log, "append", slowly)
    while len(open_cases(world)) < 40:
        await worker.step()
    await worker.runner.finish()
    assert not world.stored(f"{GROUP}.dead")

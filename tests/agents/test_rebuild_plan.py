"""A damaged case log is read again from its inputs: every case comes back equal, none opens or is asked for twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from msgspec import Raw, structs

from agents import case_bytes, case_log
from agents.case_bytes import Damaged
from agents.case_log import Marker, Positions, Stored
from agents.machine import Emit
from agents.rebuild_plan import Plan, plan
from agents.runner import MARKER_LIFE_US
from agents.shelf import recover
from bus.errors import BusError
from bus.message import Partition, Record
from schemas.envelope import to_us
from tests.agents import births
from tests.agents.crashes import GRAPH, REQUEST
from tests.agents.world import GROUP, PARTITIONS, World

OPEN, CLOSED = ["o-1", "o-2", "o-3", "o-4"], ["c-1", "c-2", "c-3", "c-4"]


async def carried() -> World:
    """Four births that came to their end and four that wait, their clean worker gone."""
    world = World(GRAPH)
    worker = world.worker()
    for tell in (births.notify, births.register, births.identify, births.assign):
        for case in (*CLOSED, *(OPEN if tell in {births.notify, births.register} else [])):
            tell(world, case)
        world.clock.advance(milliseconds=3_000)
        for _ in range(4):
            await worker.step()
            world.clock.advance(milliseconds=1_100)
    await worker.runner.finish()
    return world


def entries(world: World) -> dict[str, Any]:
    """What is stored of each case, but for the places of outputs, which stand elsewhere when they are sent again."""
    found: dict[str, Any] = {}
    for number in range(PARTITIONS):
        shelf = recover((n, k, v) for n, (k, v) in enumerate(world.rows[number]))
        for case_id in shelf.entries:
            entry = shelf.get(case_id)
            if isinstance(entry, Marker):
                found[case_id] = ("marker", entry.graph, sorted(entry.applied))
            elif isinstance(entry, Stored):
                trail = [
                    structs.replace(m, partition=-1, offset=-1) if m.topic == REQUEST else m for m in entry.case.trail
                ]
                found[case_id] = case_bytes.to_bytes(structs.replace(entry.case, trail=trail))
    return found


def asked(world: World) -> Counter[str]:
    """How many different requests each case has made."""
    ids = {(r.key or b"", dict(r.headers)["ce_id"]) for r in world.stored(REQUEST)}
    return Counter(key.decode() for key, _ in ids)


def plan_of(world: World, number: int, *, limit: int = 900_000, later_us: int = 0) -> Plan:
    archive = world.cluster.logs[Partition(f"{GROUP}.archive", number)]
    first = dict.fromkeys([*GRAPH.listens, f"{GROUP}.parked"], 0)
    rows = [(n, k, v) for n, (k, v) in enumerate(world.rows[number])]
    now = to_us(world.clock.now()) + later_us
    return plan(
        number, rows, archive, first=first, listens=GRAPH.listens, now=now, marker_life=MARKER_LIFE_US, limit=limit
    )


async def work(world: World) -> None:
    worker = world.worker()
    for _ in range(8):
        await worker.step()
        world.clock.advance(milliseconds=1_100)
    await worker.runner.finish()


def home(world: World, case: str) -> int:
    """The partition a case stands on."""
    return next(n for n, rows in world.rows.items() if any(key == case.encode() for key, _ in rows))


def apply(world: World, *, limit: int = 900_000) -> list[Plan]:
    plans = [plan_of(world, number, limit=limit) for number in range(PARTITIONS)]
    for one in plans:
        for batch in one.batches(limit):
            world.rows[one.number].extend(batch)
    return plans


DAMAGES = {
    "an open case": ("o-1", b"\x00garbage"),
    "an open case, cut off": ("o-2", b"\x01"),
    "a marker": ("c-1", b"\xffgarbage"),
    "the positions": (None, b"{}"),
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_whatever_row_is_damaged_every_case_comes_back_equal_and_asks_for_nothing_new(what: str) -> None:
    case, bytes_ = DAMAGES[what]
    world = await carried()
    before, requests = entries(world), asked(world)
    assert len(before) == 8
    key = case_log.POSITIONS if case is None else case.encode()
    number = 0 if case is None else home(world, case)
    world.rows[number].append((key, bytes_))
    with pytest.raises(Damaged):
        await work(world)
    plans = apply(world)
    assert [d.key for one in plans for d in one.damaged] == [key]
    await work(world)
    assert entries(world) == before
    assert asked(world) == requests


async def test_rows_that_are_gone_come_back_too_and_archived_cases_get_their_markers() -> None:
    world = await carried()
    before, requests = entries(world), asked(world)
    for number in range(PARTITIONS):
        world.rows[number].clear()
    plans = apply(world)
    assert sum(len(one.markers) for one in plans) == len(CLOSED)
    await work(world)
    assert entries(world) == before
    assert asked(world) == requests


async def test_without_its_marker_a_closed_case_would_open_twice() -> None:
    world = await carried()
    for number in range(PARTITIONS):
        world.rows[number].clear()
    for one in [plan_of(world, number) for number in range(PARTITIONS)]:
        for batch in replace(one, markers=()).batches(900_000):
            world.rows[one.number].extend(batch)
    archived = len(world.stored(f"{GROUP}.archive"))
    await work(world)
    assert len(world.stored(f"{GROUP}.archive")) > archived  # the control: closed once more


async def test_a_stop_between_any_two_batches_leaves_a_log_that_is_right_or_refused() -> None:
    pristine = await carried()
    before, requests = entries(pristine), asked(pristine)
    number = home(pristine, "o-1")
    batches = 0
    for stop in range(20):
        world = await carried()
        for case in ("o-1", *(c for c in CLOSED if home(world, c) == number)):
            world.rows[number].append((case.encode(), b"\x00garbage"))
        told = plan_of(world, number, limit=10_400).batches(400)
        batches = len(told)
        if stop > batches:
            break
        for batch in told[:stop]:
            world.rows[number].extend(batch)
        try:
            await work(world)
        except Damaged:
            assert stop < batches
            apply(world)
            await work(world)
        assert entries(world) == before
        assert asked(world) == requests
    assert batches > 2


@pytest.mark.parametrize("positions_too", [False, True])
async def test_outputs_that_nobody_had_sent_are_sent_by_the_next_owner(positions_too: bool) -> None:
    world = await carried()
    number = home(world, "o-1")
    rows = world.rows[number]
    shelf = recover((n, k, v) for n, (k, v) in enumerate(rows))
    entry = shelf.get("o-1")
    assert isinstance(entry, Stored)
    output = Emit("id-1", REQUEST, "ask", "portal", Raw(b"{}"), 1, None)
    rows.append((b"o-1", case_log.pack(structs.replace(entry, pending=(output,)))))
    end = case_log.pack_positions(Positions(shelf.positions, 1))
    rows.append((case_log.POSITIONS, b"{}" if positions_too else end))
    one = plan_of(world, number)
    assert [key for key, _ in one.again] == [b"o-1", case_log.POSITIONS]
    assert case_log.unpack_positions(one.again[-1][1] or b"").rows == 1
    apply(world)
    after = recover((n, k, v) for n, (k, v) in enumerate(rows))
    assert after.unconfirmed == ["o-1"]


async def test_a_newer_format_is_no_damage() -> None:
    world = await carried()
    number = home(world, "o-1")
    world.rows[number].append((b"o-1", b"\x04\x00" + bytes(20)))
    with pytest.raises(BusError, match=r"rows of format 4.*Run the newer version"):
        plan_of(world, number)


async def test_commands_keep_their_place_and_events_begin_at_the_first() -> None:
    world = await carried()
    rows = world.rows[0]
    at = case_log.unpack_positions(next(v for k, v in reversed(rows) if k == case_log.POSITIONS) or b"")
    moved = replace(at, inputs={**at.inputs, f"{GROUP}.parked": 7})
    rows.append((case_log.POSITIONS, case_log.pack_positions(moved)))
    told = plan_of(world, 0).positions
    assert told == {**dict.fromkeys(GRAPH.listens, 0), f"{GROUP}.parked": 7}


async def test_a_marker_older_than_any_stored_event_is_not_made_again_and_an_unreadable_one_is_counted() -> None:
    world = await carried()
    for number in range(PARTITIONS):
        world.rows[number].clear()
    assert all(not plan_of(world, n, later_us=MARKER_LIFE_US).markers for n in range(PARTITIONS))
    place = Partition(f"{GROUP}.archive", 0)
    log = world.cluster.logs[place]
    log.append(Record(place.topic, 0, len(log), 10**12, b"x-1", b"{", ()))
    found = plan_of(world, 0, later_us=-to_us(world.clock.now()))
    assert found.unreadable == 1


def test_a_key_that_is_no_text_is_damage_too() -> None:
    rows = [(0, b"\xff\xfe", b"\x00")]
    found = plan(0, rows, [], first={}, listens=frozenset(), now=0, marker_life=1, limit=900_000)
    assert [d.case for d in found.damaged] == ["��"]
    assert found.tombstones == ((b"\xff\xfe", None),)

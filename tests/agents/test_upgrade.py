"""A rolling upgrade: workers of version 0.1.0 and of this one take over from each other on one case log."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agents import case as cases
from agents import case_bytes, case_log, shelf
from agents.case_log import Marker, Stored
from bus.errors import BusError
from tests.agents import births, reader_0_1_0
from tests.agents.crashes import GRAPH, MISSED, REQUEST, open_cases
from tests.agents.faults import Faults, parked_rows, tell
from tests.agents.world import GROUP, PARKED, PARTITIONS, Worker, World

RECORDED = Path(__file__).parent / "recorded" / "case_log_0_1_0.json"
Rows = list[tuple[int, bytes, bytes | None]]


async def some_time(world: World, worker: Worker) -> None:
    for _ in range(3):
        world.clock.advance(seconds=2)
        await worker.step()


@pytest.fixture
def old() -> World:
    """A world as a worker of 0.1.0 left it: birth-1 ended, birth-2's request unsent, birth-3 with an early event."""
    found = json.loads(RECORDED.read_text())
    world = World(replace(GRAPH, hash=found["graph"]))
    births.notify(world, "birth-1", stillborn=True)
    births.notify(world, "birth-2")
    births.notify(world, "birth-3")
    world.clock.advance(seconds=1)
    births.register(world, "birth-1", stillbirth=True)
    births.identify(world, "birth-3")
    world.clock.advance(seconds=5)
    births.register(world, "birth-2")
    for number, key, value in found["rows"]:
        row = (bytes.fromhex(key), None if value is None else bytes.fromhex(value))
        world.rows.setdefault(number, []).append(row)
    return world


def rows_of(world: World, number: int) -> Rows:
    return [(offset, key, value) for offset, (key, value) in enumerate(world.rows[number])]


async def test_this_version_goes_on_where_0_1_0_left_off(old: World) -> None:
    worker = old.worker()
    starts = await worker.start()
    assert all(start == len(old.cluster.logs[p]) for p, start in starts.items())
    assert len(old.events(REQUEST)) == 1  # what stood unconfirmed was sent
    births.register(old, "birth-3")
    for case in ("birth-2", "birth-3"):
        births.identify(old, case)
        births.assign(old, case)
    await some_time(old, worker)
    await some_time(old, worker)
    assert {c: type(e) for c, e in open_cases(old).items()} == dict.fromkeys(("birth-1", "birth-2", "birth-3"), Marker)
    ended = [case_bytes.from_bytes(r.value or b"") for r in old.stored(f"{GROUP}.archive")]
    assert {(case.id, case.outcome) for case in ended} == {("birth-2", "completed"), ("birth-3", "completed")}
    assert (len(old.events(REQUEST)), old.stored(MISSED), old.stored(f"{GROUP}.dead")) == (2, [], [])


async def test_an_event_that_0_1_0_has_taken_is_known_here_even_without_positions(old: World) -> None:
    for number, rows in old.rows.items():
        old.rows[number] = [row for row in rows if row[0] != case_log.POSITIONS]
    await some_time(old, old.worker())
    assert len(old.events(REQUEST)) == 1
    assert not old.stored(f"{GROUP}.dead")


async def test_what_this_version_writes_0_1_0_reads_as_it_stands() -> None:
    world = World(GRAPH)
    worker = world.worker()
    births.notify(world, "birth-1", stillborn=True)
    births.notify(world, "birth-2")
    await some_time(world, worker)
    births.register(world, "birth-1", stillbirth=True)
    tell(world, "birth-2")
    await some_time(world, worker)
    births.register(world, "birth-2")
    tell(world, "birth-2", action="a2")
    await worker.step()
    for number in range(PARTITIONS):
        theirs, ours = reader_0_1_0.recover(rows_of(world, number)), shelf.recover(rows_of(world, number))
        assert theirs.entries == ours.entries
        assert theirs.positions == ours.positions
        assert PARKED in theirs.positions  # which it passes over: it asks for its own inputs only
        assert (sorted(theirs.timers), set(theirs.unconfirmed)) == (sorted(ours.timers), set(ours.unconfirmed))
    assert any(b"settled" in (value or b"") for rows in world.rows.values() for _, value in rows)


async def test_0_1_0_refuses_a_partition_where_something_is_parked_instead_of_going_past_it() -> None:
    faults = Faults(events={"r-birth-1"})
    world = World(GRAPH, runner=faults.runner())
    births.notify(world, "birth-1")
    births.register(world, "birth-1")
    worker = world.worker()
    await some_time(world, worker)
    (number,) = [n for n in range(PARTITIONS) if any(key.startswith(b"!parked/") for key, _ in world.rows[n])]
    with pytest.raises(reader_0_1_0.Damaged, match="Run the newer worker that wrote it"):
        reader_0_1_0.recover(rows_of(world, number))
    reader_0_1_0.recover(rows_of(world, 1 - number))
    faults.mend()
    tell(world, "birth-1")
    await some_time(world, worker)
    assert not parked_rows(world)
    assert "birth-1" in reader_0_1_0.recover(rows_of(world, number)).entries


@pytest.mark.parametrize("read", [shelf.recover, reader_0_1_0.recover])
def test_a_case_of_a_later_format_is_refused_with_what_to_do(read: Callable[[Rows], object]) -> None:
    value = case_log.pack(Stored(cases.Case("c", "g", 0)))
    with pytest.raises(BusError, match="Run the newer worker"):
        read([(0, b"c", bytes([case_log.CHAPTERED + 1]) + value[1:])])


def test_a_row_of_ours_that_this_version_does_not_know_is_left_alone() -> None:
    found = shelf.recover([(0, b"!later/x", b"\x09"), (1, b"!later", b"")])
    assert (found.entries, found.parked) == ({}, {})


async def test_a_number_whose_topics_went_to_two_members_is_owned_by_who_has_those_of_events() -> None:
    """Beside a member that does not read commands, range assignment deals these out on their own."""
    world = World(GRAPH)
    births.notify(world, "birth-1")
    tell(world, "birth-1")
    worker = world.worker()
    assigned = {p for p in world.cluster.logs if p.number == 0 and p.topic in GRAPH.listens}
    foreign = {p for p in world.cluster.logs if p.number == 1 and p.topic == PARKED}

    async def floor(inputs: list[object]) -> dict[object, int]:
        return {p: 0 for p in inputs if p in assigned | foreign}

    seeks = await worker.runner.assigned([0, 1], floor=floor, still_mine=lambda: True)  # type: ignore[arg-type]
    assert worker.runner.numbers == (0,)
    assert set(seeks) == assigned
    assert set(worker.runner.committable()) == assigned
    assert set(world.owners) == {0}

"""The history of one case, from the positions kept in it: open, archived, with an output not yet placed, unknown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pydantic_core import from_json

from agents import compile as compiler
from agents import trace
from agents.case import Case, Mark
from agents.trace import Entry, Found
from agents.worker import PROCESSES
from bus.message import Outgoing, Partition, Record
from bus.ports import TopicState
from bus.transport.memory import MemoryReader
from tests.agents import births
from tests.agents.faults import Faults
from tests.agents.world import CATALOGUE, GROUP, PARTITIONS, World

REQUEST = "portal.request.created.v1"
GRAPH = compiler.compile_file(PROCESSES / "birth.yaml", CATALOGUE)


@pytest.fixture
def world() -> World:
    return World(GRAPH)


class Counting(MemoryReader):
    """Counts the records read of each topic."""

    seen: list[tuple[str, int, int]]

    def read(self, partition: Partition, start: int, end: int) -> Iterator[Record]:
        self.seen.append((partition.topic, start, end))
        return super().read(partition, start, end)


def reader_of(world: World) -> Counting:
    """A reader over the cluster, with the case log as the topic it would be."""
    topic = f"{GROUP}.cases"
    world.cluster.admin().delete(topic)
    world.cluster.admin().create(TopicState(topic, PARTITIONS, 1))
    for number, rows in world.rows.items():
        world.cluster.store(Partition(topic, number), [Outgoing(key, value) for key, value in rows])
    reader = Counting(world.cluster)
    reader.seen = []
    return reader


def told(world: World, case: str = "birth-1") -> tuple[list[Found], list[Entry]]:
    reader = reader_of(world)
    found = list(trace.find(reader, world.cluster.topics, case))
    return found, [entry for one in found for entry in trace.entries(reader, one)]


async def test_an_open_case_tells_who_what_when_and_what_it_waited_for(world: World) -> None:
    births.notify(world, "birth-1")
    births.notify(world, "birth-2")
    worker = world.worker()
    await worker.step()
    world.clock.advance(hours=2)
    births.register(world, "birth-1")
    await worker.step()
    await worker.step()
    (found,), entries = told(world)
    assert (found.group, found.case.id, found.case.closed) == (GROUP, "birth-1", False)
    assert [(e.step, e.agency, e.event) for e in entries] == [
        ("notified", "health", "health.birth.notified.v1"),
        ("registered", "justice", "justice.birth.registered.v1"),
        ("ask", "portal", REQUEST),
    ]
    assert [e.at for e in entries] == [f"2026-01-05T{hour}:00:00.000000Z" for hour in ("08", "10", "10")]
    assert [e.id for e in entries[:2]] == ["n-birth-1", "r-birth-1"]
    assert entries[1].title == "Enter the birth in the civil registry"
    assert entries[1].owner == "justice"
    assert entries[1].waited_for == GRAPH.steps["registered"].waits_for
    assert entries[1].replaced == ("clinic certificate of birth",)
    assert entries[2].waited_for == ""


async def test_an_output_whose_place_is_not_known_yet_is_looked_up_by_its_id(world: World) -> None:
    worker = world.worker()
    for case in ("birth-1", "birth-3", "birth-4"):  # one partition
        births.notify(world, case)
        births.register(world, case)
    await worker.step()
    await worker.step()
    (found,), entries = told(world, "birth-3")
    assert found.case.trail[-1].offset == -1
    (stored,) = [r for r in world.stored(REQUEST) if r.key == b"birth-3"]
    assert (entries[-1].partition, entries[-1].offset) == (stored.partition, stored.offset)


async def test_an_output_that_has_not_been_sent_is_told_without_a_place(world: World) -> None:
    worker = world.worker()
    births.notify(world, "birth-1")
    births.register(world, "birth-1")
    await worker.step()
    for number in range(PARTITIONS):
        world.cluster.logs[Partition(REQUEST, number)].clear()
    _, entries = told(world)
    assert (entries[-1].event, entries[-1].agency, entries[-1].offset) == (REQUEST, "portal", None)
    assert len(entries[-1].id) == 32


async def test_an_archived_case_is_told_whole_and_no_topic_is_scanned(world: World) -> None:
    for number in range(20):
        births.notify(world, f"birth-{number}")
    worker = world.worker()
    await worker.step()
    for tell in (births.register, births.identify, births.assign):
        tell(world, "birth-1")
        world.clock.advance(seconds=2)
        await worker.step()
    for _ in range(2):
        world.clock.advance(seconds=2)
        await worker.step()
    reader = reader_of(world)
    (found,) = trace.find(reader, world.cluster.topics, "birth-1")
    reader.seen.clear()
    entries = trace.entries(reader, found)
    assert found.case.outcome == "completed"
    assert [e.step for e in entries] == ["notified", "registered", "ask", "id_entry", "assigned"]
    assert all(e.offset is not None for e in entries)
    assert [end - start for _, start, end in reader.seen] == [1] * 5


def test_an_unknown_case_is_found_nowhere(world: World) -> None:
    assert told(world, "birth-9") == ([], [])


async def test_topics_that_are_no_case_logs_are_not_opened(world: World) -> None:
    births.notify(world, "birth-1")
    await world.worker().step()
    reader = reader_of(world)
    reader.seen.clear()
    list(trace.find(reader, world.cluster.topics, "birth-1"))
    assert {topic for topic, _, _ in reader.seen} == {f"{GROUP}.cases"}


async def test_a_position_that_holds_another_event_is_not_told_as_this_one(world: World) -> None:
    births.notify(world, "birth-1")
    await world.worker().step()
    (found,), _ = told(world)
    mark = found.case.trail[0]
    wrong = Mark(mark.step, mark.topic, mark.partition, mark.offset, mark.at, "another-id", 0)
    lost = Mark(mark.step, mark.topic, mark.partition, 99, mark.at, "", 0)
    case = Case(found.case.id, found.case.graph, found.case.opened, trail=[wrong, lost])
    entries = trace.entries(reader_of(world), replace(found, case=case))
    assert [(e.id, e.offset, e.agency) for e in entries] == [("another-id", None, "health"), ("", None, "health")]


def test_a_process_is_described_by_its_hash_and_what_people_ask() -> None:
    key, value = trace.describe(GRAPH)
    assert key == b"!process/" + GRAPH.hash.encode()
    data = from_json(value or b"")
    assert data["process"] == "birth"
    assert data["steps"]["assigned"]["replaces"] == ["birth certificate copy for the fund", "income statement"]


async def test_a_case_of_a_process_nobody_described_is_told_by_step_names(world: World) -> None:
    births.notify(world, "birth-1")
    await world.worker().step()
    for rows in world.rows.values():
        rows[:] = [row for row in rows if not row[0].startswith(b"!process/")]
    _, (entry,) = told(world)
    assert (entry.step, entry.title, entry.replaced) == ("notified", "", ())


@pytest.mark.parametrize("event", ["n-birth-1", "r-birth-1"])
async def test_a_parked_case_says_since_when_and_why_even_before_it_opened(event: str) -> None:
    faults = Faults(events={event})
    world = World(GRAPH, runner=faults.runner())
    births.notify(world, "birth-1")
    births.notify(world, "birth-2")
    worker = world.worker()
    await worker.step()
    world.clock.advance(hours=2)
    births.register(world, "birth-1")
    await worker.step()
    (found,), entries = told(world)
    assert found.parked is not None
    hour, waiting = (8, 2) if event == "n-birth-1" else (10, 1)
    assert (found.parked.since.hour, found.parked.entries) == (hour, waiting)
    assert (found.parked.stage, found.parked.error) == ("step", "ZeroDivisionError")
    assert len(entries) == 2 - waiting
    (other,), _ = told(world, "birth-2")
    assert other.parked is None

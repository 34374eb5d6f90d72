"""A case of hundreds of events: it costs its length and not the square of it, and nothing of its past is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from agents import case_bytes, case_log, runner, trace
from agents import compile as compiler
from agents import shelf as shelves
from agents.case import CHAPTER
from agents.case_bytes import Damaged
from agents.case_log import Marker, Stored
from agents.hot import Hot
from agents.rebuild_plan import plan
from agents.runner import MARKER_LIFE_US
from agents.worker import PROCESSES
from bus.message import Partition
from bus.partitioner import partition_for
from schemas.envelope import to_us
from schemas.recorded import ActivityRecorded
from tests.agents.test_trace import reader_of
from tests.agents.world import CATALOGUE, GROUP, PARTITIONS, Worker, World

CASE = "long-1"
FOLLOWED = "replay.activity.followed.v1"
HOME = partition_for(CASE.encode(), PARTITIONS)


@pytest.fixture
def world() -> World:
    return World(compiler.compile_file(PROCESSES / "recorded.yaml", CATALOGUE))


def tell(world: World, sequence: int, *, last: bool = False) -> None:
    event = ActivityRecorded(run="r", activity="A", sequence=sequence + 1, last=last)
    world.publish(event, CASE, agency="replay", event_id=f"e-{sequence}")


async def carry(world: World, worker: Worker, numbers: range, *, at_once: int = 7) -> None:
    """Let these events come, a few in each fetch."""
    for first in range(numbers.start, numbers.stop, at_once):
        for sequence in range(first, min(first + at_once, numbers.stop)):
            tell(world, sequence)
        await worker.step()


def chapters(world: World) -> dict[bytes, bytes | None]:
    """The latest rows of chapters."""
    return {key: value for key, value in world.rows[HOME] if key.startswith(case_log.CHAPTER)}


def sizes(world: World) -> list[int]:
    return [len(value) for key, value in world.rows[HOME] if key == CASE.encode() and value is not None]


async def test_its_record_does_not_grow_and_all_it_writes_is_in_proportion(world: World) -> None:
    await carry(world, world.worker(), range(600))
    early, late = sizes(world)[40:60], sizes(world)[-20:]
    assert max(late) < 1.2 * max(early)
    chapters = [value for key, value in world.rows[HOME] if key.startswith(case_log.CHAPTER)]
    assert len(chapters) == len({key for key, _ in world.rows[HOME] if key.startswith(case_log.CHAPTER)})  # once each
    assert len(chapters) * CHAPTER > 1_000


async def test_what_it_took_is_known_after_restarts_and_the_archive_has_all_of_it(world: World) -> None:
    worker = world.worker()
    for start in range(0, 300, 60):
        await carry(world, worker, range(start, start + 60))
        await carry(world, worker, range(start, start + 60))  # every one a second time
        worker = world.worker()  # the one before dies with its outputs unconfirmed
    tell(world, 300, last=True)
    await worker.step()
    world.clock.advance(seconds=2)
    await worker.step()
    assert len(world.events(FOLLOWED)) == 301
    (archived,) = world.stored(f"{GROUP}.archive")
    case = case_bytes.from_bytes(archived.value or b"")
    assert len(case.applied) == len(set(case.applied)) == 301
    assert Counter(mark.topic for mark in case.trail)[FOLLOWED] == 301
    shelf = shelves.recover((n, k, v) for n, (k, v) in enumerate(world.rows[HOME]))
    marker = shelf.get(CASE)
    assert isinstance(marker, Marker)
    assert set(marker.applied) == set(case.applied)
    assert set(chapters(world).values()) == {None}, "what a closed case leaves is its marker alone"


async def test_its_outputs_places_are_in_the_archive_when_nobody_died(world: World) -> None:
    worker = world.worker()
    await carry(world, worker, range(299), at_once=80)  # more outputs in one unit than a chapter has places
    tell(world, 299, last=True)
    await worker.step()
    world.clock.advance(seconds=2)
    await worker.step()
    (archived,) = world.stored(f"{GROUP}.archive")
    assert all(mark.offset >= 0 for mark in case_bytes.from_bytes(archived.value or b"").trail)


async def test_a_case_that_is_not_among_the_last_touched_comes_back_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "Hot", lambda: Hot(room=0))
    worker = world.worker()
    for start in range(0, 299, 23):
        await carry(world, worker, range(start, min(start + 23, 299)))
        world.clock.advance(seconds=2)
        await worker.step()  # a quiet moment: its outputs are confirmed, and the case is bytes again
    tell(world, 299, last=True)
    await worker.step()
    world.clock.advance(seconds=2)
    await worker.step()
    (archived,) = world.stored(f"{GROUP}.archive")
    case = case_bytes.from_bytes(archived.value or b"")
    assert (case.outcome, len(case.applied)) == ("completed", 300)
    assert all(mark.offset >= 0 for mark in case.trail)


async def test_while_it_is_worked_on_its_chapters_are_bytes_in_memory_whether_closed_now_or_read_again(
    world: World,
) -> None:
    worker = world.worker()
    await carry(world, worker, range(100))
    again = shelves.recover((n, k, v) for n, (k, v) in enumerate(world.rows[HOME]))
    for entry in (worker.runner._shelves[HOME].get(CASE), again.get(CASE)):
        assert isinstance(entry, Stored)
        assert {type(chapter.trail) for chapter in entry.case.chapters} == {case_bytes.Folded}


async def test_its_trace_has_every_event_in_order(world: World) -> None:
    await carry(world, world.worker(), range(200))
    reader = reader_of(world)
    (found,) = trace.find(reader, world.cluster.topics, CASE)
    entries = trace.entries(reader, found)
    assert [entry.offset for entry in entries if entry.step not in {"first", "followed"}] == list(range(200))
    assert sum(entry.event == FOLLOWED for entry in entries) == 200


async def test_when_its_archive_finds_the_marks_of_a_chapter_damaged_the_worker_ends_as_with_any_damaged_row(
    world: World,
) -> None:
    worker = world.worker()
    await carry(world, worker, range(200))
    await worker.runner.finish()
    world.rows[HOME].append((case_log.chapter_key(CASE, 1), b'[3,["f"],[["s","t",0,0,0,""]]]'))
    worker = world.worker()
    tell(world, 200, last=True)
    with pytest.raises(Damaged, match="known format"):
        await worker.step()
    assert not world.stored(f"{GROUP}.archive")


@pytest.mark.parametrize("damage", ["chapter", "marks of a chapter", "missing chapter", "case"])
async def test_when_a_part_of_it_is_damaged_a_rebuild_brings_all_of_it_back(world: World, damage: str) -> None:
    worker = world.worker()
    await carry(world, worker, range(200))
    await worker.runner.finish()
    before = world.events(FOLLOWED)
    key, value = {
        "chapter": (case_log.chapter_key(CASE, 1), b"{}"),
        "marks of a chapter": (case_log.chapter_key(CASE, 1), b'[3,["f"],[["s","t",0,0,0,""]]]'),
        "missing chapter": (case_log.chapter_key(CASE, 1), None),
        "case": (CASE.encode(), b"\x01\xff"),
    }[damage]
    rows = world.rows[HOME]
    rows.append((key, value))
    made = plan(
        HOME,
        [(n, k, v) for n, (k, v) in enumerate(rows)],
        world.cluster.logs[Partition(f"{GROUP}.archive", HOME)],
        first=dict.fromkeys([*world.graph.listens, f"{GROUP}.parked"], 0),
        listens=world.graph.listens,
        now=to_us(world.clock.now()),
        marker_life=MARKER_LIFE_US,
        limit=900_000,
    )
    assert [d.case for d in made.damaged] == [CASE]
    for batch in made.batches(900_000):
        rows.extend(batch)
    assert set(chapters(world).values()) == {None}, "a case that opens again must not find old chapters"
    worker = world.worker()
    await worker.step()
    await carry(world, worker, range(200, 220))
    after = world.events(FOLLOWED)
    assert before.keys() <= after.keys()
    assert len(after) == 220
    entry = shelves.recover((n, k, v) for n, (k, v) in enumerate(rows)).get(CASE)
    assert isinstance(entry, Stored)
    assert entry.case.length == 440

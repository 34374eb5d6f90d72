"""How much is decided at once follows the size of what was stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import compile as compiler
from agents.pace import TAKE, next_limit
from agents.runner import Runner
from agents.worker import PROCESSES
from schemas import catalogue
from tests.agents import births
from tests.agents.faults import tell
from tests.agents.world import World

ROOM = 900_000


def test_small_rows_leave_the_limit_where_it_is() -> None:
    assert next_limit(TAKE, [(TAKE, 500 * 1_200), (3, 4_000)], ROOM) == TAKE
    assert next_limit(TAKE, [], ROOM) == TAKE


def test_the_next_batch_of_equal_rows_is_four_fifths_full() -> None:
    assert next_limit(TAKE, [(500, 2_000_000)], ROOM) == 180
    assert next_limit(180, [(180, 720_000)], ROOM) == 180


def test_small_rows_bring_the_whole_limit_back() -> None:
    assert next_limit(1, [(1, 1_400)], ROOM) == TAKE


@given(
    limit=st.integers(1, TAKE),
    batches=st.lists(st.tuples(st.integers(1, TAKE), st.integers(1, 10_000_000)), max_size=5),
    room=st.integers(500, 10_000_000),
)
def test_the_limit_is_never_out_of_bounds_and_halves_at_least_when_a_batch_did_not_fit(
    limit: int, batches: list[tuple[int, int]], room: int
) -> None:
    following = next_limit(limit, batches, room)
    assert 1 <= following <= TAKE
    if any(size > room for _, size in batches):
        assert following <= max(1, limit // 2)


@given(pieces=st.integers(1, TAKE), row=st.integers(1, 5_000), room=st.integers(5_001, 2_000_000))
def test_as_many_equal_rows_as_the_limit_says_fit(pieces: int, row: int, room: int) -> None:
    following = next_limit(TAKE, [(pieces, pieces * row)], room)
    assert following * row <= room


async def test_a_unit_of_commands_alone_leaves_the_limit_where_it_is() -> None:
    world = World(compiler.compile_file(PROCESSES / "birth.yaml", catalogue.standard()))
    worker = world.worker()
    tell(world, "birth-1")
    await worker.step()
    assert worker.runner._limit == TAKE


async def test_cases_too_large_for_full_decisions_are_decided_twice_in_the_first_unit_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(compiler.compile_file(PROCESSES / "birth.yaml", catalogue.standard()))
    worker = world.worker()
    worker.log.batch_bytes = 12_000
    dropped: list[int] = []
    shrink = Runner._shrink

    def shrunk(runner: Runner, *args: object) -> None:
        dropped.append(len(dropped))
        shrink(runner, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Runner, "_shrink", shrunk)
    seen = []
    for unit in range(4):
        for number in range(120):
            births.notify(world, f"birth-{unit}-{number}")
        await worker.step()
        seen.append(len(dropped))
    assert 0 < seen[0] == seen[-1]

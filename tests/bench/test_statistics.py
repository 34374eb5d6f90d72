"""The arithmetic of the benchmarks; what they measure is never tested for time."""

from __future__ import annotations

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.statistics import Void, distinct, percentile, rate, ratios, shuffled, spread


def test_a_spread_is_the_median_with_the_smallest_and_largest() -> None:
    assert spread([5.0, 1.0, 9.0, 2.0]) == (3.5, 1.0, 9.0, 4)


def test_no_round_is_no_figure() -> None:
    with pytest.raises(Void):
        spread([])
    with pytest.raises(Void):
        percentile([], 50)


def test_percentiles_are_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, p) for p in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]
    assert percentile([7.0], 99) == 7.0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.integers(0, 100))
def test_a_percentile_is_one_of_the_values(values: list[float], percent: int) -> None:
    assert percentile(values, percent) in values


def test_a_rate_leaves_out_what_was_done_before_the_first_stamp() -> None:
    assert rate([1000] * 500 + [1500] * 100 + [2000] * 100) == pytest.approx(200.0)


def test_a_burst_in_the_beginning_is_not_taken_for_speed() -> None:
    burst, steady = [0] * 500 + [1] * 500, list(range(2, 4_002))
    assert rate(burst + steady) == pytest.approx(1_000.0)
    assert rate((burst + steady)[::-1]) == pytest.approx(1_000.0)


def test_a_slow_beginning_is_not_held_against_a_side() -> None:
    assert rate([0, *range(3_000, 4_000)]) == pytest.approx(1_000.0)


def test_who_puts_out_in_bursts_is_not_faster_for_it() -> None:
    chance = random.Random(1)
    found = [rate(_bursts(chance, per_ms=20, size=4_000, events=20_000)) for _ in range(100)]
    assert mean(found) == pytest.approx(20_000, rel=0.03)


def _bursts(chance: random.Random, *, per_ms: int, size: int, events: int) -> list[int]:
    """Stamps of a steady worker that puts out what it has done some thousands at a time, each within 10 ms."""
    stamps: list[int] = []
    while len(stamps) < events:
        part = min(events - len(stamps), chance.randint(size // 2, size * 3 // 2))
        end = (len(stamps) + part) / per_ms
        stamps += [int(end + 10 * index / part) for index in range(part)]
    return stamps


def test_a_rate_needs_two_stamps() -> None:
    with pytest.raises(Void):
        rate([1000, 1000])
    with pytest.raises(Void):
        rate([])


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([4.0, 9.0], [2.0, 3.0]) == [2.0, 3.0]


@pytest.mark.parametrize("ids", [["a"], ["a", "a"], ["a", "b", "b"], ["a", "b", "c"]])
def test_a_lost_or_doubled_follow_up_voids_the_run(ids: list[str]) -> None:
    distinct(["a", "b"], 2)
    with pytest.raises(Void):
        distinct(ids, 2)


def test_each_round_has_all_sides_in_an_order_of_its_own_that_does_not_change() -> None:
    sides = "abcdefg"
    rounds = [shuffled(sides, number) for number in range(5)]
    assert all(sorted(order) == list(sides) for order in rounds)
    assert len({"".join(order) for order in rounds}) == 5
    assert rounds == [shuffled(sides, number) for number in range(5)]

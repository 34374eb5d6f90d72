"""When a rate counts as kept up with; the times themselves are never tested."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.latency import Driven, climb

FLAT, SLOW = [20.0] * 300, [1_500.0] * 300
GROWING = [float(number) for number in range(300)]


@pytest.mark.parametrize("times", [FLAT, [20.0] * 200 + [90.0] * 100, [300.0] * 300])
def test_a_follower_whose_latency_stays_keeps_up(times: list[float]) -> None:
    assert Driven(times, 1_000).tails()


@pytest.mark.parametrize("times", [SLOW, GROWING])
def test_one_whose_latency_grows_or_is_above_a_second_falls_behind(times: list[float]) -> None:
    assert not Driven(times, 1_000).tails()


def test_the_ladder_ends_at_the_first_rate_that_falls_behind() -> None:
    driven: list[int] = []

    def steps() -> Iterator[tuple[int, Driven]]:
        for rate in (100, 200, 400, 800):
            driven.append(rate)
            yield rate, Driven(GROWING if rate == 400 else FLAT, rate)

    assert climb(steps()) == 200
    assert driven == [100, 200, 400]


def test_a_rate_that_the_publisher_does_not_reach_is_no_success_of_the_follower() -> None:
    assert climb([(100, Driven(FLAT, 99)), (200, Driven(FLAT, 150))]) == 100

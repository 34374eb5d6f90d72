"""When a rate counts as kept up with; the times themselves are never tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from bus.publish import _TURN
from tests.bench.latency import Driven, _steadily, climb

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


async def test_what_is_due_at_once_is_published_in_calls_that_keep_their_order_side_by_side() -> None:
    calls: list[list[int]] = []

    async def publish(due: Sequence[int]) -> None:
        calls.append(list(due))

    said = [(f"{number}", number) for number in range(3_000)]
    called: dict[str, float] = {}
    await _steadily(said, publish, 10**9, called)
    assert [number for call in calls for number in call] == list(range(3_000))
    assert max(map(len, calls)) < _TURN
    assert len(called) == 3_000

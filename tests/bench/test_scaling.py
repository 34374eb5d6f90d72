"""The arithmetic behind the exponents."""

from __future__ import annotations

import pytest

from tests.bench.scaling import exponent


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_is_the_power_with_which_a_figure_grows(power: float) -> None:
    sizes = [50, 100, 400, 1_000]
    assert exponent(sizes, [7 * size**power for size in sizes]) == pytest.approx(power)


def test_a_round_that_is_off_bends_it_and_does_not_decide_it() -> None:
    assert exponent([1, 10, 100], [1, 20, 100]) == pytest.approx(1.0)

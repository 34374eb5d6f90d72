"""How a figure grows with its size. Called by `tests.bench.growth`; pure, and tested."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from statistics import linear_regression


def exponent(sizes: Sequence[float], figures: Sequence[float]) -> float:
    """With which power of its size a figure grows: the least squares slope of the logarithms; 1 is linear.

    Args:
        sizes: at least two different ones, above 0.
        figures: one per size, above 0.
    """
    return linear_regression([log(size) for size in sizes], [log(figure) for figure in figures]).slope

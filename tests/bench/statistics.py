"""What a benchmark says about its rounds: medians with spread, percentiles, rates from append times, ratios.

Called by every scenario of `tests.bench`; pure, and tested, since a wrong figure looks as good as a right one. The
traps it avoids: a rate over the whole time from start would measure how long a process takes to start, a rate from the
first answer on how much was done by then; and one between two answers how much of a burst lies between them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import linear_regression, median
from typing import NamedTuple, TypeVar

T = TypeVar("T")
_STARTING = 5  # one in so many is of the beginning


class Void(Exception):
    """A run did not do all of its work, so its figure means nothing; the bench ends with 1."""


class Spread(NamedTuple):
    """A figure over its rounds."""

    median: float
    low: float
    high: float
    rounds: int

    def as_json(self) -> dict[str, float]:
        """For the document on stdout."""
        return {"median": self.median, "min": self.low, "max": self.high, "rounds": self.rounds}


def spread(values: Sequence[float]) -> Spread:
    """Median, smallest and largest of the rounds.

    Raises:
        Void: when there is none.
    """
    if not values:
        raise Void("no round was measured")
    return Spread(median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not exceed (nearest rank). Raises Void when there is none."""
    if not values:
        raise Void("nothing was measured")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def rate(stamps_ms: Sequence[int]) -> float:
    """Events per second from the append times (ms) of what a process put out.

    The slope of the straight line through how much had been put out by each millisecond, without the first fifth of it:
    what is put out at once in the beginning was worked for before the first stamp (our worker's first unit: a tenth of
    a run, within 5 ms), and others are slow to begin with. Counted from the first stamp on, our worker was 1.17 times
    as fast as Quix Streams, 1.04 times without the first fifth (6 rounds). A line, since between two stamps a part of a
    burst counts whose work was done before: of a steady worker that appends 4,000 of 20,000 events at once, 12 % more
    than there was, by the line 1 % (simulated, 300 runs).

    Raises:
        Void: when everything else carries one stamp.
    """
    if not stamps_ms:
        raise Void("nothing was put out")
    ordered = sorted(stamps_ms)
    first = ordered[len(ordered) // _STARTING]
    done = {stamp: count for count, stamp in enumerate(ordered, 1) if stamp >= first}  # by the end of its millisecond
    if len(done) == 1:
        raise Void("all of it was put out in one millisecond: take more events")
    return linear_regression(list(done), list(done.values())).slope * 1000


def ratios(ours: Sequence[float], peers: Sequence[float]) -> list[float]:
    """Ours over the peer's, round by round: neighbours on the machine slow both sides of one round alike."""
    return [mine / other for mine, other in zip(ours, peers, strict=True)]


def shuffled(sides: Sequence[T], number: int) -> list[T]:
    """The sides in the order of one round, from a fixed seed: each comes after other neighbours, early and late."""
    return random.Random(number).sample(sides, len(sides))


def distinct(ids: Sequence[str], expected: int) -> None:
    """Refuse a run unless each of its `expected` inputs was answered exactly once.

    Raises:
        Void: saying how many are missing or doubled.
    """
    found = len(set(ids))
    if found != expected or len(ids) != expected:
        raise Void(f"{expected} follow-ups expected, {len(ids)} found, {found} of them distinct")

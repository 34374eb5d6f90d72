"""Batches changed at random, through both clients' record readers: none raises, stops one or costs a neighbour."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.bus.transport.splitter import mutations
from tests.torture import bars

pytestmark = pytest.mark.torture
BATCHES = bars.sized(200_000, 2_000)
ROUND = 20_000
"""How many are made of one set of originals."""


def test_no_changed_batch_raises_stops_a_reader_or_costs_a_good_neighbour(bar: Callable[..., None]) -> None:
    begun = time.monotonic()
    faults: list[str] = []
    reasons: dict[str, int] = {}
    for number, start in enumerate(range(0, BATCHES, ROUND)):
        tally = mutations.run(min(ROUND, BATCHES - start), seed=bars.SEED + number)
        faults += tally.faults
        for reason, count in tally.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    bar(
        "Changed batches at both clients",
        demanded=f"{BATCHES:,} batches, none raises or costs a neighbour",
        measured=f"{BATCHES:,} batches, {len(faults)} faults",
        ok=not faults,
        seed=bars.SEED,
        seconds=round(time.monotonic() - begun, 1),
        reasons=reasons,
        faults=faults[:10],
    )

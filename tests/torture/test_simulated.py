"""Thousands of seeded histories of publisher, transport, consumer, agent and timers: none may go wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation import __main__ as simulation
from tests.torture import bars

SEEDS = bars.sized(10_000, 400)
WITHIN_S = 180.0


@pytest.mark.torture
def test_no_seed_shows_an_anomaly(bar: Callable[..., None]) -> None:
    found = simulation.run(SEEDS)
    met = found["met"]
    assert min(met[what] for what in ("deaths", "pauses", "put out", "Fenced", "days")) > 0, met
    measured = f"{len(found['wrong'])} with anomalies, {found['seconds']:.0f} s"
    bar(
        "Deterministic simulation",
        demanded=f"{SEEDS:,} seeds, no anomaly, within {WITHIN_S:.0f} s",
        measured=f"{measured}; {met['deaths']:,} deaths, {met['pauses']:,} pauses",
        ok=not found["wrong"] and found["seconds"] < WITHIN_S * max(1.0, bars.SCALE),
        wrong=dict(list(found["wrong"].items())[:10]),
        met=met,
    )

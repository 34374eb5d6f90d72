"""The simulation replays exactly, and notices every guard that is taken out.

That no seed goes wrong is a bar: tests/torture/test_simulated.py.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation import __main__ as simulation
from tests.simulation.controls import CONTROLS

CONTROL_SEEDS = 1_000  # looked at until the guard's absence shows


def test_a_seed_replays_exactly_in_another_process_with_another_hash_seed() -> None:
    seen = [simulation.run(5, first=40, environment={"PYTHONHASHSEED": number})["traces"] for number in ("1", "2")]
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == 5


@pytest.mark.parametrize("guard", CONTROLS)
def test_without_a_guard_some_seed_goes_wrong(guard: str) -> None:
    words = CONTROLS[guard][1]
    wrong = simulation.run(CONTROL_SEEDS, without=guard)["wrong"]
    assert any(words in anomaly for anomalies in wrong.values() for anomaly in anomalies), (
        f"{CONTROL_SEEDS} seeds without {guard} show nothing"
    )


def test_the_histories_end_at_the_first_that_shows_a_guards_absence() -> None:
    found = simulation.run(CONTROL_SEEDS, without="dedupe with the effect")
    assert found["seeds"] < CONTROL_SEEDS / 10


def test_a_failure_of_the_simulation_itself_is_not_taken_for_a_finding() -> None:
    with pytest.raises(RuntimeError, match="ended with 1"):
        simulation.run(1, without="no such guard")


def test_the_command_prints_what_it_found_and_fails_when_something_is_wrong() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "40", "--without", "dedupe with the effect"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, check=False)
    assert done.returncode == 1
    assert "was paid 2 times" in done.stderr

"""Runs thousands of simulated histories: ``python -m tests.simulation --seeds 10000``.

Each child process lives some hundred of them with the garbage collector off and ends without tidying up: what a killed
process was about to do must never run, and a collector would run its ``finally`` blocks. A failing seed is printed with
the command that shows it again, exactly.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CHUNK = 100  # a megabyte each is not given back


def main() -> int:
    """Parse, run, tell; 1 when a history went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--without", default=None, help="a guard to take out: see tests/simulation/controls.py")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.first, options.seeds, options.without)
    found = run(options.seeds, first=options.first, without=options.without)
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 1 if found["wrong"] else 0


def run(
    seeds: int, *, first: int = 0, without: str | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Live histories in child processes, one per core at a time.

    Args:
        seeds: how many. first: the first seed. without: a guard to take out. environment: for the children, added.

    Returns:
        ``seeds``, ``seconds``, ``wrong`` (seed -> anomalies), ``met`` (how often what happened) and ``traces``
        (seed -> checksum).
    """
    begun = time.monotonic()
    starts = range(first, first + seeds, CHUNK)

    def ask(start: int) -> dict[str, Any]:
        return _ask(start, min(CHUNK, first + seeds - start), without, {**os.environ, **(environment or {})})

    met: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    traces: dict[str, int] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start, told in zip(starts, pool.map(ask, starts), strict=True):
            met.update(told["met"])
            wrong |= told["wrong"]
            traces |= told["traces"]
            for seed, anomalies in told["wrong"].items():
                sys.stderr.write(f"seed {seed}: {'; '.join(anomalies)}\n")
            sys.stderr.write(f"simulation: {min(start + CHUNK - first, seeds):,} of {seeds:,} histories\r")
    sys.stderr.write("\n")
    seconds = round(time.monotonic() - begun, 1)
    return {"seeds": seeds, "first": first, "seconds": seconds, "wrong": wrong, "met": dict(met), "traces": traces}


def _ask(first: int, seeds: int, without: str | None, environment: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.simulation", "--child", "--first", str(first), "--seeds", str(seeds)]
    command += ["--without", without] if without else []
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"seeds {first}..{first + seeds - 1}: {done.stderr.decode()[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def child(first: int, seeds: int, without: str | None) -> None:
    """Live these histories and end the process."""
    gc.disable()
    logging.disable()  # what is parked or fenced is said so often that saying it costs half the time
    from tests.simulation.controls import CONTROLS
    from tests.simulation.history import WHOLE, live

    parts = WHOLE if without is None else CONTROLS[without][0]
    told: dict[str, Any] = {"wrong": {}, "met": Counter(), "traces": {}}
    for seed in range(first, first + seeds):
        outcome = live(seed, parts)
        told["met"].update(outcome.met)
        told["traces"][seed] = outcome.trace
        if outcome.wrong:
            told["wrong"][seed] = outcome.wrong
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

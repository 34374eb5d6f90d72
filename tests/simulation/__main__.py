"""Runs thousands of simulated histories: ``python -m tests.simulation --seeds 10000``.

Each process lives some fifty of them with the garbage collector off and ends without tidying up: what a killed process
was about to do must never run, and a collector would run its ``finally`` blocks. Such a process is a fork of this one,
which has imported everything: to start anew costs as much as thirty histories. A failing seed is printed with the
command that shows it again, exactly.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import IO, Any, NoReturn

CHUNK = 50  # a third of a megabyte each is not given back; few, so that no core waits long for the other's last


def main() -> int:
    """Parse, live, tell; 1 when a history went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--without", metavar="GUARD", help="a guard to take out, until that shows: see tests/simulation/controls.py"
    )
    options = parser.parse_args()
    found = _live_all(range(options.first, options.first + options.seeds), options.without)
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 1 if found["wrong"] else 0


def run(
    seeds: int, *, first: int = 0, without: str | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Live histories by the command.

    Args:
        seeds: how many. first: the first seed. without: a guard to take out. environment: for the command, added.

    Returns:
        ``seeds`` (lived), ``seconds``, ``wrong`` (seed -> anomalies), ``met`` (how often what happened) and ``traces``
        (seed -> checksum).

    Raises:
        RuntimeError: it failed; why stands on stderr.
    """
    command = [sys.executable, "-m", "tests.simulation", "--first", str(first), "--seeds", str(seeds)]
    command += ["--without", without] if without else []
    done = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})}, check=False)
    if not done.stdout:
        raise RuntimeError(f"the simulation ended with {done.returncode}.")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _live_all(seeds: range, without: str | None) -> dict[str, Any]:
    begun = time.monotonic()
    met: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    traces: dict[str, int] = {}
    for told in _chunks(seeds, without):
        met.update(told["met"])
        wrong |= told["wrong"]
        traces |= told["traces"]
        for seed, anomalies in told["wrong"].items():
            sys.stderr.write(f"seed {seed}: {'; '.join(anomalies)}\n")
        sys.stderr.write(f"simulation: {len(traces):,} of {len(seeds):,} histories\r")
        if told["noticed"]:
            break
    sys.stderr.write("\n")
    return {
        "seeds": len(traces),
        "first": seeds.start,
        "seconds": round(time.monotonic() - begun, 1),
        "wrong": wrong,
        "met": dict(met),
        "traces": traces,
    }


def _chunks(seeds: range, without: str | None) -> Iterator[dict[str, Any]]:
    """Live in forks, one per core at a time; what each told, as they end."""
    gc.disable()
    logging.disable()  # what is parked or fenced is said so often that saying it costs half the time
    import tests.simulation.controls  # noqa: F401  # before the forks, once

    todo = (seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK))
    under_way: dict[int, tuple[range, IO[str]]] = {}
    try:
        while True:
            for chunk in islice(todo, (os.cpu_count() or 1) - len(under_way)):
                told: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed below
                pid = os.fork()
                if not pid:
                    _child(chunk, without, told)
                under_way[pid] = chunk, told
            if not under_way:
                return
            pid, status = os.wait()
            chunk, told = under_way.pop(pid)
            with told:
                if status:
                    raise RuntimeError(f"{chunk} ended with status {status}.")
                told.seek(0)
                yield json.load(told)
    finally:
        for pid, (_, told) in under_way.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            told.close()


def _child(seeds: range, without: str | None, told: IO[str]) -> NoReturn:
    """Live these histories, with a guard taken out until that shows, and end the process."""
    sys.unraisablehook = _unraised
    try:
        json.dump(_live(seeds, without), told)
        told.flush()
        os._exit(0)
    except BaseException:  # noqa: BLE001  # nothing of the parent's may run here
        traceback.print_exc()
        os._exit(1)


def _unraised(said: Any) -> None:
    """Say what was raised where nobody catches it; a killed process's generators cannot tidy up, and that is meant."""
    from tests.simulation.blocking import Killed

    if not isinstance(said.exc_value, Killed):
        sys.__unraisablehook__(said)


def _live(seeds: range, without: str | None) -> dict[str, Any]:
    from tests.simulation.controls import CONTROLS
    from tests.simulation.history import WHOLE, live

    parts, words = (WHOLE, None) if without is None else CONTROLS[without]
    told: dict[str, Any] = {"wrong": {}, "met": Counter(), "traces": {}, "noticed": False}
    for seed in seeds:
        outcome = live(seed, parts)
        told["met"].update(outcome.met)
        told["traces"][seed] = outcome.trace
        if outcome.wrong:
            told["wrong"][seed] = outcome.wrong
        if words is not None and any(words in anomaly for anomaly in outcome.wrong):
            told["noticed"] = True
            break
    return told


if __name__ == "__main__":
    sys.exit(main())

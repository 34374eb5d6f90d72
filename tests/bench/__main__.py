"""``python -m tests.bench``: every scenario in one run, a table on stderr, one JSON document on stdout.

Called by ``make bench``. Exit code 1 when a run was void: its figures mean nothing; a missed bar
is printed as missed. Each scenario is a module with `NAME` and `measure`; a new one is one more entry of `SCENARIOS`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime

from tests.bench import (
    codec,
    growth,
    latency,
    machine,
    memory,
    profile,
    publishing,
    recovery,
    splitting,
    stepping,
    worker,
    worker_many,
    worker_wide,
)
from tests.bench.cluster import Cluster, started
from tests.bench.report import Report
from tests.bench.statistics import Void

SCENARIOS: dict[str, Callable[..., Report]] = {
    codec.NAME: codec.measure,
    stepping.NAME: stepping.measure,
    splitting.NAME: splitting.measure,
    publishing.NAME: publishing.measure,
    worker.NAME: worker.measure,
    worker_many.NAME: worker_many.measure,
    worker_wide.NAME: worker_wide.measure,
    latency.NAME: latency.measure,
    recovery.NAME: recovery.measure,
    growth.NAME: growth.measure,
    memory.NAME: memory.measure,
}
OFFLINE = {codec.NAME, stepping.NAME, splitting.NAME}  # need no broker


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    options = _options()
    if options.profile:
        sys.stderr.write(profile.table(options.events) + "\n")
        return 0
    names = options.only or list(SCENARIOS)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is measured is told, the broker ends
    document: dict[str, object] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.facts(),
        "rounds": options.rounds,
        "events": options.events,
    }
    reports: list[Report] = []
    with ExitStack() as stack:
        cluster: Cluster | None = None
        for name in names:
            if cluster is None and name not in OFFLINE:
                cluster = stack.enter_context(started(_say))
            try:
                reports.append(SCENARIOS[name](cluster, rounds=options.rounds, events=options.events, say=_say))
            except (Void, KeyboardInterrupt) as end:
                document["void"] = f"{name}: {str(end) or 'interrupted'}"
                break
    document["load_after"] = machine.load()
    for report in reports:
        _say("\n" + report.as_table())
    document["scenarios"] = {report.name: report.as_json() for report in reports}
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")
    if "void" in document:
        _say(f"\nVOID {document['void']}")
    return int("void" in document)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=SCENARIOS, nargs="+", help="these scenarios instead of all")
    parser.add_argument("--rounds", type=_count, default=5, help="fresh processes per side (default 5)")
    parser.add_argument("--events", type=_count, default=20_000, help="events per run (default 20000)")
    parser.add_argument("--profile", action="store_true", help="where the worker's time goes per event; no broker")
    return parser.parse_args()


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())

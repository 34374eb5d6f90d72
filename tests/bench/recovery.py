"""Recovery: our worker's takeover of 100,000 open cases against stock Faust's recovery of a table of as many keys.

Called by `tests.bench.__main__`. The traps it avoids: a side that is fast because it read less (both say how many
cases they hold afterwards), and small values on one side (both hold the same cases).
"""

from __future__ import annotations

import asyncio
import json
import uuid

from tests.bench import case_store, recover_faust
from tests.bench.child import result_of
from tests.bench.cluster import PARTITIONS, Cluster
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.statistics import Void, ratios, spread

NAME = "recovery"
OURS, FAUST = "our worker", "stock Faust"
CASES = 100_000
TARGET = 8.0

Told = dict[str, float]


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Let both recover `rounds` times, interleaved. `events` does not matter: the demand is about 100,000 cases.

    Raises:
        Void: when a side holds fewer cases than were stored.
    """
    del events
    group = stored(cluster, CASES, PARTITIONS)
    found: dict[str, list[Told]] = {OURS: [], FAUST: []}
    for number in range(rounds):
        for side, run in ((OURS, ours(cluster, group, CASES, PARTITIONS)), (FAUST, _faust(cluster))):
            found[side].append(run)
            cpu = run["cpu_s"] / CASES * 1e6
            say(f"recovery {number + 1}/{rounds} {side}: {run['seconds']:.2f} s, {cpu:.0f} us CPU a case")
    seconds = {side: [run["seconds"] for run in runs] for side, runs in found.items()}
    against = spread(ratios(seconds[FAUST], seconds[OURS]))
    rows = []
    for side, runs in found.items():
        cpu_us = spread([run["cpu_s"] / CASES * 1e6 for run in runs])
        rows.append(Row(side, "s", spread(seconds[side]), against if side == OURS else None, cpu_us))
        rows.append(Row(f"{side}: memory of a case", "bytes", spread([run["bytes"] / CASES for run in runs])))
    spared = spread(ratios([run["cpu_s"] for run in found[FAUST]], [run["cpu_s"] for run in found[OURS]]))
    rows.append(Row("CPU of stock Faust over ours", "x", spared))  # holds on a busy machine, too
    rows.append(Row("first touch of a recovered case", "us", spread([run["touch_us"] for run in found[OURS]])))
    bars = [Bar(f"{OURS}, x faster than {FAUST}", against.median, TARGET, at_least=True)]
    return Report(NAME, f"{CASES} open cases on {PARTITIONS} partitions; ratio to {FAUST}", rows, bars)


def ours(cluster: Cluster, group: str, count: int, partitions: int) -> Told:
    """One takeover in a process of its own. Raises Void when a case is missing."""
    words = [cluster.bootstrap, group, str(partitions)]
    return _whole(OURS, json.loads(result_of("tests.bench.recover_ours", words)), count)


def stored(cluster: Cluster, count: int, partitions: int) -> str:
    """A new group whose case log holds `count` open cases."""
    group = f"bench-{uuid.uuid4().hex[:8]}"
    case_store.create(cluster.bootstrap, f"{group}.cases", partitions=partitions)
    asyncio.run(case_store.fill(cluster.bootstrap, group, count, partitions))
    return group


def _faust(cluster: Cluster) -> Told:
    """An app of its own each time: a group that still waits for a member that is gone would start late."""
    app = f"bench-{uuid.uuid4().hex[:8]}"
    changelog = recover_faust.changelog_of(app)
    case_store.create(cluster.bootstrap, changelog, recover_faust.source_of(app), partitions=PARTITIONS)
    asyncio.run(case_store.fill_changelog(cluster.bootstrap, changelog, CASES, PARTITIONS))
    words = [cluster.bootstrap, app, str(PARTITIONS)]
    return _whole(FAUST, json.loads(result_of("tests.bench.recover_faust", words)), CASES)


def _whole(side: str, told: Told, count: int) -> Told:
    if told["cases"] != count:
        raise Void(f"{side}: {told['cases']} of {count} cases are there")
    return told

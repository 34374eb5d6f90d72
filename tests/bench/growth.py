"""Growth: what recovery costs by cases and by partitions, what an event costs in a long case, what a case weighs.

Called by `tests.bench.__main__`. An exponent is the slope of the least squares line through the logarithms: 1 is
linear. The trap it avoids: a figure at one size, which tells nothing of ten times the size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tests.bench.child import result_of
from tests.bench.cluster import PARTITIONS, Cluster
from tests.bench.long_case import CASES as LONG_CASES
from tests.bench.recovery import Told, ours, stored
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.scaling import exponent
from tests.bench.statistics import Void, spread

NAME = "growth"
COUNTS = (1_000, 10_000, 100_000)
MILLION = 1_000_000  # cases recovered as well when a run has as many events
SPREADS = (6, 24, 96)
LENGTHS = (50, 100, 200, 400, 800)
WORKED_ON = 100_000
STEEPEST = 1.1
HEAVIEST = 2_048  # bytes of memory of an open case

Runs = Mapping[int, Sequence[Told]]


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Measure every size `rounds` times, interleaved; a million cases only when `events` are as many.

    Raises:
        Void: when a case is missing.
    """
    counts = (*COUNTS, MILLION) if events >= MILLION else COUNTS
    rows, bars = _recoveries(cluster, counts, rounds, say)
    for found in (_long_cases(rounds, say), _worked_on(rounds, say)):
        rows += found[0]
        bars += found[1]
    return Report(NAME, "recovery, long cases and memory by size", rows, bars)


def _recoveries(cluster: Cluster, counts: Sequence[int], rounds: int, say: Say) -> tuple[list[Row], list[Bar]]:
    many = COUNTS[-1]
    shapes = [*((count, PARTITIONS) for count in counts), *((many, n) for n in SPREADS if n != PARTITIONS)]
    groups = {shape: stored(cluster, *shape) for shape in shapes}
    found: dict[tuple[int, int], list[Told]] = {shape: [] for shape in shapes}
    for number in range(rounds):
        for shape, group in groups.items():
            found[shape].append(ours(cluster, group, *shape))
            told = found[shape][-1]
            say(f"growth {number + 1}/{rounds} {shape[0]} cases on {shape[1]} partitions: {told['seconds']:.2f} s")
    rows = []
    for (count, partitions), runs in found.items():
        name = f"recovery, {count:,} cases on {partitions} partitions"
        cpu_us = spread([run["cpu_s"] / count * 1e6 for run in runs])
        rows.append(Row(name, "s", spread([run["seconds"] for run in runs]), cpu_us=cpu_us))
    by_cases = {count: found[count, PARTITIONS] for count in counts}
    by_partitions = {number: found[many, number] for number in SPREADS}
    rows.append(Row("recovery: exponent by cases", "", spread(_exponents(by_cases, "seconds"))))
    rows.append(Row("recovery: exponent by partitions", "", spread(_exponents(by_partitions, "seconds"))))
    weight = spread([run["bytes"] / many for run in found[many, PARTITIONS]])
    rows.append(Row("memory of a recovered case", "bytes", weight))
    return rows, [Bar("memory of a recovered case, bytes", weight.median, HEAVIEST, at_least=False)]


def _long_cases(rounds: int, say: Say) -> tuple[list[Row], list[Bar]]:
    found: dict[int, list[Told]] = {length: [] for length in LENGTHS}
    for number in range(rounds):
        for length, runs in found.items():
            runs.append(json.loads(result_of("tests.bench.long_case", [str(length)])))
            us = runs[-1]["cpu_s"] / length / LONG_CASES * 1e6
            say(f"growth {number + 1}/{rounds} a case of {length} events: {us:.0f} us CPU an event")
    rows = []
    for length, runs in found.items():
        events = length * LONG_CASES
        cpu_us = spread([run["cpu_s"] / events * 1e6 for run in runs])
        written = spread([run["bytes"] / events for run in runs])
        rows.append(Row(f"a case of {length} events: written per event", "bytes", written, cpu_us=cpu_us))
    bars = []
    for what, key in (("CPU time", "cpu_s"), ("bytes written", "bytes")):
        slope = spread(_exponents(found, key))
        rows.append(Row(f"a long case: exponent of its {what}", "", slope))
        bars.append(Bar(f"a long case: exponent of its {what}", slope.median, STEEPEST, at_least=False))
    return rows, bars


def _worked_on(rounds: int, say: Say) -> tuple[list[Row], list[Bar]]:
    found: dict[int, list[float]] = {partitions: [] for partitions in SPREADS}
    for number in range(rounds):
        for partitions, weights in found.items():
            told = json.loads(result_of("tests.bench.worked_on", [str(WORKED_ON), str(partitions)]))
            if told["cases"] != WORKED_ON:
                raise Void(f"{told['cases']} of {WORKED_ON} cases are open")
            weights.append(told["bytes"] / WORKED_ON)
            say(f"growth {number + 1}/{rounds} a case just worked on, {partitions} partitions: {weights[-1]:.0f} bytes")
    rows, bars = [], []
    for partitions, weights in found.items():
        name = f"memory of a case just worked on, {partitions} partitions"
        rows.append(Row(name, "bytes", spread(weights)))
        bars.append(Bar(f"{name}, bytes", spread(weights).median, HEAVIEST, at_least=False))
    return rows, bars


def _exponents(runs: Runs, key: str) -> list[float]:
    """The exponent of each round."""
    rounds = zip(*runs.values(), strict=True)
    return [exponent(list(runs), [told[key] for told in one]) for one in rounds]

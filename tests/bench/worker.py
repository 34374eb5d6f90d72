"""The worker at catch-up rate: events published before it starts, decoded, deduped, stepped, stored, one event out.

Called by `tests.bench.__main__`. Every round starts each side as a fresh process and a fresh group on the same input;
the follow-up topic is the yardstick for all. The traps it avoids: measuring start-up, and a side that is fast because
it lost something (each input must be answered exactly once).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bus.message import Outgoing, Partition, Receipt
from bus.partitioner import partition_for
from bus.wiring import connect
from tests.bench import recorded
from tests.bench.cluster import PARTITIONS, Cluster, append, cpu_per_event_us
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.sides import AIOKAFKA, FAUST, PLAIN_FAUST, UNGUARDED, Side, create_topics, fresh_group
from tests.bench.statistics import Void, distinct, rate, ratios, spread

NAME = "worker"
SIDES = (FAUST, PLAIN_FAUST, AIOKAFKA, UNGUARDED)
TARGET = 3.0
PRICE = 0.75  # of the unguarded worker's throughput, at least


@dataclass(frozen=True, slots=True)
class Figure:
    """One run of one side.

    Args:
        per_second: from the first follow-up to the last. cpu_us: CPU per event meanwhile.
        whole: events a second from the worker's readiness on, which also counts what is decided before anything leaves.
    """

    per_second: float
    cpu_us: float
    whole: float


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Run every side `rounds` times, interleaved.

    Args:
        cluster: where. rounds: how often. events: per run.

    Raises:
        Void: when a run lost or doubled an event.
    """
    _publish(cluster, events)
    figures: dict[str, list[Figure]] = {side.name: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES:
            figure = _run(cluster, side, events)
            figures[side.name].append(figure)
            seen = f"{figure.per_second:.0f}/s ({figure.whole:.0f} since ready), {figure.cpu_us:.0f} us CPU"
            say(f"worker {number + 1}/{rounds} {side.name}: {seen}")
    rates = {name: [figure.per_second for figure in found] for name, found in figures.items()}
    cpu = {name: [figure.cpu_us for figure in found] for name, found in figures.items()}
    rows, bars = [], []
    for side in SIDES:
        against = spread(ratios(rates[side.name], rates[PLAIN_FAUST.name]))
        rows.append(Row(side.name, "events/s", spread(rates[side.name]), against, spread(cpu[side.name])))
        spared = spread(ratios(cpu[PLAIN_FAUST.name], cpu[side.name]))  # holds on a busy machine, too
        rows.append(Row(f"{side.name}: CPU of plain Faust over its own", "x", spared))
        if side not in {PLAIN_FAUST, UNGUARDED}:
            bars.append(Bar(f"{side.name}, x plain Faust", against.median, TARGET, at_least=True))
    whole = {side: [figure.whole for figure in figures[side.name]] for side in (AIOKAFKA, UNGUARDED)}
    kept = spread(ratios(whole[AIOKAFKA], whole[UNGUARDED]))
    rows.append(Row("with guards over without", "x", kept))
    bars.append(Bar("throughput kept by the safe path", kept.median, PRICE, at_least=True))
    return Report(NAME, f"{events} events of {events // recorded.EVENTS_PER_CASE} cases, catching up", rows, bars)


def _publish(cluster: Cluster, events: int) -> None:
    create_topics(cluster)
    with connect(agency="replay", bootstrap=cluster.bootstrap) as bus:
        for result in bus.publish_all(recorded.publications(events, run="catchup")):
            if not isinstance(result, Receipt):
                raise result
    batches: dict[Partition, list[Outgoing]] = {}
    for key, value in recorded.plain(events, run="catchup"):
        place = Partition(recorded.PLAIN_TOPIC, partition_for(key, PARTITIONS))
        batches.setdefault(place, []).append(Outgoing(key, value))
    asyncio.run(append(cluster.bootstrap, batches))


def _run(cluster: Cluster, side: Side, events: int) -> Figure:
    before = cluster.ends(side.target)
    group = fresh_group(cluster, side)
    with side.start(cluster, group) as child:
        ready = time.time()
        samples = cluster.await_follow_ups(side.target, before, events, child)
    records = cluster.since(side.target, before)
    try:
        distinct([recorded.answered(record) for record in records], events)
    except Void as void:
        raise Void(f"{side.name}: {void}") from None
    stamps = [record.timestamp for record in records]
    return Figure(rate(stamps), cpu_per_event_us(samples), events / (max(stamps) / 1_000 - ready))

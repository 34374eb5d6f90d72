"""The worker at catch-up rate: events published before it starts, decoded, deduped, stepped, stored, one event out.

Called by `tests.bench.__main__`. Every round starts each side as a fresh process and a fresh group on the same input;
the append times in the follow-up topic are the yardstick for all. The traps it avoids: measuring start-up, a side that
is fast because it lost something (each input must be answered exactly once), what others left in the topic, and one
that always comes after the same neighbour, whose records the disk may still be taking.

The bare confluent loop is judged in transactions: the demand is "with the same guarantees of state and output", and a
loop without a fence has fewer, since a member that was paused and replaced overwrites its state. Both are printed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bus.message import Outgoing, Partition, Receipt
from bus.partitioner import partition_for
from bus.wiring import connect
from tests.bench import recorded
from tests.bench.cluster import PARTITIONS, Cluster, append, cpu_per_event_us
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.sides import (
    AIOKAFKA,
    CONFLUENT,
    CONFLUENT_FENCED,
    FASTSTREAM,
    FAUST,
    PLAIN_FAUST,
    QUIX_STREAMS,
    UNGUARDED,
    Side,
    create_topics,
    fresh_group,
)
from tests.bench.statistics import Void, distinct, rate, ratios, shuffled, spread

NAME = "worker"
HOSTS = (FAUST, AIOKAFKA)
SIDES = (FAUST, PLAIN_FAUST, AIOKAFKA, CONFLUENT_FENCED, CONFLUENT, UNGUARDED, QUIX_STREAMS, FASTSTREAM)
PEERS = (PLAIN_FAUST, CONFLUENT_FENCED, CONFLUENT, QUIX_STREAMS, FASTSTREAM)
TARGETS = {PLAIN_FAUST: 5.0, CONFLUENT_FENCED: 0.75, QUIX_STREAMS: 1.2, FASTSTREAM: 1.0}  # of our best host, at least
PRICE = 0.75  # of the unguarded worker's throughput, at least

Starts = Mapping[str, Mapping[Partition, int]]  # by topic


@dataclass(frozen=True, slots=True)
class Figure:
    """One run of one side.

    Args:
        per_second: from the first follow-up to the last. cpu_us: CPU per event meanwhile.
    """

    per_second: float
    cpu_us: float


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Run every side `rounds` times, interleaved.

    Args:
        cluster: where. rounds: how often. events: per run.

    Raises:
        Void: when a run lost or doubled an event.
    """
    starts = _publish(cluster, events)
    figures: dict[Side, list[Figure]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in shuffled(SIDES, number):
            figure = _run(cluster, side, events, starts)
            figures[side].append(figure)
            say(f"worker {number + 1}/{rounds} {side.name}: {figure.per_second:.0f}/s, {figure.cpu_us:.0f} us CPU")
    rows, bars = judged(figures)
    return Report(NAME, f"{events} events of {events // recorded.EVENTS_PER_CASE} cases, catching up", rows, bars)


def judged(figures: Mapping[Side, Sequence[Figure]]) -> tuple[list[Row], list[Bar]]:
    """Rows and bars of all sides, whose rounds stand in one order. The bars are those of our faster host."""
    rates = {side: [figure.per_second for figure in found] for side, found in figures.items()}
    cpu = {side: [figure.cpu_us for figure in found] for side, found in figures.items()}
    rows, bars = [], []
    for side in figures:
        against = spread(ratios(rates[side], rates[PLAIN_FAUST]))
        rows.append(Row(side.name, "events/s", spread(rates[side]), against, spread(cpu[side])))
    best = max(HOSTS, key=lambda host: spread(rates[host]).median)
    for peer in PEERS:
        ahead = spread(ratios(rates[best], rates[peer]))
        spared = spread(ratios(cpu[peer], cpu[best]))  # holds on a busy machine, too
        rows.append(Row(f"best host, x {peer.name}", "x", ahead))
        rows.append(Row(f"CPU of {peer.name} over best host's", "x", spared))
        if peer in TARGETS:
            bars.append(Bar(f"{best.name}, x {peer.name}", ahead.median, TARGETS[peer], at_least=True))
    kept = spread(ratios(rates[AIOKAFKA], rates[UNGUARDED]))
    rows.append(Row("with guards over without", "x", kept))
    bars.append(Bar("throughput kept by the safe path", kept.median, PRICE, at_least=True))
    return rows, bars


def _publish(cluster: Cluster, events: int) -> Starts:
    """Publish the input; where each source stood before."""
    create_topics(cluster)
    starts = {topic: cluster.ends(topic) for topic in (recorded.TOPIC, recorded.PLAIN_TOPIC)}
    with connect(agency="replay", bootstrap=cluster.bootstrap) as bus:
        for result in bus.publish_all(recorded.publications(events, run="catchup")):
            if not isinstance(result, Receipt):
                raise result
    batches: dict[Partition, list[Outgoing]] = {}
    for key, value in recorded.plain(events, run="catchup"):
        place = Partition(recorded.PLAIN_TOPIC, partition_for(key, PARTITIONS))
        batches.setdefault(place, []).append(Outgoing(key, value))
    asyncio.run(append(cluster.bootstrap, batches))
    return starts


def _run(cluster: Cluster, side: Side, events: int, starts: Starts) -> Figure:
    before = cluster.ends(side.target)
    group = fresh_group(cluster, side)
    cluster.begin_at(group, starts[side.source])
    with side.start(cluster, group) as child:
        records, samples = cluster.await_follow_ups(side.target, before, events, child)
    try:
        distinct([recorded.answered(record) for record in records], events)
    except Void as void:
        raise Void(f"{side.name}: {void}") from None
    return Figure(rate([record.timestamp for record in records]), cpu_per_event_us(samples))

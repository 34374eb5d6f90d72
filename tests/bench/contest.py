"""Workers at catch-up rate: events published before they start; decoded, deduped, stepped, stored, one event out each.

Called by `worker` and `worker_wide`, which say who follows what. Every round starts each side as a fresh process and a
fresh group on the same input; the append times in the follow-up topic are the yardstick for all. The traps it avoids:
measuring start-up, a side that is fast because it lost something (each input must be answered exactly once), what
others left in the topic, and one that always comes after the same neighbour, whose records the disk may still be
taking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bus.message import Partition, Receipt
from bus.publish import Publication
from bus.wiring import connect
from tests.bench import recorded
from tests.bench.cluster import Cluster, cpu_per_event_us
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.sides import Side, create_topics, fresh_group
from tests.bench.statistics import Void, distinct, rate, ratios, shuffled, spread
from tests.bench.wide import wider

PRICE = 0.75  # of the unguarded worker's throughput, at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Sides that follow the same events.

    Args:
        name: of the scenario. what: the events, for the table.
        publish: puts so many of them on the topics of all sides.
        hosts: our own sides.
        peers: the others, with how many times as fast our faster host has to be; None: it is only told.
        yardstick: in whose rate those of all are given.
        unguarded: a host of ours and the same without its guards.
    """

    name: str
    what: str
    publish: Callable[[Cluster, int], None]
    hosts: tuple[Side, ...]
    peers: Mapping[Side, float | None]
    yardstick: Side
    unguarded: tuple[Side, Side] | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """All that run."""
        return (*self.hosts, *self.peers, *(self.unguarded or ())[1:])


@dataclass(frozen=True, slots=True)
class Figure:
    """One run of one side.

    Args:
        per_second: see `statistics.rate`. cpu_us: CPU per event from the first to the last.
    """

    per_second: float
    cpu_us: float


def held(contest: Contest, cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Run every side `rounds` times, interleaved.

    Args:
        contest: who follows what. cluster: where. rounds: how often. events: per run.
        say: takes progress.

    Raises:
        Void: when a run lost or doubled an event.
    """
    create_topics(cluster)
    starts = {topic: cluster.ends(topic) for topic in {side.source for side in contest.sides}}
    contest.publish(cluster, events)
    figures: dict[Side, list[Figure]] = {side: [] for side in contest.sides}
    for number in range(rounds):
        for side in shuffled(contest.sides, number):
            figure = _run(cluster, side, events, starts[side.source])
            figures[side].append(figure)
            said = f"{figure.per_second:.0f}/s, {figure.cpu_us:.0f} us CPU"
            say(f"{contest.name} {number + 1}/{rounds} {side.name}: {said}")
    rows, bars = judged(contest, figures)
    cases = events // recorded.EVENTS_PER_CASE
    return Report(contest.name, f"{events} {contest.what} of {cases} cases, catching up", rows, bars)


def judged(contest: Contest, figures: Mapping[Side, Sequence[Figure]]) -> tuple[list[Row], list[Bar]]:
    """Rows and bars of all sides, whose rounds stand in one order. The bars are those of our faster host."""
    rates = {side: [figure.per_second for figure in found] for side, found in figures.items()}
    cpu = {side: [figure.cpu_us for figure in found] for side, found in figures.items()}
    rows, bars = [], []
    for side in figures:
        against = spread(ratios(rates[side], rates[contest.yardstick]))
        rows.append(Row(side.name, "events/s", spread(rates[side]), against, spread(cpu[side])))
    best = max(contest.hosts, key=lambda host: spread(rates[host]).median)
    for peer, target in contest.peers.items():
        ahead = spread(ratios(rates[best], rates[peer]))
        spared = spread(ratios(cpu[peer], cpu[best]))  # holds on a busy machine, too
        rows.append(Row(f"best host, x {peer.name}", "x", ahead))
        rows.append(Row(f"CPU of {peer.name} over best host's", "x", spared))
        if target is not None:
            bars.append(Bar(f"{best.name}, x {peer.name}", ahead.median, target, at_least=True))
    if contest.unguarded is not None:
        guarded, unguarded = contest.unguarded
        kept = spread(ratios(rates[guarded], rates[unguarded]))
        rows.append(Row("with guards over without", "x", kept))
        bars.append(Bar("throughput kept by the safe path", kept.median, PRICE, at_least=True))
    return rows, bars


def publish(cluster: Cluster, agency: str, said: Iterable[Publication]) -> None:
    """Put typed events on the topics of an agency. Raises what the first that was refused met."""
    with connect(agency=agency, bootstrap=cluster.bootstrap, catalogue=wider()) as bus:
        for result in bus.publish_all(said):
            if not isinstance(result, Receipt):
                raise result


def _run(cluster: Cluster, side: Side, events: int, start: Mapping[Partition, int]) -> Figure:
    before = cluster.ends(side.target)
    group = fresh_group(cluster, side)
    cluster.begin_at(group, start)
    with side.start(cluster, group) as child:
        records, samples = cluster.await_follow_ups(side.target, before, events, child)
    try:
        distinct([recorded.answered(record) for record in records], events)
    except Void as void:
        raise Void(f"{side.name}: {void}") from None
    return Figure(rate([record.timestamp for record in records]), cpu_per_event_us(samples))

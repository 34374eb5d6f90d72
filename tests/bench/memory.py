"""Memory over a long run: publisher, consumer and worker must be as large at its end as they are at three tenths.

Called by `tests.bench.__main__`; take ``--events 1000000`` for the real question. Every process is measured by its own
resident memory. The traps it avoids, which all look like a leak: a load whose state grows by itself (more and more open
cases; here cases open and close all the time), a bounded memory that is still filling when the early samples are taken
(`tests.bench.consumer_memory` fills it first), and what the worker must keep of a closed case for 35 days, its marker:
a run of minutes never sees the first one go, so the worker has no steady state with them. They are weighed on a shelf
of their own and taken off its last tenth, so that the bar is about everything else; the rows show what it weighs with
them, and what one weighs.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from agents import case_log
from agents.case_log import Marker
from agents.shelf import Shelf
from schemas.envelope import fingerprint
from tests.bench.child import Child, _family, result_of
from tests.bench.cluster import Cluster
from tests.bench.recorded import EVENTS_PER_CASE, FOLLOWED, TOPIC
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.resident import resident
from tests.bench.sides import AIOKAFKA, create_topics, fresh_group
from tests.bench.statistics import ratios, spread

NAME = "memory"
PUBLISHER, CONSUMER, WORKER = "publisher", "consumer", "worker"
MOST = 1.1
_BETWEEN = 0.65  # of the run, from the middle of the early samples to that of the late ones
_MB = 1e6
_WEIGHED = 10_000  # markers
_POLL_S = 0.2
_GIVE_UP_S = 60.0  # without one more follow-up


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Run publisher, consumer and worker one after the other over the same events, `rounds` times.

    Raises:
        Void: when a process failed or stands still.
    """
    create_topics(cluster)
    early: dict[str, list[float]] = {PUBLISHER: [], CONSUMER: [], WORKER: []}
    late: dict[str, list[float]] = {PUBLISHER: [], CONSUMER: [], WORKER: []}
    for number in range(rounds):
        for name, weights in _run(cluster, events - events % 100):
            early[name].append(median(weights[25:35]) / _MB)
            late[name].append(median(weights[-10:]) / _MB)
            seen = f"{early[name][-1]:.0f} MB at three tenths, {late[name][-1]:.0f} MB in the last tenth"
            say(f"memory {number + 1}/{rounds} {name}: {seen}")
    rows, bars = judged(early, late, closed=events * _BETWEEN / EVENTS_PER_CASE, marker=marker_bytes())
    return Report(NAME, f"{events} events; ratio of the last tenth to three tenths of the run", rows, bars)


def judged(
    early: Mapping[str, Sequence[float]], late: Mapping[str, Sequence[float]], *, closed: float, marker: float
) -> tuple[list[Row], list[Bar]]:
    """Rows and bars of all processes.

    Args:
        early, late: MB per round, by process.
        closed: how many cases end between the two.
        marker: bytes of the marker of one.
    """
    rows, bars = [], []
    for name, found in late.items():
        aside = closed * marker / _MB if name == WORKER else 0.0
        steady = spread(ratios([weight - aside for weight in found], early[name]))
        rows.append(Row(f"{name}, at three tenths", "MB", spread(early[name])))
        rows.append(Row(f"{name}, in the last tenth", "MB", spread(found), spread(ratios(found, early[name]))))
        what = f"{name} without markers" if aside else name
        bars.append(Bar(f"{what}, last tenth over three tenths", steady.median, MOST, at_least=False))
    kept = [(after - before) * _MB / closed for before, after in zip(early[WORKER], late[WORKER], strict=True)]
    rows.append(Row(f"{WORKER}, more per closed case", "bytes", spread(kept)))
    rows.append(Row("a marker", "bytes", spread([marker])))
    return rows, bars


def marker_bytes() -> float:
    """What the marker of a case of this load takes in a worker: its bytes, its key and its timer."""
    shelf = Shelf()
    tracemalloc.start()
    for number in range(_WEIGHED):
        applied = tuple(fingerprint(TOPIC, f"{number}-{event}") for event in range(EVENTS_PER_CASE))
        marker = Marker("0" * 64, applied, 1_800_000_000_000_000 + number)
        case_id = f"mem-01234567-00-case-{number:06d}"
        shelf.put(case_id, {case_id.encode(): case_log.pack(marker)}, marker)
    found, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return found / _WEIGHED


def _run(cluster: Cluster, events: int) -> Iterator[tuple[str, Sequence[int]]]:
    """Name and memory after each hundredth of the events, process by process."""
    group = fresh_group(cluster, AIOKAFKA)
    cluster.begin_at_end(group, TOPIC)
    words = [cluster.bootstrap, str(events)]
    yield PUBLISHER, json.loads(result_of("tests.bench.publisher_memory", words))
    yield CONSUMER, json.loads(result_of("tests.bench.consumer_memory", words))
    yield WORKER, _worker(cluster, group, events)


def _worker(cluster: Cluster, group: str, events: int) -> list[int]:
    before = sum(cluster.ends(FOLLOWED).values())
    weights: list[int] = []
    with AIOKAFKA.start(cluster, group) as child:
        moved, seen = time.monotonic(), 0
        while len(weights) < 100:
            time.sleep(_POLL_S)
            child.check()
            done = sum(cluster.ends(FOLLOWED).values()) - before
            weights += [_weight(child)] * (done * 100 // events - len(weights))
            if done > seen:
                moved, seen = time.monotonic(), done
            elif time.monotonic() - moved > _GIVE_UP_S:
                raise child.failed(f"no new follow-up for {_GIVE_UP_S:.0f} s; {done} of {events}")
    return weights


def _weight(child: Child) -> int:
    """The worker with its supervisor."""
    return sum(resident(pid) for pid in _family(child._process.pid))

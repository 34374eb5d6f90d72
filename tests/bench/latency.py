"""Latency: from the call of publish to the follow-up consumed, event by event, at a steady rate.

Called by `tests.bench.__main__`. Publisher, broker, worker and consumer share the machine, as a small agency's do. The
traps it avoids: a publisher that waits for the last event before it sends the next (it would hide the queue it
causes), and a percentile over the events that happened to come back (all of them must).
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import aiokafka

from bus.message import Record
from bus.wiring import connect_async
from tests.bench import recorded
from tests.bench.cluster import PARTITIONS, Cluster
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.sides import AIOKAFKA, FAUST, PLAIN_FAUST, Side, create_topics, fresh_group
from tests.bench.statistics import Void, percentile, spread

NAME = "latency"
SECONDS = 5.0
RATES = {FAUST: (100, 500), PLAIN_FAUST: (100,), AIOKAFKA: (100, 500)}
TARGET = 3.0
_LATE_S = 60.0
_WARM_UP = 20

Publish = Callable[[], Awaitable[object]]


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Run every side at its rates `rounds` times, interleaved. `events` is not used: the time is fixed.

    Raises:
        Void: when a follow-up is missing.
    """
    del events
    create_topics(cluster)
    found: dict[tuple[Side, int], list[list[float]]] = {}
    for number in range(rounds):
        for side, rates in RATES.items():
            group = fresh_group(cluster, side)
            cluster.begin_at_end(group, side.source)
            with side.start(cluster, group):
                asyncio.run(_drive(cluster.bootstrap, side, rate=50, count=_WARM_UP))
                for rate in rates:
                    times = asyncio.run(_drive(cluster.bootstrap, side, rate=rate, count=int(rate * SECONDS)))
                    found.setdefault((side, rate), []).append(times)
                    p50, p99 = percentile(times, 50), percentile(times, 99)
                    say(f"latency {number + 1}/{rounds} {side.name} at {rate}/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    return Report(NAME, f"publish called -> follow-up consumed, {SECONDS:g} s at each rate", *_figures(found))


def _figures(found: dict[tuple[Side, int], list[list[float]]]) -> tuple[list[Row], list[Bar]]:
    rows = [
        Row(f"{side.name}, {rate}/s, p{percent}", "ms", spread([percentile(times, percent) for times in runs]))
        for (side, rate), runs in found.items()
        for percent in (50, 99)
    ]
    bars = []
    for side in (FAUST, AIOKAFKA):
        slow, fast = (found[side, rate] for rate in RATES[side])
        growth = [percentile(b, 50) / percentile(a, 50) for a, b in zip(slow, fast, strict=True)]
        bars.append(Bar(f"{side.name}, p50 at 500/s over p50 at 100/s", spread(growth).median, TARGET, at_least=False))
    return rows, bars


async def _drive(bootstrap: str, side: Side, *, rate: int, count: int) -> list[float]:
    """Publish `count` events at `rate`; milliseconds until each one's follow-up. Raises Void when one is missing."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([aiokafka.TopicPartition(side.target, number) for number in range(PARTITIONS)])
    await consumer.seek_to_end()
    await asyncio.gather(*(consumer.position(place) for place in consumer.assignment()))
    called: dict[str, float] = {}
    seen: dict[str, float] = {}
    watching = asyncio.create_task(_watch(consumer, seen, count))
    try:
        run = f"lat-{uuid.uuid4().hex[:8]}"
        publish = _typed if side is not PLAIN_FAUST else _plain
        await publish(bootstrap, run, count, rate, called)
        await asyncio.wait_for(watching, _LATE_S)
    except TimeoutError:
        raise Void(f"{side.name} at {rate}/s: {len(called) - len(seen)} of {count} unanswered in time") from None
    finally:
        watching.cancel()
        await consumer.stop()
    return [(seen[event_id] - moment) * 1000 for event_id, moment in called.items()]


async def _watch(consumer: Any, seen: dict[str, float], count: int) -> None:
    while len(seen) < count:
        for found in (await consumer.getmany(timeout_ms=1_000)).values():
            now = time.perf_counter()
            for r in found:
                record = Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
                seen.setdefault(recorded.answered(record), now)


async def _typed(bootstrap: str, run: str, count: int, rate: int, called: dict[str, float]) -> None:
    async with connect_async(agency="replay", bootstrap=bootstrap) as bus:
        calls = [
            (event_id, partial(bus.publish, event, case=case, id=event_id, time=moment))
            for case, event_id, moment, event in recorded.events(count, run=run)
        ]
        await _steadily(calls, rate, called)


async def _plain(bootstrap: str, run: str, count: int, rate: int, called: dict[str, float]) -> None:
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    calls = [
        (json.loads(value)["id"], partial(producer.send_and_wait, recorded.PLAIN_TOPIC, key=key, value=value))
        for key, value in recorded.plain(count, run=run)
    ]
    await _steadily(calls, rate, called)
    await producer.stop()


async def _steadily(calls: Sequence[tuple[str, Publish]], rate: int, called: dict[str, float]) -> None:
    """Start one call every 1/rate seconds, whether or not the ones before have come back."""
    tasks: list[asyncio.Future[object]] = []
    begin = time.perf_counter()
    for number, (event_id, publish) in enumerate(calls):
        pause = begin + number / rate - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        called[event_id] = time.perf_counter()
        tasks.append(asyncio.ensure_future(publish()))
    await asyncio.gather(*tasks)

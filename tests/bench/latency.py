"""Latency: from the call of publish to the follow-up consumed, event by event, at a steady rate.

Called by `tests.bench.__main__`. Publisher, broker, worker and consumer share the machine, as a small agency's do. Our
hosts then climb a ladder of rates until the first at which they fall behind. The traps it avoids: a publisher that
waits for the last event before it sends the next (it would hide the queue it causes), a percentile over the events that
happened to come back (all of them must), and a rate that the publisher itself did not reach.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import aiokafka

from bus.event_loop import new_event_loop
from bus.message import Receipt, Record
from bus.publish import Publication
from bus.wiring import connect_async
from tests.bench import recorded
from tests.bench.cluster import PARTITIONS, Cluster
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.sides import AIOKAFKA, FAUST, PLAIN_FAUST, Side, create_topics, fresh_group
from tests.bench.statistics import Void, percentile, spread

NAME = "latency"
SECONDS = 5.0
RATES = {FAUST: (100, 500), PLAIN_FAUST: (100,), AIOKAFKA: (100, 500)}
HOSTS = (FAUST, AIOKAFKA)
LADDER = (1_000, 2_000, 4_000, 8_000)  # above the rates every host is measured at
TARGET = 3.0
LONGEST_MS = 1_000.0  # a median above it is no tail
_NOISE_MS = 100.0  # a median below it has not grown, whatever it was before
_REACHED = 0.95  # of the rate, by the publisher
_LATE_S = 60.0
_WARM_UP = 20
_AT_ONCE = 400  # below the 500 of a turn of the publisher

T = TypeVar("T")


class Driven(NamedTuple):
    """What came of one rate.

    Args:
        times: milliseconds from publish to follow-up, in the order of publishing.
        per_second: how fast the publisher really was.
    """

    times: list[float]
    per_second: float

    def tails(self) -> bool:
        """Whether the follower keeps up: half of all come back within a second, those of the end as those before."""
        third = len(self.times) // 3
        early, late = percentile(self.times[:third], 50), percentile(self.times[-third:], 50)
        return percentile(self.times, 50) < LONGEST_MS and late <= max(2 * early, _NOISE_MS)


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Run every side at its rates `rounds` times, interleaved. `events` is not used: the time is fixed.

    Raises:
        Void: when a follow-up is missing.
    """
    del events
    create_topics(cluster)
    found: dict[tuple[Side, int], list[list[float]]] = {}
    highest: dict[Side, list[float]] = {side: [] for side in HOSTS}
    for number in range(rounds):
        say(f"latency {number + 1}/{rounds}")
        for side, rates in RATES.items():
            group = fresh_group(cluster, side)
            cluster.begin_at_end(group, side.source)
            with side.start(cluster, group):
                _run(_drive(cluster.bootstrap, side, rate=50, count=_WARM_UP))
                drive = partial(_told, cluster.bootstrap, side, say)
                fixed = {rate: drive(rate) for rate in rates}
                for rate, driven in fixed.items():
                    found.setdefault((side, rate), []).append(driven.times)
                if side in HOSTS:
                    highest[side].append(climb(chain(fixed.items(), ((rate, drive(rate)) for rate in LADDER))))
    return Report(NAME, f"publish called -> follow-up consumed, {SECONDS:g} s at each rate", *_figures(found, highest))


def climb(steps: Iterable[tuple[int, Driven]]) -> int:
    """The highest rate that tails; steps are taken up to the first that does not, or is not reached. 0 if none does."""
    best = 0
    for rate, driven in steps:
        if not driven.tails() or driven.per_second < _REACHED * rate:
            break
        best = rate
    return best


def _run(driving: Coroutine[Any, Any, Driven]) -> Driven:
    """Drive on the faster loop: what measures shares the machine with what is measured."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(driving)


def _told(bootstrap: str, side: Side, say: Say, rate: int) -> Driven:
    driven = _run(_drive(bootstrap, side, rate=rate, count=int(rate * SECONDS)))
    p50, p99 = percentile(driven.times, 50), percentile(driven.times, 99)
    verdict = "tails" if driven.tails() else "falls behind"
    reached = f"{driven.per_second:.0f}/s reached"
    say(f"latency {side.name} at {rate}/s ({reached}): p50 {p50:.1f} ms, p99 {p99:.1f} ms, {verdict}")
    return driven


def _figures(
    found: dict[tuple[Side, int], list[list[float]]], highest: dict[Side, list[float]]
) -> tuple[list[Row], list[Bar]]:
    rows = [
        Row(f"{side.name}, {rate}/s, p{percent}", "ms", spread([percentile(times, percent) for times in runs]))
        for (side, rate), runs in found.items()
        for percent in (50, 99)
    ]
    rows += [Row(f"{side.name}, highest rate that tails", "events/s", spread(rates)) for side, rates in highest.items()]
    bars = []
    for side in HOSTS:
        slow, fast = (found[side, rate] for rate in RATES[side])
        growth = [percentile(b, 50) / percentile(a, 50) for a, b in zip(slow, fast, strict=True)]
        bars.append(Bar(f"{side.name}, p50 at 500/s over p50 at 100/s", spread(growth).median, TARGET, at_least=False))
    return rows, bars


async def _drive(bootstrap: str, side: Side, *, rate: int, count: int) -> Driven:
    """Publish `count` events at `rate` and wait for each one's follow-up. Raises Void when one is missing."""
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
    begin, *_, end = called.values()
    return Driven(
        [(seen[event_id] - moment) * 1000 for event_id, moment in called.items()], (count - 1) / (end - begin)
    )


async def _watch(consumer: Any, seen: dict[str, float], count: int) -> None:
    while len(seen) < count:
        for found in (await consumer.getmany(timeout_ms=1_000)).values():
            now = time.perf_counter()
            for r in found:
                record = Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
                seen.setdefault(recorded.answered(record), now)


async def _typed(bootstrap: str, run: str, count: int, rate: int, called: dict[str, float]) -> None:
    async with connect_async(agency="replay", bootstrap=bootstrap) as bus:

        async def publish(due: Sequence[Publication]) -> None:
            for result in await bus.publish_all(due):
                if not isinstance(result, Receipt):
                    raise result

        said = [(one.id or "", one) for one in recorded.publications(count, run=run)]
        await _steadily(said, publish, rate, called)


async def _plain(bootstrap: str, run: str, count: int, rate: int, called: dict[str, float]) -> None:
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()

    async def publish(due: Sequence[tuple[bytes, bytes]]) -> None:
        await asyncio.gather(*(producer.send_and_wait(recorded.PLAIN_TOPIC, key=key, value=v) for key, v in due))

    said = [(json.loads(value)["id"], (key, value)) for key, value in recorded.plain(count, run=run)]
    await _steadily(said, publish, rate, called)
    await producer.stop()


async def _steadily(
    said: Sequence[tuple[str, T]],
    publish: Callable[[Sequence[T]], Awaitable[None]],
    rate: int,
    called: dict[str, float],
) -> None:
    """Publish what is due, one event every 1/rate seconds, whether or not the ones before have come back.

    Several are due at once only where the loop turns more slowly than they come. Of these a call gets `_AT_ONCE` at
    most: longer calls of `publish_all` that run side by side take turns, and the end of a case would pass its middle.
    """
    tasks: list[asyncio.Future[None]] = []
    begin = time.perf_counter()
    done = 0
    while done < len(said):
        due = min(len(said), int((time.perf_counter() - begin) * rate) + 1, done + _AT_ONCE)
        if due > done:
            called.update(dict.fromkeys((event_id for event_id, _ in said[done:due]), time.perf_counter()))
            tasks.append(asyncio.ensure_future(publish([one for _, one in said[done:due]])))
            done = due
        await asyncio.sleep(max(0.0, begin + done / rate - time.perf_counter()))
    await asyncio.gather(*tasks)

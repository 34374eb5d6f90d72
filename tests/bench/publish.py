"""What typed publishing costs beside bare clients: one interleaved run, medians, JSON on stdout.

Run by hand: ``python -m tests.bench.publish HOST:PORT [--events N] [--rounds N]``. Not a test: it asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from bus.clock import SystemClock
from bus.message import Receipt
from bus.ports import TopicState
from bus.publish import Publication, Publisher
from bus.transport.kafka import KafkaTransport
from schemas.birth import BirthNotified
from schemas.catalogue import standard
from schemas.codec import Codec
from tests.bus.payloads import VALID

TOPIC = "health.birth.notified.v1"


async def typed(bootstrap: str, count: int) -> float:
    """Ours: validated events, Avro, envelope, each acknowledged, many in flight."""
    producer = KafkaTransport(bootstrap=bootstrap).producer()
    await producer.start()
    catalogue = standard()
    publisher = Publisher(producer, Codec(catalogue), catalogue, agency="health", clock=SystemClock())
    raw = json.dumps(VALID["birth.notified"])
    await publisher.publish(BirthNotified.model_validate_json(raw), case="warm")
    start = time.perf_counter()
    outcomes = await publisher.publish_all(
        Publication(event=BirthNotified.model_validate_json(raw), case=f"case-{i % 1000}", id=str(i))
        for i in range(count)
    )
    took = time.perf_counter() - start
    assert all(isinstance(o, Receipt) for o in outcomes)
    await publisher.close()
    await producer.stop()
    return count / took


async def bare_aiokafka(bootstrap: str, count: int) -> float:
    """aiokafka `send` of ready bytes, acks=all, all futures awaited."""
    import aiokafka

    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    value, headers = b"x" * 150, [("ce_id", b"1" * 32)] * 8
    start = time.perf_counter()
    sent = [await producer.send(TOPIC, value, key=b"case-%d" % (i % 1000), headers=headers) for i in range(count)]
    await asyncio.gather(*sent)
    took = time.perf_counter() - start
    await producer.stop()
    return count / took


async def bare_kafka_python(bootstrap: str, count: int) -> float:
    """kafka-python `send` of ready bytes, acks=all, flushed."""
    import kafka

    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    value, headers = b"x" * 150, [("ce_id", b"1" * 32)] * 8
    start = time.perf_counter()
    for i in range(count):
        producer.send(TOPIC, value, key=b"case-%d" % (i % 1000), headers=headers)
    producer.flush()
    took = time.perf_counter() - start
    producer.close()
    return count / took


CASES: dict[str, Callable[[str, int], Awaitable[float]]] = {
    "typed": typed,
    "aiokafka_send": bare_aiokafka,
    "kafka_python_send": bare_kafka_python,
}


def _fresh(bootstrap: str, name: str, events: int) -> tuple[float, float]:
    """One measurement in a process of its own: our C checksum must not speed up the bare kafka-python."""
    words = [sys.executable, "-m", "tests.bench.publish", bootstrap, "--events", str(events), "--case", name]
    rate, spent = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return rate, spent


def main() -> None:
    """Run the rounds and print medians and ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", choices=CASES, help="Measure this one in this process.")
    given = parser.parse_args()
    if given.case:
        before = time.process_time()
        run: Any = CASES[given.case](given.bootstrap, given.events)
        rate: float = asyncio.run(run)
        print(json.dumps([rate, (time.process_time() - before) / given.events * 1e6]))  # noqa: T201  # the result
        return
    admin = KafkaTransport(bootstrap=given.bootstrap).admin()
    if TOPIC not in admin.topics():
        admin.create(TopicState(TOPIC, 6, 1, {"message.timestamp.type": "LogAppendTime"}))
    admin.close()
    found: dict[str, list[float]] = {name: [] for name in CASES}
    cpu: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(given.rounds):
        for name in CASES:
            rate, spent = _fresh(given.bootstrap, name, given.events)
            found[name].append(rate)
            cpu[name].append(spent)
    medians = {name: round(statistics.median(rates)) for name, rates in found.items()}
    document: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "events_per_second": medians,
        "cpu_us_per_event": {name: round(statistics.median(spent), 1) for name, spent in cpu.items()},
        "typed_over_kafka_python": round(medians["typed"] / medians["kafka_python_send"], 2),
        "typed_over_aiokafka": round(medians["typed"] / medians["aiokafka_send"], 2),
    }
    print(json.dumps(document))  # noqa: T201  # the result


if __name__ == "__main__":
    main()

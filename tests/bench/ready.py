"""The records our publisher would store, made beforehand. Called by the `send_*` programs and where a runner is fed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bus.clock import SystemClock
from bus.message import Outgoing
from bus.publish import Publication, Publisher
from bus.transport.kafka_producer import KafkaProducer
from schemas.codec import Codec
from tests.bench import recorded
from tests.bench.wide import wider


def composed(said: Iterable[Publication], agency: str) -> Iterator[Outgoing]:
    """Key, value and headers of events, exactly as ours, each made when it is asked for."""
    catalogue = wider()
    publisher = Publisher(
        KafkaProducer("127.0.0.1:1"), Codec(catalogue), catalogue, agency=agency, clock=SystemClock()
    )  # never started: only its record building is used
    for one in said:
        yield publisher._compose(one)[3]


def records(events: int, run: str) -> list[Outgoing]:
    """So many small events."""
    return list(composed(recorded.publications(events, run=run), "replay"))

"""The records our publisher would store, made beforehand, for the bare clients. Called by the `send_*` programs."""

from __future__ import annotations

from bus.clock import SystemClock
from bus.message import Outgoing
from bus.publish import Publisher
from bus.transport.kafka_producer import KafkaProducer
from schemas.catalogue import standard
from schemas.codec import Codec
from tests.bench import recorded


def records(events: int, run: str) -> list[Outgoing]:
    """Key, value and headers of `events` events, exactly as ours."""
    codec = Codec(standard())
    publisher = Publisher(
        KafkaProducer("127.0.0.1:1"), codec, standard(), agency="replay", clock=SystemClock()
    )  # never started: only its record building is used
    return [publisher._compose(said)[3] for said in recorded.publications(events, run=run)]

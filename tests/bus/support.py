"""What several bus tests share: a tiny contract, a codec that writes JSON, and a publisher over memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from bus.message import Headers
from bus.publish import Publisher
from bus.testing import ManualClock
from bus.transport.memory import MemoryCluster
from schemas.catalogue import Catalogue
from schemas.errors import Poison
from schemas.event import Event, PersonalData

E = TypeVar("E", bound=Event)
TOPIC = "portal.note.written.v1"


class NoteWritten(Event, contract="note.written", agencies=("portal", "justice"), personal_data=PersonalData.NONE):
    """A note, for tests."""

    text: str
    """What it says."""


class Foreign(Event, contract="note.lost", agencies=("portal",), personal_data=PersonalData.NONE):
    """A contract that no test catalogue knows."""


CATALOGUE = Catalogue([NoteWritten])


class PlainCodec:
    """JSON behind a Confluent frame: readable in a failing test, and quick."""

    def encode(self, event: Event) -> bytes:
        if getattr(event, "text", "") == "unwritable":
            raise Poison("text: cannot be written")
        return b"\0\0\0\0\7" + event.model_dump_json().encode()

    def schema_id(self, model: type[Event]) -> int:
        return 7

    def decode(self, value: bytes, model: type[E], headers: Headers = ()) -> E:
        try:
            return model.model_validate_json(value[5:])
        except ValueError as error:
            raise Poison("not a note") from error


@asynccontextmanager
async def publisher_on(
    cluster: MemoryCluster, *, agency: str = "portal", deadline_s: float = 5.0, queued: int = 10_000
) -> AsyncIterator[Publisher]:
    producer = cluster.producer()
    publisher = Publisher(
        producer, PlainCodec(), CATALOGUE, agency=agency, clock=ManualClock(), deadline_s=deadline_s, queued=queued
    )
    yield publisher
    await publisher.close()

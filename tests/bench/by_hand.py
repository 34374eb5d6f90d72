"""One event read and answered with fastavro and pydantic alone, as a careful user writes it without our SDK.

Imported by the peers (the confluent loops, `faststream_batch`, `quix`), so that they do the same work as our worker:
the same bytes in, checked, the same follow-up out, checked. Nothing of ours is imported: a peer may run in an
environment of its own. The traps it avoids: a value of another schema read as this one, bytes left over that nobody
looked at, and an event that its contract does not allow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
from pydantic import BaseModel

from tests.bench import by_hand_models as models

_HERE = Path(__file__).parent
_CONTRACTS = _HERE.parents[1] / "schemas" / "avsc"


class Work(NamedTuple):
    """What is followed.

    Args:
        topic, answers: where from and where to. source: of the answers, in their envelope.
        reads, writes: files of the two schemas. heard, said: the two contracts.
        noted: the field whose last value is kept of a case.
    """

    topic: str
    answers: str
    source: bytes
    reads: Path
    writes: Path
    heard: type[BaseModel]
    said: type[BaseModel]
    noted: str


WORKS = {
    "small": Work(
        "replay.activity.recorded.v1",
        "replay.activity.followed.v1",
        b"/agencies/replay/workflows/by-hand",
        _CONTRACTS / "activity.recorded.v1.avsc",
        _CONTRACTS / "activity.followed.v1.avsc",
        models.Recorded,
        models.Followed,
        "activity",
    ),
    "wide": Work(
        "bench.bench.wide.v1",
        "bench.bench.answered.v1",
        b"/agencies/bench/workflows/by-hand",
        _HERE / "wide.avsc",
        _HERE / "answered.avsc",
        models.Wide,
        models.Wide,
        "subject",
    ),
}


class Told(NamedTuple):
    """An event with what its envelope says; `noted` is what is kept of it."""

    id: str
    case: bytes
    headers: dict[str, bytes]
    event: BaseModel
    noted: str


class ByHand:
    """Reads events and writes follow-ups.

    Args:
        work: what is followed, by its name in `WORKS`.
        heard, said: ids of the two schemas, as a registry would tell them.
    """

    def __init__(self, work: str, heard: int, said: int) -> None:
        self.work = WORKS[work]
        self._heard, self._said = _prefix(heard), _prefix(said)
        self._reads, self._writes = (_schema(path) for path in (self.work.reads, self.work.writes))
        self._fields = tuple(self.work.said.model_fields)
        self._type = self.work.answers.encode()
        self._dataschema = f"agencybus:/schemas/ids/{said}".encode()

    def read(self, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> Told:
        """Decode one record.

        Raises:
            ValueError: it is of another schema, bytes are left over, or its contract does not allow it.
            KeyError: its envelope lacks an attribute.
        """
        if not value.startswith(self._heard):
            raise ValueError("the value is not of the schema of the events followed")
        body = BytesIO(value)
        body.seek(len(self._heard))
        event = self.work.heard.model_validate(fastavro.schemaless_reader(body, self._reads, None))
        if body.tell() != len(value):
            raise ValueError("bytes are left over behind the event")
        told = dict(headers)
        return Told(told["ce_id"].decode(), key, told, event, getattr(event, self.work.noted))

    def answer(self, told: Told) -> tuple[bytes, list[tuple[str, bytes]]]:
        """Value and headers of the follow-up. Its id follows from the event's: sent again, it is the same event.

        Raises:
            ValueError: its contract does not allow it.
        """
        out = BytesIO()
        out.write(self._said)
        said = self.work.said(**{name: getattr(told.event, name) for name in self._fields})
        fastavro.schemaless_writer(out, self._writes, said.model_dump())
        cause = told.headers["ce_id"]
        return out.getvalue(), [
            ("ce_specversion", b"1.0"),
            ("content-type", b"application/avro"),
            ("ce_id", cause + b"-followed"),
            ("ce_source", self.work.source),
            ("ce_type", self._type),
            ("ce_time", told.headers["ce_time"]),
            ("ce_dataschema", self._dataschema),
            ("ce_correlationid", told.headers["ce_correlationid"]),
            ("ce_causationid", cause),
        ]


def _prefix(schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big")


def _schema(path: Path) -> Any:
    return fastavro.parse_schema(json.loads(path.read_text()))

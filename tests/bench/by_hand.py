"""One recorded event read and answered with fastavro alone, as a careful user writes it without our SDK.

Imported by the peers (the confluent loops, `faststream_batch`, `quix`), so that they do the same work as our worker:
the same bytes in, the same follow-up out. Nothing of ours is imported: a peer may run in an environment of its own.
The traps it avoids: a value of another schema read as this one, and bytes left over that nobody looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import fastavro

TOPIC, FOLLOWED = "replay.activity.recorded.v1", "replay.activity.followed.v1"
_CONTRACTS = Path(__file__).parents[2] / "schemas" / "avsc"
_SOURCE = b"/agencies/replay/workflows/by-hand"


class Told(NamedTuple):
    """A recorded event with what its envelope says."""

    id: str
    case: bytes
    headers: dict[str, bytes]
    event: dict[str, Any]


class ByHand:
    """Reads recorded events and writes follow-ups.

    Args:
        recorded, followed: ids of the two schemas, as a registry would tell them.
    """

    def __init__(self, recorded: int, followed: int) -> None:
        self.followed = followed
        self._recorded, self._followed = _prefix(recorded), _prefix(followed)
        self._reads, self._writes = _contract("activity.recorded.v1"), _contract("activity.followed.v1")
        self._dataschema = f"agencybus:/schemas/ids/{followed}".encode()

    def read(self, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> Told:
        """Decode one record.

        Raises:
            ValueError: it is of another schema, or bytes are left over.
            KeyError: its envelope lacks an attribute.
        """
        if not value.startswith(self._recorded):
            raise ValueError("the value is not of the schema of recorded events")
        body = BytesIO(value)
        body.seek(len(self._recorded))
        event = fastavro.schemaless_reader(body, self._reads, None)
        if body.tell() != len(value):
            raise ValueError("bytes are left over behind the event")
        told = dict(headers)
        return Told(told["ce_id"].decode(), key, told, event)

    def answer(self, told: Told) -> tuple[bytes, list[tuple[str, bytes]]]:
        """Value and headers of the follow-up. Its id follows from the event's: sent again, it is the same event."""
        out = BytesIO()
        out.write(self._followed)
        event = told.event
        said = {name: event[name] for name in ("run", "activity", "sequence", "last")}
        fastavro.schemaless_writer(out, self._writes, said)
        cause = told.headers["ce_id"]
        return out.getvalue(), [
            ("ce_specversion", b"1.0"),
            ("content-type", b"application/avro"),
            ("ce_id", cause + b"-followed"),
            ("ce_source", _SOURCE),
            ("ce_type", FOLLOWED.encode()),
            ("ce_time", told.headers["ce_time"]),
            ("ce_dataschema", self._dataschema),
            ("ce_correlationid", told.headers["ce_correlationid"]),
            ("ce_causationid", cause),
        ]


def _prefix(schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big")


def _contract(name: str) -> Any:
    return fastavro.parse_schema(json.loads((_CONTRACTS / f"{name}.avsc").read_text()))

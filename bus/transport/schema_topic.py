"""Schemas on Kafka itself: the compacted topic `_schemas` in the Confluent record format.

Written by `topics apply` (a reviewed act), read whole by every client at start, so that no registry service stands in
the data path; other registries can take the topic over. The traps it avoids: key fields in another order than
Confluent's, which compaction takes for another key, and two schemas under one id (ids are derived from the content).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bus.errors import Refused
from bus.message import Outgoing, Partition
from bus.ports import Reader
from schemas.avro import canonical

TOPIC = "_schemas"
PLACE = Partition(TOPIC, 0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registered:
    """One version of a subject.

    Args:
        subject: ``<topic>-value``.
        version: from 1, per subject.
        id: the schema id in the frame of a value.
        schema: the parsed Avro schema.
    """

    subject: str
    version: int
    id: int
    schema: dict[str, Any]


def subject_of(topic: str) -> str:
    """The subject of a topic's values (Confluent's TopicNameStrategy)."""
    return f"{topic}-value"


def record_of(entry: Registered) -> Outgoing:
    """The record of one version, as Confluent's registry writes it (SchemaKey and SchemaValue, compact JSON)."""
    key = {"keytype": "SCHEMA", "subject": entry.subject, "version": entry.version, "magic": 1}
    schema = json.dumps(entry.schema, ensure_ascii=False, separators=(",", ":"))
    value = {"subject": entry.subject, "version": entry.version, "id": entry.id, "schema": schema, "deleted": False}
    return Outgoing(_json(key), _json(value))


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class SchemaTopic:
    """Reads and extends `_schemas`.

    Args:
        reader: reads by position.
        append: stores records and returns after the replicated ack; only `register` needs it.
    """

    def __init__(self, reader: Reader, append: Callable[[Partition, Sequence[Outgoing]], int] | None = None) -> None:
        self._reader = reader
        self._append = append

    def read_all(self) -> dict[int, dict[str, Any]]:
        """Every schema by id, deleted versions included (old records still need theirs); empty without the topic."""
        return {entry.id: entry.schema for entry in self._versions()}

    def registered(self) -> dict[str, frozenset[int]]:
        """The ids registered per subject; empty without the topic."""
        found: dict[str, set[int]] = {}
        for entry in self._versions():
            found.setdefault(entry.subject, set()).add(entry.id)
        return {subject: frozenset(ids) for subject, ids in found.items()}

    def register(self, topic: str, schema: dict[str, Any], schema_id: int) -> int:
        """Make `schema` the newest version of the topic's values; return the version. Registered already: no change.

        Args:
            topic: whose values it describes.
            schema: as `schemas.avro.schema_of` gives it.
            schema_id: 31 bits of its content.

        Raises:
            Refused: the id stands for another schema already (a collision of 31 bits: rename a field or the record).
            ValueError: this was made for reading only.
        """
        subject = subject_of(topic)
        newest = 0
        for entry in self._versions():
            same = canonical(entry.schema) == canonical(schema)
            if entry.id == schema_id and not same:
                raise Refused(
                    f"Schema id {schema_id} of {subject} already stands for a schema of {entry.subject}.",
                    field="schema",
                    remedy="Change the record's name or a field's, so that its content gives another id.",
                )
            if entry.subject == subject:
                if same and entry.id == schema_id:
                    return entry.version
                newest = max(newest, entry.version)
        if self._append is None:
            raise ValueError("this SchemaTopic was made for reading only")
        self._append(PLACE, [record_of(Registered(subject, newest + 1, schema_id, schema))])
        return newest + 1

    def _versions(self) -> Iterator[Registered]:
        """The live versions in log order; the last record of a key counts, a tombstone takes it away."""
        try:
            self._reader.partitions(TOPIC)
        except Refused:
            return
        start, end = self._reader.bounds([PLACE])[PLACE]
        live: dict[tuple[str, int], Registered] = {}
        for record in self._reader.read(PLACE, start, end):
            try:
                key = json.loads(record.key or b"null")
                if not isinstance(key, dict) or key.get("keytype") != "SCHEMA":
                    continue  # NOOP, CONFIG, MODE, DELETE_SUBJECT: a registry's own business
                place = (str(key["subject"]), int(key["version"]))
                if record.value is None:
                    live.pop(place, None)
                    continue
                value = json.loads(record.value)
                if value.get("schemaType", "AVRO") == "AVRO":
                    live[place] = Registered(*place, int(value["id"]), json.loads(value["schema"]))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                _log.warning("%s offset %d is no schema record: %s", TOPIC, record.offset, type(error).__name__)
        yield from live.values()

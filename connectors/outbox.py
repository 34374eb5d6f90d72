"""The outbox: an agency writes its event into its own database, in the transaction of the fact it tells of.

Called by agencies' programs and the example agency; `connectors.relay` publishes what is committed. Event and envelope
are checked and encoded here, so a wrong event fails in the agency's transaction, not hours later in the relay; no
broker is needed. The traps it avoids: a fact without its event or an event without its fact, and the order trap: two
transactions on one case take their places in one order and commit in the other. On PostgreSQL `add` holds a lock per
case from the place to the commit; SQLite has one writer anyway. So per case the order of `seq` is the order of commits.

The columns are those of Debezium's outbox event router (id, aggregatetype, aggregateid, type, payload), so that it can
read the table as well; the others are the envelope's and the relay's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    func,
    select,
)

from bus.clock import SystemClock
from bus.compose import Composer, Publication
from bus.errors import Refused
from bus.message import Message, Outgoing
from bus.ports import Clock
from connectors.database import insert_new
from schemas.catalogue import Catalogue, standard
from schemas.codec import Codec
from schemas.envelope import Envelope, from_headers, parse_time, to_headers
from schemas.event import Event

MAX_ID = 512  # characters; an index entry of PostgreSQL holds 2,704 bytes
_OPTIONAL = ("correlationid", "causationid", "partitionkey", "purpose", "legalbasis", "dataschema", "traceparent")


def outbox_table(metadata: MetaData, *, name: str = "outbox") -> Table:
    """The outbox in `metadata`; create it with the agency's other tables, or let a migration do so.

    Args:
        metadata: the agency's.
        name: of the table.

    Columns: ``seq`` the place in line; ``id`` the event's; ``aggregatetype`` and ``type`` the topic; ``aggregateid``
    the record key (the case); ``payload`` the framed Avro bytes; ``source`` to ``traceparent`` the envelope;
    ``retry_at`` and ``refusal`` the relay's: until when (milliseconds since 1970) a refused row waits, and why.
    """
    place = BigInteger().with_variant(Integer, "sqlite")
    return Table(
        name,
        metadata,
        Column("seq", place, Identity(), primary_key=True),
        Column("id", String(MAX_ID), nullable=False, unique=True),
        Column("aggregatetype", String(255), nullable=False),
        Column("aggregateid", Text, nullable=False),
        Column("type", String(255), nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("source", Text, nullable=False),
        Column("time", String(32), nullable=False),
        *(Column(attribute, Text) for attribute in _OPTIONAL),
        Column("retry_at", BigInteger),
        Column("refusal", String(255)),
        sqlite_autoincrement=True,  # else a place is given twice once the table was empty
    )


def row_of(topic: str, key: bytes, record: Outgoing) -> dict[str, Any]:
    """The column values of a composed record; `record_of` is the way back."""
    envelope = from_headers(record.headers)
    headers = dict(record.headers)
    return {
        "id": envelope.id,
        "aggregatetype": topic,
        "aggregateid": key.decode(),
        "type": envelope.type,
        "payload": record.value,
        "source": envelope.source,
        "time": (headers["ce_time"] or b"").decode(),  # the text itself, so that the relay sends the same bytes
        **{attribute: getattr(envelope, attribute) for attribute in _OPTIONAL},
    }


def record_of(row: Any) -> Outgoing:
    """The record of a row of the table, byte for byte what `add` composed.

    Args:
        row: with the table's columns as attributes.

    Raises:
        ValueError: `time` is none. EnvelopeRefused: an attribute is too long. (Someone else wrote the row.)
    """
    envelope = Envelope(
        id=row.id,
        source=row.source,
        type=row.type,
        time=parse_time(row.time),
        **{attribute: getattr(row, attribute) for attribute in _OPTIONAL},
    )
    return Outgoing(row.aggregateid.encode(), bytes(row.payload), tuple(to_headers(envelope)))


class Outbox:
    """Writes one agency's events into its outbox table. Safe for several threads; needs no broker.

    Args:
        metadata: the agency's; gets the table.
        agency: in whose name.
        name: of the table.
        catalogue: other event types than the standard ones.
        clock: gives the time of events that name none; default the system's.
    """

    def __init__(
        self,
        metadata: MetaData,
        *,
        agency: str,
        name: str = "outbox",
        catalogue: Catalogue | None = None,
        clock: Clock | None = None,
    ) -> None:
        known = catalogue or standard()
        self.table = outbox_table(metadata, name=name)
        self._composer = Composer(Codec(known), known, agency=agency, clock=clock or SystemClock())

    def add(
        self,
        connection: Connection,
        event: Event,
        *,
        case: str | None = None,
        key: str | None = None,
        caused_by: Envelope | Message | None = None,
        id: str | None = None,  # noqa: A002  # CloudEvents' own word
        time: datetime | None = None,
        purpose: str | None = None,
        legalbasis: str | None = None,
        traceparent: str | None = None,
    ) -> str:
        """Write one event into the caller's transaction and return its id. Arguments: see `bus.compose.Publication`.

        An event that waits already under the same id and with the same content is left as it is.

        Raises:
            Refused: the event, its agency or its case breaks a rule; roll back.
            DBAPIError: the database's own.
        """
        said = Publication(
            event=event,
            case=case,
            key=key,
            caused_by=caused_by,
            id=id,
            time=time,
            purpose=purpose,
            legalbasis=legalbasis,
            traceparent=traceparent,
        )
        return self.add_all(connection, [said])[0]

    def add_all(self, connection: Connection, publications: Iterable[Publication]) -> list[str]:
        """Write several; their ids, in the order given.

        A transaction that tells of several cases adds them all at once: the cases are locked in one order for
        everybody, so two of them never wait for each other. PostgreSQL keeps such locks in memory; a few thousand cases
        in one transaction are the most.

        Args:
            connection: inside the caller's transaction.
            publications: what to say.

        Raises:
            Refused, DBAPIError: as `add`; nothing is to be committed then.
        """
        rows = [self._row(said) for said in publications]
        if connection.dialect.name == "postgresql":
            for key in sorted({_lock_of(self.table.name, row["aggregateid"]) for row in rows}):
                connection.execute(select(func.pg_advisory_xact_lock(key)))
        for row in rows:
            if not insert_new(connection, self.table, row, unique=["id"]):
                self._check_same(connection, row)
        return [row["id"] for row in rows]

    def _row(self, said: Publication) -> dict[str, Any]:
        topic, key, event_id, record = self._composer.compose(said)
        if len(event_id) > MAX_ID:
            raise Refused(f"{topic}: the id is longer than {MAX_ID} characters.", field="id")
        return row_of(topic, key, record)

    def _check_same(self, connection: Connection, row: dict[str, Any]) -> None:
        """Refuse a second content under an id that waits; losing it silently would lose a fact."""
        there = self.table.c
        waiting = select(there.aggregatetype, there.payload).where(there.id == row["id"])
        found = connection.execute(waiting).first()
        if found is not None and (found.aggregatetype, bytes(found.payload)) != (row["aggregatetype"], row["payload"]):
            raise Refused(
                f"{row['aggregatetype']}: another event waits under the id {row['id']}.",
                field="id",
                remedy="Give each event an id of its own, or none.",
            )


def _lock_of(table: str, aggregate: str) -> int:
    """The advisory lock of an aggregate: 64 bits of SHA-256, signed. Two that collide only wait for each other."""
    return int.from_bytes(sha256(f"{table}\0{aggregate}".encode()).digest()[:8], "big", signed=True)

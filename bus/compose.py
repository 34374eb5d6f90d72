"""What is said becomes a record: checked, encoded, in its envelope, before anything is sent.

Called by `bus.publish` for what goes out at once and by `connectors.outbox` for what an agency writes into its own
database first. The trap it avoids: two ways from an event to its bytes, so that what a database holds is found wrong
only when it is to be sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from bus.errors import Refused
from bus.message import Message, Outgoing
from bus.ports import Clock
from schemas import names
from schemas.catalogue import Catalogue
from schemas.envelope import SOURCE_PREFIX, Envelope, Letterhead, format_time, to_us
from schemas.errors import EnvelopeRefused, NameRefused, SchemaSideError
from schemas.event import Event

SCHEMA_PREFIX = "agencybus:/schemas/ids/"  # CloudEvents asks for an absolute URI; its last part is the schema id
_FRAME = 5  # zero byte and schema id before the payload; not part of what an event says


class Encoder(Protocol):
    """The part of `schemas.codec.Codec` a publisher needs."""

    def encode(self, event: Event) -> bytes:
        """The Confluent frame of `event`. Raises a `SchemaSideError`."""
        ...

    def schema_id(self, model: type[Event]) -> int:
        """The id of the schema `model` is written with."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """An event with what is said about it; the arguments of `Publisher.publish` as a value, for `publish_all`.

    Args:
        event: the typed event.
        case: the case id; default is the case of `caused_by`.
        key: the record key when it is not the case id; no personal data.
        caused_by: the event that led to this one.
        id: unique per source; default is `content_id`, so publishing the same content twice is harmless.
        time: when the fact happened, aware; default now.
        purpose: why the data may be read. legalbasis: the article it rests on.
        traceparent: W3C trace context.
    """

    event: Event
    case: str | None = None
    key: str | None = None
    caused_by: Envelope | Message | None = None
    id: str | None = None
    time: datetime | None = None
    purpose: str | None = None
    legalbasis: str | None = None
    traceparent: str | None = None


def content_id(topic: str, key: str, time: datetime | None, value: bytes) -> str:
    """The id of an event that was given none: 32 hex digits of SHA-256 over topic, key, time (if given) and payload.

    Two publications of one content are one event; give a time or an id to say the same thing twice.

    Args:
        topic: the record's.
        key: the record's.
        time: the one given, aware.
        value: the frame; its schema id is left out.
    """
    stamp = format_time(time) if time else ""
    return sha256(b"\0".join((topic.encode(), key.encode(), stamp.encode(), value[_FRAME:]))).hexdigest()[:32]


class Composer:
    """Composes the records of one agency. Safe for several threads.

    Args:
        codec: encodes events.
        catalogue: which types exist.
        agency: in whose name; only its own topics are composed for.
        clock: gives the time of events that name none.
    """

    def __init__(self, codec: Encoder, catalogue: Catalogue, *, agency: str, clock: Clock) -> None:
        self._codec = codec
        self._catalogue = catalogue
        self._agency = names.agency(agency)
        self._clock = clock
        self._types: dict[type[Event], tuple[str, Letterhead]] = {}

    def compose(self, said: Publication) -> tuple[str, bytes, str, Outgoing]:
        """Topic, key, event id and record of a publication.

        Args:
            said: what is to be published.

        Raises:
            Refused: naming the field that breaks a rule.
        """
        topic, letterhead = self._type(type(said.event))
        cause = said.caused_by.envelope if isinstance(said.caused_by, Message) else said.caused_by
        case = said.case or (cause.correlationid if cause else None)
        key = said.key or case
        if key is None:
            raise Refused(f"{topic}: name the case this event belongs to, or a key.", field="case")
        try:
            key_bytes = key.encode()
        except UnicodeEncodeError:
            raise Refused(f"{topic}: the key holds half a character: a lone surrogate.", field="key") from None
        try:
            if case is not None:
                names.case_id(case)
            value = self._codec.encode(said.event)
        except SchemaSideError as error:
            raise Refused(f"{topic}: {error}.", field="case" if isinstance(error, NameRefused) else "data") from error
        if said.time is not None and said.time.tzinfo is None:
            raise Refused(f"{topic}: the time has no zone.", field="time")
        event_id = said.id or content_id(topic, key, said.time, value)
        try:
            headers = letterhead.headers(
                id=event_id,
                at=to_us(said.time or self._clock.now()),
                case=case,
                cause=cause.id if cause else None,
                partitionkey=key if key != case else None,
                purpose=said.purpose,
                legalbasis=said.legalbasis,
                traceparent=said.traceparent,
            )
        except EnvelopeRefused as error:
            raise Refused(f"{topic}: {error}.", field=error.field.removeprefix("ce_")) from error
        return topic, key_bytes, event_id, Outgoing(key_bytes, value, headers)

    def _type(self, model: type[Event]) -> tuple[str, Letterhead]:
        """Topic and letterhead of a model, checked once per model."""
        found = self._types.get(model)
        if found is None:
            if model not in self._catalogue:
                raise Refused(f"{model.__name__} is not in the catalogue.", field="type")
            try:
                topic = model.topic(self._agency)
                schema = f"{SCHEMA_PREFIX}{self._codec.schema_id(model)}"
                letterhead = Letterhead(source=SOURCE_PREFIX + self._agency, type=topic, dataschema=schema)
                found = self._types[model] = (topic, letterhead)
            except SchemaSideError as error:
                raise Refused(f"{error}.", field="type") from error
        return found

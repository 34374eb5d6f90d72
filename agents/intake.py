"""From a stored record to an arrival the machine can take; what cannot be read goes to the dead letters.

Called by the runner for every record of a unit. The trap it avoids: a bad record must neither stop the partition nor
be skipped in silence, so every refusal carries its stage and reason, and never the payload's text.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agents.extract import Extract
from agents.graph import Graph, Json
from agents.machine import Arrival
from bus.message import Record, Unreadable
from bus.middleware.retry import Kind, classify
from bus.partitioner import partition_for
from schemas import names
from schemas.catalogue import Catalogue, EventType
from schemas.codec import Codec
from schemas.envelope import Envelope, fingerprint, from_headers, to_us
from schemas.errors import EnvelopeRefused, SchemaSideError

_log = logging.getLogger(__name__)
_MOST_HOMES = 16_384  # 3 MB


class Dead(NamedTuple):
    """A record for the dead letters: where it failed, the name of the error (never its text), whose fault it is."""

    record: Record
    stage: str
    error: str
    kind: Kind
    redrive: int = 0


def passing(error: Exception) -> bool:
    """Whether an error says nothing about the event at hand: the process ends, and the event is taken again (F7)."""
    return isinstance(error, MemoryError) or classify(error) is Kind.UNREACHABLE


class Broken(Exception):
    """Reading an event met a bug of ours, not a fault of its bytes: its case has to wait.

    Args:
        case: the case id. error: class name of what was raised.
    """

    def __init__(self, case: str, error: str) -> None:
        super().__init__(f"case {case}: {error}")
        self.case = case
        self.error = error


Read = Arrival | Broken | list[Dead]
"""What a record comes to: an event, a case that has to wait, a dead letter, or (an empty list) nothing of this run."""


class Intake:
    """Reads the records of one process.

    Args:
        graph: the process; its time mode says which time counts.
        catalogue, codec: the event types and their bytes.
        extracts: by topic, the function that takes the fields the process needs.
        partitions: of the topics it reads; a case must stand where its key belongs, or its events never meet.
        prefix: only cases whose id begins with it are taken; others belong to another run on the same topic.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        catalogue: Catalogue,
        codec: Codec,
        extracts: Mapping[str, Extract],
        partitions: int,
        prefix: str = "",
    ) -> None:
        self._partitions = partitions
        self._event_time = graph.time == "event"
        self._codec = codec
        self._types = {topic: catalogue.topic(topic) for topic in graph.listens}
        self._extracts = extracts
        self._prefix = prefix.encode()
        self._homes: dict[str, int] = {}

    def read_all(self, records: Sequence[Record]) -> list[Read]:
        """What each record comes to.

        All are taken through one stage before the next begins: the same instructions as one by one, and a sixth less
        time on wide events, since each stage's code and data stay at hand. Where one record cannot be read, each is
        read alone, which says whose fault it is.
        """
        if not self._prefix:
            try:
                return [*self._together(records)]
            except Exception as error:  # whose fault it is, each alone says
                if passing(error):
                    raise
        return [self._alone(record) for record in records]

    def _together(self, records: Sequence[Record]) -> list[Arrival]:
        """The arrivals of records that are all good. Raises what the first fault is."""
        types = [self._types[record.topic] for record in records]
        envelopes = [self._envelope(record, known) for record, known in zip(records, types, strict=True)]
        fields = self._codec.decode_fields(
            [(record.value, known.model, record.headers) for record, known in zip(records, types, strict=True)]
        )
        values = [self._extracts[record.topic](one) for record, one in zip(records, fields, strict=True)]
        return [self._arrival(*one) for one in zip(records, envelopes, values, strict=True)]

    def _alone(self, record: Record) -> Read:
        dead: list[Dead] = []
        try:
            arrival = self.read(record, dead)
        except Broken as broken:
            return broken
        return dead if arrival is None else arrival

    def read(self, record: Record, dead: list[Dead]) -> Arrival | None:
        """The arrival, or None when the record is another run's or went to `dead`.

        Args:
            record: as stored.
            dead: takes what cannot be read.

        Raises:
            Broken: decoding, or taking the fields out, met a bug; the case is known.
        """
        if isinstance(record.value, Unreadable):  # before the prefix: whose it is cannot be told
            _alarm(record, record.value)
            dead.append(Dead(record, "batch", record.value.reason, Kind.INVALID))
            return None
        if self._prefix and not (record.key or b"").startswith(self._prefix):
            return None
        known = self._types.get(record.topic)
        if known is None:  # a letter of a topic that an older version of the process listened to
            dead.append(Dead(record, "type", "NotListened", Kind.REFUSED))
            return None
        try:
            envelope = self._envelope(record, known)
        except Exception as error:  # a bug too: without an envelope there is no case to park
            if passing(error):
                raise
            kind = Kind.INVALID if isinstance(error, SchemaSideError) else Kind.BUG
            dead.append(Dead(record, "envelope", type(error).__name__, kind))
            return None
        case = envelope.correlationid or ""
        try:
            event = self._codec.decode(record.value or b"", known.model, record.headers)
            values = self._extracts[record.topic](vars(event))
        except SchemaSideError as error:
            dead.append(Dead(record, "decode", type(error).__name__, Kind.INVALID))
            return None
        except Exception as error:
            if passing(error):
                raise
            raise Broken(case, type(error).__name__) from error
        return self._arrival(record, envelope, values)

    def _arrival(self, record: Record, envelope: Envelope, values: dict[str, Json]) -> Arrival:
        return Arrival(
            envelope.correlationid or "",
            record.topic,
            record.partition,
            record.offset,
            fingerprint(envelope.source, envelope.id),
            envelope.id,
            to_us(envelope.time) if self._event_time else record.timestamp * 1_000,
            values,
        )

    def _envelope(self, record: Record, known: EventType) -> Envelope:
        envelope = from_headers(record.headers)
        known.accept(envelope)
        case = envelope.correlationid or ""
        if record.key != case.encode():
            raise EnvelopeRefused("ce_correlationid", "is missing or is not the record key")
        home = self._homes.get(case)  # not `lru_cache`: its order of use costs more than the look
        if record.partition != (self._home(case) if home is None else home):
            raise EnvelopeRefused("key", "belongs to another partition than the one it stands on")
        return envelope

    def _home(self, case: str) -> int:
        """The partition of a case's records, kept: a case has several events. Raises NameRefused."""
        names.case_id(case)  # the case log's own keys begin with `!`, which no case id may
        if len(self._homes) >= _MOST_HOMES:
            self._homes.clear()
        home = self._homes[case] = partition_for(case.encode(), self._partitions)
        return home


def _alarm(record: Record, value: Unreadable) -> None:
    """Bytes that no client can parse come from a broken or hostile producer: somebody must look."""
    _log.error(
        "%s[%d] offsets %d to %d are a dead letter: %s cannot be parsed (%s)",
        record.topic,
        record.partition,
        value.first,
        value.last,
        value.scope,
        value.reason,
    )

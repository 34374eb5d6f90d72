"""What moves: a stored record, a record to be stored, a place in a topic, and a typed delivery.

Plain frozen values; everything in `bus` speaks these and no client library's own classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from schemas.envelope import Envelope
from schemas.event import Event

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of one topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it came off a topic.

    Args:
        timestamp: milliseconds since 1970; the broker's append time on bus topics.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be appended. The broker stamps the time."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an event is stored on enough replicas."""

    topic: str
    partition: int
    offset: int
    id: str


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded record: who said what, and where it stands."""

    event: Event
    envelope: Envelope
    record: Record

    @property
    def case(self) -> str | None:
        """The case the event belongs to."""
        return self.envelope.correlationid

    @property
    def time(self) -> datetime:
        """When the fact happened."""
        return self.envelope.time

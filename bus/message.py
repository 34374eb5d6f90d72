"""What moves: a stored record, a record to be stored, a place in a topic, and a typed delivery.

Plain frozen values; everything in `bus` speaks these and no client library's own classes. Structs, since one is made
for every record: a frozen dataclass takes 1.9 us, a struct 0.1, and none of them can be part of a reference cycle.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple, Self

from msgspec import Struct

from schemas.envelope import Envelope
from schemas.errors import Poison
from schemas.event import Event

Headers = tuple[tuple[str, bytes | None], ...]


class Partition(NamedTuple):
    """One partition of one topic; a tuple, since every turn of a worker looks many of them up."""

    topic: str
    number: int


class Unreadable(bytes):
    """Raw bytes that stand as `Record.value` where the client could not parse a record, or a whole batch.

    Such a record's offset is `last`, its key is None and it has no headers: the next offset to read follows from it as
    from any other record.

    Args:
        raw: what stands on the topic; of a batch its header too.
        reason: why, as one word of `bus.transport.splitter`; never a part of the bytes.
        scope: how much of the topic the bytes are.
        first: offset of the first record in them. last: of the last.
    """

    reason: str
    scope: Literal["record", "batch"]
    first: int
    last: int

    def __new__(cls, raw: bytes, *, reason: str, scope: Literal["record", "batch"], first: int, last: int) -> Self:
        """Mark `raw`."""
        self = super().__new__(cls, raw)
        self.reason = reason
        self.scope = scope
        self.first = first
        self.last = last
        return self


class UnreadableRecord(Poison):
    """A record that the client could not parse; its letter is of stage ``batch`` and names the reason.

    Args:
        value: what stands in its place.
    """

    def __init__(self, value: Unreadable) -> None:
        super().__init__(f"{value.scope} of offsets {value.first} to {value.last}: {value.reason}")
        self.reason = value.reason


class Record(Struct, frozen=True, gc=False):
    """A record as it came off a topic.

    Args:
        timestamp: milliseconds since 1970; the broker's append time on bus topics.
        value: `Unreadable` where the client could not parse it.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Outgoing(Struct, frozen=True, gc=False):
    """A record to be appended. The broker stamps the time."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Receipt(NamedTuple):
    """Proof that an event is stored on enough replicas; a tuple, since a publisher of many hands out as many."""

    topic: str
    partition: int
    offset: int
    id: str


class Message(Struct, frozen=True):
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

"""What stands aside: the entries and commands of ``<group>.parked``, and their bytes.

Called by `bus.parked_store` for subscriptions, by `agents.runner` for workflows (whose entries stand in the case log)
and by the commands `parked` and `dlq`; `bus.middleware.lanes` says what follows from the rows. Pure. An entry of a
record on partition n stands on partition n. The traps it avoids: a copy that loses a byte of the original (null values
and headers that are no text included), and a row of a newer program that an older one takes for damage.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeInt, ValidationError

from bus.errors import Refused
from bus.message import Record
from bus.middleware.dead_letter import ROOM, Failure
from bus.middleware.retry import Kind

SUFFIX = ".parked"
QUEUED = "queued"  # stage of an entry that did not fail: it stands behind one that did
_VERSION = 2  # not 1: rows stand in case logs too, where 0.1.0 reads 1 as a case and must see that it is none
_NO_VERSION = 32  # text begins here: such bytes are damage, not a format yet to come
_LENGTH = struct.Struct(">BI")  # version, bytes of the JSON head
_COMMAND = b"!"  # no topic begins with it, so no entry's key does


def parked_topic(group: str) -> str:
    """The topic of a consumer group's parked entries."""
    return group + SUFFIX


class Mode(StrEnum):
    """What waits with an entry."""

    KEY = "key"  # later records of its key queue behind it
    ALONE = "alone"  # nothing: a delayed retry where order does not matter


class Damaged(ValueError):
    """The bytes of a row are none of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A record that stands aside.

    Args:
        record: the original, with its own topic, partition and offset.
        failure: why; of an entry that only queues behind another, stage `QUEUED` and the cause of that one.
        mode: what waits with it.
        due: aware time from which it is tried again by itself; None: once an operator releases its key.
        redrive: how often it came back from the dead letters.
        action: the operator's action that brought it back.
    """

    record: Record
    failure: Failure
    mode: Mode = Mode.KEY
    due: datetime | None = None
    redrive: int = 0
    action: str | None = None

    @property
    def queued(self) -> bool:
        """Whether it only waits behind another entry of its key."""
        return self.failure.stage == QUEUED


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What an operator wants done with the failed entries of a key; those that queue behind them go on by themselves.

    Args:
        id: the operator's action. do: ``release`` has them tried again, ``drop`` makes dead letters of them.
        topic: of the records; None is every topic. key: theirs.
        by: who said so. at: when, aware.
    """

    id: str
    do: Literal["release", "drop"]
    topic: str | None
    key: bytes
    by: str
    at: datetime


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _FailureHead(_Head):
    stage: str
    kind: Kind
    error: str
    attempt: int
    first: AwareDatetime
    last: AwareDatetime


class _EntryHead(_Head):
    topic: str
    partition: int
    offset: int
    timestamp: int
    failure: _FailureHead
    mode: Mode
    due: AwareDatetime | None
    redrive: int
    action: str | None
    key: NonNegativeInt | None  # bytes behind the head, as are the next ones
    value: NonNegativeInt | None
    headers: list[tuple[NonNegativeInt, NonNegativeInt | None]]


class _CommandHead(_Head):
    do: Literal["release", "drop"]
    topic: str | None
    key: str  # hexadecimal
    by: str
    at: AwareDatetime


def place_key(record: Record, action: str | None = None) -> bytes:
    """The row key of an entry of `record`: its place, and the action that brought it back, if one did."""
    said = [record.topic, str(record.partition), str(record.offset), *([action] if action else [])]
    return "\0".join(said).encode()


def entry_key(entry: Entry) -> bytes:
    """The row key of an entry."""
    return place_key(entry.record, entry.action)


def pack(entry: Entry) -> bytes:
    """The bytes of an entry: version, JSON head, then key, value and headers of the original as they were."""
    record, failure = entry.record, entry.failure
    names = [name.encode("utf-8", "surrogatepass") for name, _ in record.headers]
    head = _EntryHead(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        failure=_FailureHead(
            stage=failure.stage,
            kind=failure.kind,
            error=failure.error,
            attempt=failure.attempt,
            first=failure.first,
            last=failure.last,
        ),
        mode=entry.mode,
        due=entry.due,
        redrive=entry.redrive,
        action=entry.action,
        key=_size(record.key),
        value=_size(record.value),
        headers=[(len(name), _size(value)) for name, (_, value) in zip(names, record.headers, strict=True)],
    ).model_dump_json()
    parts = [record.key or b"", record.value or b""]
    for name, (_, value) in zip(names, record.headers, strict=True):
        parts += [name, value or b""]
    raw = head.encode()
    return b"".join([_LENGTH.pack(_VERSION, len(raw)), raw, *parts])


def unpack(value: bytes) -> Entry:
    """The entry of `pack`'s bytes.

    Raises:
        Refused: a newer version wrote them. Damaged: they are no entry.
    """
    raw, at = _opened(value)
    try:
        head = _EntryHead.model_validate_json(raw)
    except ValidationError:
        raise Damaged("the head is not an entry's") from None
    tail = _Tail(value, at)
    key, body = tail.take(head.key), tail.take(head.value)
    try:
        headers = tuple((tail.need(n).decode("utf-8", "surrogatepass"), tail.take(v)) for n, v in head.headers)
    except UnicodeDecodeError:
        raise Damaged("a header's name is no text") from None
    tail.end()
    told = head.failure
    return Entry(
        record=Record(head.topic, head.partition, head.offset, head.timestamp, key, body, headers),
        failure=Failure(
            stage=told.stage,
            kind=told.kind,
            error=told.error,
            attempt=told.attempt,
            first=told.first.astimezone(UTC),
            last=told.last.astimezone(UTC),
        ),
        mode=head.mode,
        due=None if head.due is None else head.due.astimezone(UTC),
        redrive=head.redrive,
        action=head.action,
    )


def fits(entry: Entry) -> bool:
    """Whether a producer takes the row: a record near the topic's limit leaves no room for the head."""
    return len(pack(entry)) + len(entry_key(entry)) <= ROOM


def command_key(command: Command) -> bytes:
    """The row key of a command."""
    return _COMMAND + command.id.encode()


def is_command(row_key: bytes) -> bool:
    """Whether a row is a command, not an entry."""
    return row_key.startswith(_COMMAND)


def pack_command(command: Command) -> bytes:
    """The bytes of a command; its id is the row's key."""
    head = _CommandHead(
        do=command.do, topic=command.topic, key=command.key.hex(), by=command.by, at=command.at
    ).model_dump_json()
    raw = head.encode()
    return _LENGTH.pack(_VERSION, len(raw)) + raw


def unpack_command(row_key: bytes, value: bytes) -> Command:
    """The command of a row.

    Raises:
        Refused: a newer version wrote it. Damaged: it is no command.
    """
    raw, at = _opened(value)
    try:
        head = _CommandHead.model_validate_json(raw)
        key, name = bytes.fromhex(head.key), row_key.removeprefix(_COMMAND).decode()
    except ValueError:  # pydantic's errors are too
        raise Damaged("the row is no command") from None
    _Tail(value, at).end()
    return Command(id=name, do=head.do, topic=head.topic, key=key, by=head.by, at=head.at.astimezone(UTC))


def _size(value: bytes | None) -> int | None:
    return None if value is None else len(value)


def _opened(value: bytes) -> tuple[bytes, int]:
    """The JSON head and where it ends."""
    if value[:1] and _VERSION < value[0] < _NO_VERSION:
        raise Refused(
            f"A parked row is of format {value[0]}; this program knows formats up to {_VERSION}.",
            field="parked",
            remedy="Run the newer version of agencybus here too.",
        )
    if len(value) < _LENGTH.size or value[0] != _VERSION:
        raise Damaged("the row is too short")
    end = _LENGTH.size + _LENGTH.unpack_from(value)[1]
    if end > len(value):
        raise Damaged("the row is cut short")
    return value[_LENGTH.size : end], end


class _Tail:
    """The bytes behind the head, taken piece by piece."""

    def __init__(self, value: bytes, at: int) -> None:
        self._value = value
        self._at = at

    def need(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._value):
            raise Damaged("the row is cut short")
        return self._value[start : self._at]

    def take(self, size: int | None) -> bytes | None:
        return None if size is None else self.need(size)

    def end(self) -> None:
        if self._at != len(self._value):
            raise Damaged("the row is longer than it says")

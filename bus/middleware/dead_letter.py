"""Puts a record that cannot be handled on ``<group>.dead``, bytes unchanged, with where and why in headers.

Called by `bus.pipeline` for the SDK's subscriptions, by `bus.core` which assembles them, and by `agents.outputs` for
workflows. A letter's identity is its ``dead_id``. The traps it avoids: losing the original bytes or headers (a redrive
needs both), personal data in an error text (only names and positions are written), acknowledging before the dead letter
is stored, and a record so large that its dead letter is refused, which would stop its readers for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from bus.message import Outgoing, Partition, Record, Unreadable
from bus.middleware.retry import Kind
from bus.partitioner import partition_for
from schemas.envelope import format_time, from_ms

SUFFIX = ".dead"
PREFIX = "dead_"
ROOM = 950_000  # bytes of a record that fit into a letter; what producers take (`transport.rules`) less our headers
_LONGEST_KEY = 1024  # far beyond a case id


def dead_topic(group: str) -> str:
    """The dead-letter topic of a consumer group."""
    return group + SUFFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is told of a failed record.

    Args:
        stage: where it failed. ``batch`` (the client could not parse it), ``envelope`` (headers), ``type`` (no such
            event), ``decode`` (the value); then, in the SDK, ``handler``; in a workflow ``case`` (no step takes it) or
            ``emit`` (what would follow cannot be built).
        kind: see `Kind`.
        error: class name of the error; of stage ``batch`` the splitter's reason, of ``case`` the machine's (``late``,
            ``unopened``, ``unexpected``, ...), of ``emit`` the field at fault. Never an error's text, which may quote
            the payload.
        attempt: the try that failed last, from 1.
        first: when it was first tried. last: when it was given up.
    """

    stage: str
    kind: Kind
    error: str
    attempt: int
    first: datetime
    last: datetime


def place_of(record: Record, *, group: str, partitions: int) -> Partition:
    """Where the dead letter of `record` belongs: by its key, so that a case's letters stay in order on one partition.

    Args:
        record: what could not be handled; its own partition says nothing when a wrong client chose it.
        group: the consumer group.
        partitions: of the group's dead-letter topic.
    """
    return Partition(dead_topic(group), partition_for(record.key or b"", partitions))


def letter_id(record: Record, *, group: str, redrive: int = 0) -> str:
    """The identity of a dead letter, 16 hex digits: the same when a crash has it written twice; readers fold the two.

    Args:
        record: the original.
        group: the consumer group that gave it up.
        redrive: how often it had been redriven before.
    """
    said = (group, record.topic, str(record.partition), str(record.offset), str(redrive))
    return sha256("\0".join(said).encode()).hexdigest()[:16]


def dead_record(record: Record, failure: Failure, *, group: str, redrive: int = 0) -> Outgoing:
    """The dead letter of `record`: key, value and headers as they were, our ``dead_`` headers after them.

    A record that leaves no room for ours (up to 1,048,588 bytes reach a topic, far more when compressed) is left where
    it stands: its letter has no value and no headers of it, no key beyond 1 KiB, and says so in ``dead_left_out``.
    What the client could not parse also tells ``dead_scope``, ``dead_first_offset`` and ``dead_last_offset``.

    Args:
        record: the one that failed.
        failure: what is told of it.
        group: the consumer group that gave it up.
        redrive: how often it had been redriven before.
    """
    told = {
        "id": letter_id(record, group=group, redrive=redrive),
        "group": group,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "appended": format_time(from_ms(record.timestamp)),
        "stage": failure.stage,
        "kind": failure.kind.value,
        "error": failure.error,
        "attempt": str(failure.attempt),
        "first": format_time(failure.first),
        "last": format_time(failure.last),
    }
    if redrive:
        told["redrive"] = str(redrive)
    if isinstance(record.value, Unreadable):
        told |= {
            "scope": record.value.scope,
            "first_offset": str(record.value.first),
            "last_offset": str(record.value.last),
        }
    ours = tuple((PREFIX + name, text.encode()) for name, text in told.items())
    size = _size(record)
    if size <= ROOM:
        return Outgoing(record.key, None if record.value is None else bytes(record.value), record.headers + ours)
    key = record.key if len(record.key or b"") <= _LONGEST_KEY else None
    return Outgoing(key, None, (*ours, (PREFIX + "left_out", str(size).encode())))


def _size(record: Record) -> int:
    """An upper bound of the record's bytes; a header name is UTF-8, up to 4 bytes a character."""
    headers = sum(10 + 4 * len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """Writes dead letters of one group.

    Args:
        group: the consumer group.
        append: stores records and returns after the replicated ack; raises what a `Producer` raises.
        partitions: how many partitions the dead-letter topic has (it is asked when the first letter is written).
    """

    group: str
    append: Callable[[Partition, Sequence[Outgoing]], int]
    partitions: Callable[[str], int]

    def write(self, record: Record, failure: Failure, *, redrive: int = 0) -> Partition:
        """Store the dead letter; only then may the record be acknowledged. Returns where it stands.

        Args:
            record: as it was read.
            failure: what is told of it.
            redrive: how often it had been redriven before.
        """
        place = place_of(record, group=self.group, partitions=self.partitions(dead_topic(self.group)))
        self.append(place, [dead_record(record, failure, group=self.group, redrive=redrive)])
        return place

"""What every transport refuses, in the same words: sizes, missing topics, missing partitions.

Called by the memory and the Kafka producer and reader. The trap it avoids: a twin that accepts what Kafka refuses
makes tests green that production turns red.
"""

from __future__ import annotations

from collections.abc import Sequence

from bus.errors import Refused
from bus.message import Outgoing

BATCH_BYTES = 1_000_000  # below the broker's default max.message.bytes of 1,048,588
_RECORD_OVERHEAD = 36  # varints of length, offset, time, key, value and header count, and the attributes (format v2)
_BATCH_OVERHEAD = 61  # header of a record batch (format v2)


def record_bytes(record: Outgoing) -> int:
    """An upper bound of the bytes `record` takes in a batch."""
    headers = record.headers
    # a header name is UTF-8: up to 4 bytes a character
    size = 10 * len(headers) + sum([len(name) * 4 + len(value or b"") for name, value in headers])
    return _RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b"") + size


def check_sizes(records: Sequence[Outgoing], *, limit: int = BATCH_BYTES) -> None:
    """Refuse a record that no batch of `limit` bytes can hold.

    Raises:
        Refused: naming both sizes. ValueError: when there is no record at all.
    """
    if not records:
        raise ValueError("append needs at least one record")
    for record in records:
        check_size(record_bytes(record), limit=limit)


def check_size(size: int, *, limit: int = BATCH_BYTES) -> None:
    """Refuse a record of `size` bytes (see `record_bytes`) that no batch of `limit` bytes can hold.

    Raises:
        Refused: naming both sizes.
    """
    if size + _BATCH_OVERHEAD > limit:
        raise Refused(
            f"The record is {size:,} bytes with its headers; the limit is {limit:,}.",
            field="record",
            remedy="Publish a reference to the document instead of its content.",
        )


def no_topic(topic: str) -> Refused:
    """The one sentence for a topic that is not there."""
    return Refused(
        f"There is no topic {topic} on this cluster.",
        field="topic",
        remedy="Create the topics of the topology file with `agencybus topics apply`.",
    )


def no_partition(topic: str, number: int) -> Refused:
    """The one sentence for a partition number beyond the topic's."""
    return Refused(f"{topic} has no partition {number}.", field="partition")

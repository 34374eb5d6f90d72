"""Reads Kafka by position, without a group: lag, case trace, recovery, the schema topic.

Called wherever the place in the topic is already known. The trap it avoids: a compacted or transactional log has
holes, so a read ends at a position, never after a count of records.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from bus.message import Partition, Record
from bus.transport.kafka_client import asked, options, translated, unreachable
from bus.transport.rules import no_topic

_POLL_MS = 500
_POLL_RECORDS = 5_000
_STALL_S = 30.0  # no progress for this long means the leader does not answer
_FETCH_BYTES = 8 * 1024 * 1024  # a whole-topic read is bound by round trips with the default of 1 MiB


def to_record(found: Any) -> Record:
    """A kafka-python ConsumerRecord as ours."""
    return Record(
        topic=found.topic,
        partition=found.partition,
        offset=found.offset,
        timestamp=found.timestamp,
        key=found.key,
        value=found.value,
        headers=tuple(found.headers),
    )


class KafkaReader:
    """The `Reader` port on Kafka; one thread.

    Args:
        bootstrap: ``host:port``, several joined by commas.
        client_id: shown in the broker's logs and quotas.

    Raises:
        Unreachable: no broker answers.
    """

    def __init__(self, bootstrap: str, *, client_id: str = "agencybus") -> None:
        import kafka

        self._bootstrap = bootstrap
        self._turn: object = None  # which `read` the one consumer is positioned for
        self._tp = kafka.TopicPartition
        with translated(bootstrap, "connect"):
            self._consumer = kafka.KafkaConsumer(
                **options(bootstrap, client_id),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                max_partition_fetch_bytes=_FETCH_BYTES,
            )

    def partitions(self, topic: str) -> int:
        """How many partitions `topic` has. Raises Refused when there is no such topic."""
        found = asked(self._bootstrap, f"describe {topic}", lambda: self._consumer.partitions_for_topic(topic))
        if not found:
            raise no_topic(topic)
        return len(found)

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """First stored offset and end offset per partition (the last stable offset where transactions are open)."""
        places = {self._tp(p.topic, p.number): p for p in partitions}
        first = asked(self._bootstrap, "read bounds", lambda: self._consumer.beginning_offsets(list(places)))
        end = asked(self._bootstrap, "read bounds", lambda: self._consumer.end_offsets(list(places)))
        return {p: (first[tp], end[tp]) for tp, p in places.items()}

    def read(self, partition: Partition, start: int, end: int) -> Iterator[Record]:
        """Records with start <= offset < end, in order; holes of compaction are passed over.

        Several reads may be taken turn by turn.

        Args:
            partition: to read.
            start: first offset.
            end: the offset after the last.

        Raises:
            Unreachable: the leader is silent for 30 s.
        """
        place = self._tp(partition.topic, partition.number)
        turn = object()
        at = start
        last_progress = time.monotonic()
        while at < end:
            before = at
            with translated(self._bootstrap, f"read {partition.topic}"):
                if self._turn is not turn:
                    self._consumer.assign([place])
                    self._consumer.seek(place, at)
                    self._turn = turn
                found = self._consumer.poll(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS).get(place, ())
                reached = self._consumer.position(place)
            for record in found:
                if record.offset >= end:
                    return
                at = record.offset + 1
                yield to_record(record)
            if self._turn is turn and reached is not None:
                at = max(at, reached)
            if at > before:
                last_progress = time.monotonic()
            elif time.monotonic() - last_progress > _STALL_S:
                raise unreachable(self._bootstrap, f"{partition.topic}[{partition.number}] is silent at {at}")

    def at_time(self, partitions: Sequence[Partition], ms: int) -> dict[Partition, int]:
        """First offset whose timestamp is >= `ms` (milliseconds since 1970); the end offset when there is none."""
        places = {self._tp(p.topic, p.number): p for p in partitions}
        times = dict.fromkeys(places, ms)
        found = asked(self._bootstrap, "look up times", lambda: self._consumer.offsets_for_times(times))
        end = asked(self._bootstrap, "look up times", lambda: self._consumer.end_offsets(list(places)))
        result = {}
        for tp, p in places.items():
            hit = found.get(tp)
            result[p] = end[tp] if hit is None or hit.offset < 0 else hit.offset
        return result

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close(autocommit=False)

"""Reads Kafka by position, without a group: lag, case trace, recovery, the schema topic.

Called wherever the place in the topic is already known. The traps it avoids: a compacted or transactional log has
holes, so a read ends at a position, never after a count of records; and kafka-python asks a leader that says it is none
any more again and again, without asking who leads now: a member whose broker came back as a follower stood still for up
to five minutes (tests/torture/test_three_brokers.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from bus.message import Partition, Record
from bus.transport.kafka_client import asked, options, translated, unreachable
from bus.transport.rules import no_topic

_POLL_MS = 500
_POLL_RECORDS = 5_000
_STALL_S = 30.0  # no progress for this long means the leader does not answer
_PATIENCE_MS = (1_000, 2_000, 4_000, 8_000)  # of one look-up, before the client is told to ask who leads
_FETCH_BYTES = 8 * 1024 * 1024  # a whole-topic read is bound by round trips with the default of 1 MiB
T = TypeVar("T")


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
        first = self._looked_up("read bounds", lambda ms: self._consumer.beginning_offsets(list(places), timeout_ms=ms))
        end = self._looked_up("read bounds", lambda ms: self._consumer.end_offsets(list(places), timeout_ms=ms))
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
        found = self._looked_up("look up times", lambda ms: self._consumer.offsets_for_times(times, timeout_ms=ms))
        end = self._looked_up("look up times", lambda ms: self._consumer.end_offsets(list(places), timeout_ms=ms))
        result = {}
        for tp, p in places.items():
            hit = found.get(tp)
            result[p] = end[tp] if hit is None or hit.offset < 0 else hit.offset
        return result

    def _looked_up(self, doing: str, call: Callable[[int], T]) -> T:
        """What `call`, given so many ms at a time, answers."""
        import kafka.errors as ke

        def once() -> T:
            for patience_ms in _PATIENCE_MS:
                try:
                    return call(patience_ms)
                except ke.KafkaTimeoutError:
                    self._consumer._cluster.request_update()  # noqa: SLF001  # no public way that cannot wait for ever
            return call(_PATIENCE_MS[-1])

        return asked(self._bootstrap, doing, once)

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close(autocommit=False)

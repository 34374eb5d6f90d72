"""The splitter as aiokafka asks for it; rebound over its own classes by `install`.

aiokafka hands each partition's fetched bytes to the name `MemoryRecords` of `aiokafka.consumer.fetcher` (F68); the
partition, the position and the log's end reach the splitter through the two classes that are made next. The second
trap it avoids: aiokafka makes a frozen dataclass of eleven fields for each record, as costly as reading it twice.
"""

from __future__ import annotations

from typing import Any

from aiokafka.consumer.fetcher import FetchResult, PartitionRecords

from bus.message import Record
from bus.transport.splitter.split import Batches


class Consumed(Record, frozen=True, gc=False):
    """A record as our hosts take it, with what aiokafka's own would tell other readers."""

    timestamp_type: int
    checksum: int | None
    serialized_key_size: int
    serialized_value_size: int


class SplitPartitionRecords(PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """Tells the batches where they stand."""

    def __init__(self, tp: Any, records: Batches, aborted: Any, fetch_offset: int, *rest: Any) -> None:
        records.place(tp.topic, tp.partition, fetch_offset)
        self.batches = records
        super().__init__(tp, records, aborted, fetch_offset, *rest)
        self._plain = self._key_deserializer is self._value_deserializer is None

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        if not self._plain:
            return super()._consumer_record(tp, record)
        key, value = record.key, record.value
        return Consumed(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp,
            key,
            value,
            tuple(record.headers),
            record.timestamp_type,
            record.checksum,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
        )


class SplitFetchResult(FetchResult):  # type: ignore[misc]  # aiokafka ships no types
    """Tells the batches where the log ends."""

    def __init__(self, tp: Any, *, assignment: Any, partition_records: SplitPartitionRecords, backoff: float) -> None:
        partition_records.batches.bound(assignment.state_value(tp).highwater)
        super().__init__(tp, assignment=assignment, partition_records=partition_records, backoff=backoff)

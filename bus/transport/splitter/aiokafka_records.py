"""The splitter as aiokafka asks for it; rebound over its own classes by `install`.

aiokafka hands each partition's fetched bytes to the name `MemoryRecords` of `aiokafka.consumer.fetcher` (F68); the
partition, the position and the log's end reach the splitter through the two classes that are made next.
"""

from __future__ import annotations

from typing import Any

from aiokafka.consumer.fetcher import FetchResult, PartitionRecords

from bus.transport.splitter.split import Batches


class SplitPartitionRecords(PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """Tells the batches where they stand."""

    def __init__(self, tp: Any, records: Batches, aborted: Any, fetch_offset: int, *rest: Any) -> None:
        records.place(tp.topic, tp.partition, fetch_offset)
        self.batches = records
        super().__init__(tp, records, aborted, fetch_offset, *rest)


class SplitFetchResult(FetchResult):  # type: ignore[misc]  # aiokafka ships no types
    """Tells the batches where the log ends."""

    def __init__(self, tp: Any, *, assignment: Any, partition_records: SplitPartitionRecords, backoff: float) -> None:
        partition_records.batches.bound(assignment.state_value(tp).highwater)
        super().__init__(tp, assignment=assignment, partition_records=partition_records, backoff=backoff)

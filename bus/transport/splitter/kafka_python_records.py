"""The splitter as kafka-python asks for it; rebound over its own classes by `install`.

The trap it avoids, besides those of the splitter: whatever raises inside kafka-python's record generator leaves it dead
and undrained, and `poll` then spins for ever (research/poison.md 3).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from kafka.consumer.fetcher import Fetcher

from bus.transport.splitter.salvage import Row
from bus.transport.splitter.split import Batch, Batches


class _Marker:
    """A transaction marker: commit or abort."""

    def __init__(self, key: bytes) -> None:
        self.abort = key[2:4] == b"\0\0"


def _sized(row: Any) -> Row:
    return Row(row.offset, row.timestamp, row.timestamp_type, row.key, row.value, row.headers)


class SizedBatches(Batches):
    """Batches whose records have the size that kafka-python adds up."""

    def next_batch(self) -> Batch | None:
        """As in `Batches`."""
        batch = super().next_batch()
        if batch is not None:
            if batch.is_control_batch:
                batch.rows = [_Marker(row.key) for row in batch.rows]
            else:
                batch.rows = map(_sized, batch.rows)
        return batch


class SplitPartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka-python ships no types
    """Tells the batches where they stand, and drains itself when its generator dies."""

    def __init__(self, fetch_offset: int, tp: Any, records: Batches, *, limit: int | None = None, **rest: Any) -> None:
        records.place(tp.topic, tp.partition, fetch_offset)
        records.bound(limit)
        rest["check_crcs"] = False  # the splitter has; per record there is none
        super().__init__(fetch_offset, tp, records, **rest)

    def take(self, n: int | None = None) -> Any:
        """As in kafka-python; after an error it is drained, so that `poll` raises instead of spinning."""
        try:
            return super().take(n)
        except Exception:
            self.drain()
            raise


class SplitFetcher(Fetcher):  # type: ignore[misc]  # kafka-python ships no types
    """Tells the batches where the log ends."""

    def _parse_fetched_data(self, completed_fetch: Any) -> Any:
        limit = completed_fetch.partition_data.high_watermark
        self.PartitionRecords = partial(SplitPartitionRecords, limit=limit)
        return super()._parse_fetched_data(completed_fetch)

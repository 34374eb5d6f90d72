"""Reads what `bus.lag` needs: commits first, then ends, then one record per partition that is behind.

Called by `agencybus lag`. Keeps its two clients between samples. The traps it avoids: end offsets read before commits
give negative lag; one deleted topic or broken group must not cost the whole sample; a head record whose offset has not
moved keeps its time, so it is fetched once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from bus import lag
from bus.errors import Refused
from bus.lag import Row
from bus.message import Partition, Record
from bus.ports import Admin, Clock, Reader

Bounds = dict[Partition, tuple[int, int]]


class LagProbe:
    """Samples the lag of groups.

    Args:
        admin: reads groups and commits. reader: reads ends and single records. clock: dates a sample.
    """

    def __init__(self, admin: Admin, reader: Reader, *, clock: Clock) -> None:
        self._admin = admin
        self._reader = reader
        self._clock = clock
        self._heads: dict[Partition, dict[int, Record]] = {}

    def sample(self, group: str | None = None) -> list[Row]:
        """One row per group and partition; of `group` alone when given. Raises Unreachable."""
        groups = self._admin.groups() if group is None else [group]
        committed = {name: commits for name, commits in self._admin.committed(groups).items() if commits}
        bounds = self._bounds({p.topic for commits in committed.values() for p in commits})
        self._heads = self._read_heads(committed, bounds)
        return lag.rows(committed, bounds, self._heads, self._clock.now())

    def _bounds(self, topics: Iterable[str]) -> Bounds:
        """Bounds of every partition of the topics that are there; of a deleted one only its commits are left over."""
        there = self._admin.topics()  # asked anew each time: a client's cached metadata still knows deleted topics
        counts = {topic: there[topic].partitions for topic in sorted(topics) if topic in there}
        places = [Partition(topic, number) for topic, count in counts.items() for number in range(count)]
        return self._reader.bounds(places) if places else {}

    def _read_heads(
        self, committed: Mapping[str, Mapping[Partition, int]], bounds: Bounds
    ) -> dict[Partition, dict[int, Record]]:
        """The oldest waiting record per partition and wanted offset; those of the last sample are kept."""
        found: dict[Partition, dict[int, Record]] = {}
        for commits in committed.values():
            for place, offset in commits.items():
                start = lag.waiting_from(offset, bounds.get(place))
                if start is None or start in found.get(place, {}):
                    continue
                record = self._heads.get(place, {}).get(start) or self._head(place, start, bounds[place][1])
                if record is not None:
                    found.setdefault(place, {})[start] = record
        return found

    def _head(self, place: Partition, start: int, end: int) -> Record | None:
        """The first record at or after `start`; None when only transaction markers or holes are left."""
        with suppress(Refused):
            return next(iter(self._reader.read(place, start, end)), None)
        return None

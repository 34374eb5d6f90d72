"""How far consumer groups are behind: rows from committed offsets, bounds and the oldest waiting record.

`bus.lag_probe` collects the facts, `agencybus lag` shows the rows. Pure; the time is an argument. The traps it avoids
(research/ops.md 5): a partition without a commit is not lag 0 or lag of the whole topic, and records that retention has
deleted are not waiting, so lag counts from the later of commit and first stored offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from bus.message import Partition, Record
from schemas.envelope import format_time, from_ms

State = Literal["value", "unknown", "not committed"]
_CASE_HEADER = "ce_correlationid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One group on one partition.

    Args:
        committed: next offset the group will read, None when it has committed none.
        end: the offset after the last record a reader may see, None when the topic gives none.
        lag: records waiting, None unless `state` is ``value``. On a compacted topic or one with transactions offsets
            have holes, so it is an upper bound.
        state: ``value``; ``unknown`` (the topic is gone, or the commit lies past its end); ``not committed``.
        oldest_age_s: seconds since the oldest waiting record was appended, None when none waits or it is not known.
        case: the case behind that record.
    """

    group: str
    topic: str
    partition: int
    committed: int | None
    end: int | None
    lag: int | None
    state: State
    oldest_age_s: float | None = None
    case: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The row with the keys of the command's contract."""
        return {name: getattr(self, name) for name in self.__slots__}


def rows(
    committed: Mapping[str, Mapping[Partition, int]],
    bounds: Mapping[Partition, tuple[int, int]],
    heads: Mapping[Partition, Mapping[int, Record]],
    now: datetime,
) -> list[Row]:
    """One row per group and partition of every topic the group has a commit on, sorted.

    Args:
        committed: per group; must have been read before `bounds`, so that no lag is negative by reading order.
        bounds: first stored and end offset per partition; topics that are gone are absent.
        heads: per partition, the record found at or after a wanted offset.
        now: to compute ages.
    """
    found = []
    for group, commits in committed.items():
        topics = {partition.topic for partition in commits}
        for partition in {*commits, *(p for p in bounds if p.topic in topics)}:
            offset, limits = commits.get(partition), bounds.get(partition)
            head = heads.get(partition, {}).get(waiting_from(offset, limits) or 0)
            found += [_row(group, partition, offset, limits, age=_age(head, now), case=_case(head))]
    return sorted(found, key=lambda row: (row.group, row.topic, row.partition))


def waiting_from(committed: int | None, bounds: tuple[int, int] | None) -> int | None:
    """The offset at which the oldest waiting record stands; None when nothing waits or it cannot be said."""
    if committed is None or bounds is None:
        return None
    start = max(committed, bounds[0])
    return start if start < bounds[1] else None


def _row(
    group: str,
    partition: Partition,
    committed: int | None,
    bounds: tuple[int, int] | None,
    *,
    age: float | None,
    case: str | None,
) -> Row:
    state: State = "value"
    lag: int | None = None
    if committed is None:
        state = "not committed"
    elif bounds is None or committed > bounds[1]:
        state = "unknown"
    else:
        lag = bounds[1] - max(committed, bounds[0])
    return Row(
        group=group,
        topic=partition.topic,
        partition=partition.number,
        committed=committed,
        end=None if bounds is None else bounds[1],
        lag=lag,
        state=state,
        oldest_age_s=age if lag else None,
        case=case if lag else None,
    )


def _age(head: Record | None, now: datetime) -> float | None:
    """Seconds since `head` was appended; 0 when the broker's clock is ahead of ours."""
    return None if head is None else max(0.0, round((now - from_ms(head.timestamp)).total_seconds(), 3))


def _case(head: Record | None) -> str | None:
    """The case of a record: its correlation header, else its key; None when neither is text."""
    if head is None:
        return None
    raw = next((value for name, value in head.headers if name == _CASE_HEADER), None) or head.key
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None


def document(found: list[Row], now: datetime) -> dict[str, Any]:
    """The document of ``lag --json``: ``{"at", "rows"}``."""
    return {"at": format_time(now), "rows": [row.as_json() for row in found]}

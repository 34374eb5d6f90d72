"""Where a group starts to read, and how its place is set anew.

Called by `bus.wiring` (``from_=``) and by `consume --from`. The trap it avoids: a ``--from`` that silently does
nothing because the group has commits, or silently moves a group that others rely on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from bus.errors import UsageError
from bus.message import Partition
from bus.ports import Admin, Reader
from schemas.envelope import parse_time, to_ms

Start = Literal["earliest", "latest"] | datetime


def parse_start(text: str) -> Start:
    """Read ``earliest``, ``latest`` or an RFC 3339 time with a zone. Raises UsageError."""
    if text in {"earliest", "latest"}:
        return text  # type: ignore[return-value]  # narrowed by the test
    try:
        return parse_time(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no place to start from.",
            remedy="Write earliest, latest or a time with a zone such as 2026-11-24T08:00:00Z.",
        ) from None


def offsets_at(reader: Reader, topics: Sequence[str], start: Start) -> dict[Partition, int]:
    """The offsets of `start` in every partition of `topics`.

    Args:
        reader: asks for bounds and times.
        topics: to look at.
        start: ``earliest``, ``latest`` or an aware time: the first record appended then or later.

    Raises:
        Refused: a topic is not there.
    """
    places = [Partition(topic, n) for topic in topics for n in range(reader.partitions(topic))]
    if isinstance(start, datetime):
        return reader.at_time(places, to_ms(start))
    return {p: bounds[start == "latest"] for p, bounds in reader.bounds(places).items()}


def begin_group(admin: Admin, reader: Reader, *, group: str, topics: Sequence[str], start: Start) -> None:
    """Let a new group start at `start`, by committing that place before the first member joins.

    So records that arrive while the group is being formed are neither lost (latest) nor read twice.

    Args:
        admin: reads and writes commits.
        reader: finds the offsets.
        group: the consumer group.
        topics: those it will read.
        start: ``earliest``, ``latest`` or an aware time.

    Raises:
        UsageError: the group has commits on these topics; names the command that moves it.
        Refused: a topic is not there, or the group has members that have not committed yet.
    """
    if any(p.topic in topics for p in admin.committed([group]).get(group, {})):
        where = start if isinstance(start, str) else start.isoformat()
        raise UsageError(
            f"Group {group} has committed offsets on {', '.join(topics)}, so it goes on from there.",
            remedy=f"Leave out --from, or move it: agencybus reset {' '.join(topics)} --group {group} --to {where}",
        )
    if start != "earliest":  # where nothing is committed a member starts at the earliest record anyway
        admin.commit(group, offsets_at(reader, topics, start))

"""Remembers which events a partition has had, so that a repeated one has no second effect.

Called by `bus.pipeline`; `connectors.office` brings a memory of its own. Transport is at-least-once: a publisher that
lost its ack sends again, a reader that lost its partition reads again. The trap it avoids: a memory without bound, and
one shared by all partitions, which would have to move when one of them moves. `MemorySeen` forgets at restart: an
effect that must happen once stores its own record through another `Seen` in the same transaction as the effect.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from bus.message import Message, Partition
from schemas.envelope import fingerprint

_WINDOW = 50_000  # ids per partition, about 9 MB


class Seen(Protocol):
    """Where applied event ids are kept."""

    def has(self, partition: Partition, mark: str) -> bool:
        """Whether `mark` was added on this partition and is not forgotten."""
        ...

    def add(self, partition: Partition, mark: str) -> None:
        """Keep `mark`."""
        ...


class MemorySeen:
    """The last marks of each partition, in memory.

    Args:
        window: how many marks per partition are kept.
    """

    def __init__(self, *, window: int = _WINDOW) -> None:
        self._window = window
        self._marks: dict[Partition, tuple[set[str], deque[str]]] = {}  # for asking, and in their order

    def has(self, partition: Partition, mark: str) -> bool:
        """Whether `mark` is among the last ones."""
        found = self._marks.get(partition)
        return found is not None and mark in found[0]

    def add(self, partition: Partition, mark: str) -> None:
        """Keep `mark`, forgetting the oldest beyond the window."""
        known, order = self._marks.setdefault(partition, (set(), deque()))
        if mark in known:
            return
        known.add(mark)
        order.append(mark)
        if len(order) > self._window:
            known.discard(order.popleft())


def mark_of(message: Message) -> tuple[Partition, str]:
    """The partition and the fingerprint over source and id of a message."""
    place = Partition(message.record.topic, message.record.partition)
    return place, fingerprint(message.envelope.source, message.envelope.id)

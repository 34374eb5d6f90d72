"""Who acts on dead letters and parked records, and the record of each act on ``bus.operator.acted.v1``.

Called by `bus.redrive` and `bus.release`. The trap it avoids: a large act told in one record that its topic refuses; it
is told in parts, and the same part told twice is one event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bus.message import Outgoing, Partition
from schemas.bus_events import LETTERS_AT_ONCE, OperatorAct, OperatorActed


class Writer(Protocol):
    """The part of `bus.wiring.Bus` an operator's command writes with."""

    def append(self, place: Partition, records: Sequence[Outgoing]) -> int:
        """Store raw records; returns after the replicated ack."""
        ...

    def publish(self, event: OperatorActed, *, key: str, id: str) -> object:  # noqa: A002  # CloudEvents' own word
        """Publish an event; returns after the replicated ack."""
        ...


@dataclass(slots=True, kw_only=True)
class Operator:
    """Who acts, and how the action is written down.

    Args:
        writer: where to.
        by: who.
        action: id of this action, 16 hexadecimal digits.
        reason: why, or None.
    """

    writer: Writer
    by: str
    action: str
    reason: str | None = None
    _parts: int = 0

    def say(self, act: OperatorAct, group: str, ids: Sequence[str], *, planned: int, undone: str | None = None) -> None:
        """Write down that a part of the action is done.

        Args:
            act: what was done.
            group: in which consumer group.
            ids: of the letters or parked records.
            planned: how many the whole action takes in this group.
            undone: of an undo, the other action.
        """
        for at in range(0, len(ids), LETTERS_AT_ONCE) or [0]:
            self._parts += 1
            event = OperatorActed(
                action=self.action,
                act=act,
                group=group,
                part=self._parts,
                planned=planned,
                letters=list(ids[at : at + LETTERS_AT_ONCE]),
                by=self.by,
                reason=self.reason,
                undone=undone,
            )
            self.writer.publish(event, key=group, id=f"{self.action}-{self._parts}")

"""The social fund: assigns the birth benefit when it is asked to, exactly once per request event.

Run by ``agencybus connector run social-fund``. What it has assigned stands on its own topic; before it handles a
partition it reads that topic to its end, so a repetition is known after a restart and after a move as well. The trap
it avoids: money paid twice because a memory of what was paid ended with the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bus.message import Message, Partition
from bus.ports import Reader
from bus.publish import Publication
from connectors.office import effect_id, effect_of
from schemas.birth import BenefitAssigned
from schemas.envelope import from_headers
from schemas.requests import RequestCreated

BENEFIT = "birth_benefit"
ASSIGNED = "social-fund.benefit.assigned.v1"
AMOUNT, CURRENCY = Decimal("725.00"), "AZN"  # a synthetic amount; no law is quoted


@dataclass(frozen=True, slots=True)
class SocialFund:
    """A `Target` of requests."""

    agency: str = "social-fund"
    name: str = "benefits"
    listens: str = "portal.request.created.v1"

    def react(self, message: Message, *, now: datetime) -> Sequence[Publication]:
        """The benefit, when one is asked for; requests of other kinds are not the fund's."""
        request = message.event
        assert isinstance(request, RequestCreated)
        if request.kind != BENEFIT:
            return ()
        assigned = BenefitAssigned(
            person=request.subject,
            request_id=request.request_id,
            kind=BENEFIT,
            amount=AMOUNT,
            currency=CURRENCY,
            assigned_on=now.date(),
        )
        return (Publication(event=assigned, caused_by=message, id=effect_id(self.name, message), time=now),)


class Ledger:
    """A `bus.middleware.dedupe.Seen` that is the fund's own output topic.

    Args:
        reader: reads the topic. target: the fund, whose ids it recognises.

    Attributes:
        effects: how many benefits stand there or were added. repetitions: how many were asked for again.
    """

    def __init__(self, reader: Reader, target: SocialFund) -> None:
        self._reader = reader
        self._name = target.name
        self._next: dict[Partition, int] = {}
        self._known: set[int] = set()
        self.repetitions = 0

    @property
    def effects(self) -> int:
        """How many benefits were assigned, each counted once."""
        return len(self._known)

    def refresh(self) -> None:
        """Read what the topic has got since the last time. Raises Unreachable, Refused."""
        places = [Partition(ASSIGNED, number) for number in range(self._reader.partitions(ASSIGNED))]
        for partition, (first, end) in self._reader.bounds(places).items():
            for record in self._reader.read(partition, self._next.get(partition, first), end):
                self._known.add(_short(from_headers(record.headers).id))
            self._next[partition] = end

    def has(self, partition: Partition, mark: str) -> bool:  # noqa: ARG002 - ids are unique over all partitions
        """Whether the benefit of this request event is assigned already."""
        known = _short(effect_of(self._name, mark)) in self._known
        self.repetitions += known
        return known

    def add(self, partition: Partition, mark: str) -> None:
        """Nothing: `assigned` notes effects, an event without one is not remembered."""

    def assigned(self, event_id: str) -> None:
        """Note a benefit that is acknowledged."""
        self._known.add(_short(event_id))


def _short(event_id: str) -> int:
    return int(event_id[:16], 16) if len(event_id) >= 16 else hash(event_id)  # 64 bits: 20 MB hold a quarter million

"""The events the codec is measured on: two of the bus's own, and the wide one.

Called by `tests.bench.codec`. The trap it avoids: a codec that is quick on text only; dates, decimals, identifiers and
nested records are where Avro costs.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from schemas.birth import BirthNotified, Sex
from schemas.event import Event
from schemas.recorded import ActivityRecorded
from tests.bench.wide import Kind, Place, Wide


def samples() -> list[Event]:
    """One synthetic event of each measured contract."""
    moment = datetime(2026, 3, 4, 5, 6, 7, 8999, tzinfo=UTC)
    place = Place(street="Synthetic street 12", town="Bakı", since=date(2011, 5, 6))
    return [
        BirthNotified(
            child="ps-000017",
            mother="AZ-1234567",
            born_at=moment,
            sex=Sex.FEMALE,
            plurality=2,
            birth_order=1,
            stillborn=False,
            weight_g=3200,
            facility="clinic-7",
            mother_citizenship="AZ",
        ),
        ActivityRecorded(
            run="r1",
            activity="Confirmation of receipt",
            sequence=3,
            last=False,
            attributes={"org:group": "Group 1", "org:resource": "Resource21", "concept:instance": "task-42933"},
        ),
        Wide(
            id=UUID("0193f5a0-0000-7000-8000-000000000001"),
            at=moment,
            seen=moment,
            kind=Kind.FIRST,
            source="/agencies/justice",
            subject="ps-000017",
            count=31234,
            flag=True,
            fee=Decimal("12.50"),
            tax=Decimal("2.25"),
            paid=Decimal("14.75"),
            due=Decimal("1234567.00"),
            opened=date(2026, 1, 2),
            closed=date(2026, 3, 4),
            home=place,
            work=place,
            post=place,
        ),
    ]

"""The events the codec is measured on: two of the bus's own, and the wide payload of the first measurements.

Called by `tests.bench.codec`. The trap it avoids: a codec that is quick on text only; dates, decimals, identifiers and
nested records are where Avro costs.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from schemas.birth import BirthNotified, Sex
from schemas.event import Event, Part, PersonalData
from schemas.fields import Amount, Moment
from schemas.recorded import ActivityRecorded

_Text = Annotated[str, Field(max_length=200)]


class Kind(StrEnum):
    """Kind of the synthetic case."""

    FIRST = "first"
    OTHER = "other"


class Place(Part):
    """A synthetic address."""

    street: _Text
    """Street and number."""

    town: _Text
    """Town."""

    since: date
    """Living there since."""


class Wide(Event, contract="bench.wide", agencies=("bench",), personal_data=PersonalData.NONE):
    """The payload of research/performance.md section 2: identifiers, 4 dates, 4 decimals, an enum, 3 nested records."""

    id: UUID
    """Identifier."""

    at: Moment
    """Moment of the fact."""

    seen: Moment
    """Moment of the note."""

    kind: Kind
    """Kind."""

    source: _Text
    """Source."""

    subject: _Text
    """Subject."""

    count: int
    """A count."""

    flag: bool
    """A flag."""

    fee: Amount
    """Fee."""

    tax: Amount
    """Tax."""

    paid: Amount
    """Paid."""

    due: Amount
    """Due."""

    opened: date
    """Opened on."""

    closed: date | None = None
    """Closed on."""

    home: Place
    """Home."""

    work: Place
    """Work."""

    post: Place
    """Post."""


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

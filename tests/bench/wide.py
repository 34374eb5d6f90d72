"""The wide event of the first measurements (research/performance.md section 2), its answer, and cases made of them.

Imported by the codec's scenarios and by the worker's on wide events. Dates, decimals, identifiers and nested records
are where Avro costs: a benchmark on text alone flatters whoever reads it slowly. All of it is synthetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

from pydantic import Field

from bus.publish import Publication
from schemas import catalogue
from schemas.catalogue import Catalogue
from schemas.event import Event, Part, PersonalData
from schemas.fields import Amount, Moment
from tests.bench import recorded

TOPIC, ANSWERED = "bench.bench.wide.v1", "bench.bench.answered.v1"
PROCESS = Path(__file__).with_name("wide.yaml")

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
    """Identifiers, 4 dates, 4 decimals, an enum, 3 nested records."""

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


class Answered(Wide, contract="bench.answered", agencies=("bench",), personal_data=PersonalData.NONE):
    """The same fields, said by the workflow that took note of them."""


def wider() -> Catalogue:
    """The standard catalogue and the two contracts here."""
    return Catalogue([*catalogue.standard().models(), Wide, Answered])


def publications(count: int, *, run: str) -> Iterator[Publication]:
    """`count` events of the cases of `recorded`, in its order, as our publisher takes them; `flag` says the last."""
    for number, (case, event_id, moment, told) in enumerate(recorded.events(count, run=run)):
        place = Place(street=f"Synthetic street {number % 97}", town="Bakı", since=date(2011, 5, 6))
        fee = Decimal(number % 10_000) / 100
        event = Wide(
            id=UUID(int=(0x0193F5A0_0000_7000_8000 << 48) + number),
            at=moment,
            seen=moment + timedelta(seconds=9),
            kind=Kind.FIRST if told.sequence == 1 else Kind.OTHER,
            source="/agencies/justice",
            subject=f"ps-{number:06d}",
            count=told.sequence,
            flag=told.last,
            fee=fee,
            tax=Decimal("2.25"),
            paid=fee + Decimal("2.25"),
            due=Decimal("1234567.00"),
            opened=moment.date(),
            closed=moment.date() + timedelta(30) if told.last else None,
            home=place,
            work=place,
            post=place,
        )
        yield Publication(event=event, case=case, id=event_id, time=moment)

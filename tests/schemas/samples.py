"""A contract for tests only, with every kind of value, and one synthetic event of every contract."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from schemas.birth import BenefitAssigned, BirthNotified, BirthRegistered, IdentityEntered, Sex
from schemas.bus_events import DeadlineMissed, OperatorAct, OperatorActed
from schemas.documents import DocumentIssued, DocumentRevoked
from schemas.event import Event, Part, PersonalData
from schemas.fields import Moment
from schemas.recorded import ActivityFollowed, ActivityRecorded
from schemas.requests import Channel, RequestCompleted, RequestCreated, RequestRejected


class Colour(StrEnum):
    """A colour."""

    RED = "red"
    BLUE = "blue"
    UNKNOWN = "unknown"


class Place(Part):
    """A place."""

    street: str
    """Street."""

    since: date
    """Since when."""


class Everything(Event, contract="sample.everything", agencies=("lab",), personal_data=PersonalData.NONE):
    """One field of every kind the emitter knows."""

    text: str
    """Text."""

    number: int
    """A whole number."""

    flag: bool
    """A flag."""

    raw: bytes
    """Bytes."""

    day: date
    """A day."""

    moment: Moment
    """A moment."""

    uid: UUID
    """A UUID."""

    money: Annotated[Decimal, Field(max_digits=28, decimal_places=4)]
    """A signed decimal."""

    colour: Colour
    """A colour."""

    place: Place
    """A nested record."""

    other_place: Place | None = None
    """The same nested record, named the second time."""

    places: list[Place]
    """A list of records."""

    numbers: list[int] = Field(default_factory=list)
    """A list with a default."""

    table: dict[str, list[Colour]]
    """A map of lists."""

    maybe_money: Annotated[Decimal, Field(max_digits=5, decimal_places=0)] | None = None
    """An optional decimal."""

    maybes: list[UUID | None]
    """A list of optional values."""

    word: str = "a word"
    """A default text."""

    count: int = 7
    """A default number."""

    yes: bool = True
    """A default flag."""

    hue: Colour = Colour.RED
    """A default colour."""


NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
DAY = date(2026, 3, 4)
PLACE = Place(street="Bakı, synthetic street 1", since=date(1969, 7, 20))
EVENTS: list[Event] = [
    RequestCreated(request_id="r-1", kind="birth_benefit", subject="AZ-0001", channel=Channel.COUNTER, wanted_by=NOW),
    RequestCompleted(request_id="r-1", kind="birth_benefit", subject="AZ-0001", note="Ödənildi"),
    RequestRejected(request_id="r-1", kind="x", subject="AZ-0001", reason_code="late", reason="Too late."),
    DocumentIssued(kind="id_card", number="D/1", holder="AZ-0001", issued_on=DAY, valid_until=date(2036, 3, 4)),
    DocumentRevoked(kind="id_card", number="D/1", holder="AZ-0001", revoked_on=DAY, reason_code="lost"),
    BirthNotified(
        child="ps-0001",
        mother="AZ-0001",
        father="AZ-0002",
        born_at=NOW,
        sex=Sex.MALE,
        plurality=2,
        birth_order=2,
        stillborn=False,
        weight_g=2400,
        facility="clinic-1",
        mother_citizenship="AZ",
    ),
    BirthRegistered(
        record_number="2026/17",
        stillbirth=False,
        person="AZ-0003",
        mother="AZ-0001",
        father_recorded=True,
        registered_on=DAY,
        given_name="Əli",
    ),
    IdentityEntered(person="AZ-0003", document_number="I-1", entered_on=DAY),
    BenefitAssigned(person="AZ-0003", request_id="r-1", amount=Decimal("600.00"), currency="AZN", assigned_on=DAY),
    DeadlineMissed(process="birth", step="registered", owner="justice", due=NOW),
    OperatorActed(
        action="00c0ffee00c0ffee",
        act=OperatorAct.REDRIVE,
        group="workflow.birth",
        part=1,
        planned=2,
        letters=["0123456789abcdef", "fedcba9876543210"],
        by="operator@night-shift",
        reason="contract deployed",
    ),
    ActivityRecorded(run="r", activity="a", sequence=1, last=False, deadline=NOW, attributes={"org:x": "ü", "k": ""}),
    ActivityFollowed(run="r", activity="a", sequence=2**31 - 1, last=True),
    Everything(
        text="",
        number=-(2**63),
        flag=False,
        raw=b"\x00\xff",
        day=date(1900, 1, 1),
        moment=datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        uid=UUID("0193f5a0-0000-7000-8000-000000000001"),
        money=Decimal("-12345.6789"),
        colour=Colour.BLUE,
        place=PLACE,
        places=[PLACE, PLACE],
        table={"a": [Colour.RED, Colour.BLUE], "b": []},
        maybes=[None, UUID(int=7)],
        maybe_money=Decimal(-99999),
    ),
]

"""The contracts of the followed events as a user without our SDK writes them down for pydantic.

Imported by `by_hand`. The limits are those of `schemas.recorded` and `tests.bench.wide`: a peer that does not check
what it reads and says does less than our worker.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

_Reference = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:~-]*$")]
_Activity = Annotated[str, Field(min_length=1, max_length=1000)]
_Sequence = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Key = Annotated[str, Field(min_length=1, max_length=1000)]
_Value = Annotated[str, Field(max_length=65536)]
_Text = Annotated[str, Field(max_length=200)]
_Amount = Annotated[Decimal, Field(max_digits=12, decimal_places=2, ge=0)]


class _Contract(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Followed(_Contract):
    """What is said about a small event."""

    run: _Reference
    activity: _Activity
    sequence: _Sequence
    last: bool


class Recorded(Followed):
    """A small event."""

    deadline: AwareDatetime | None
    attributes: dict[_Key, _Value]
    case_attributes: dict[_Key, _Value]


class Kind(StrEnum):
    """Kind of a wide event."""

    FIRST = "first"
    OTHER = "other"


class Place(_Contract):
    """An address."""

    street: _Text
    town: _Text
    since: date


class Wide(_Contract):
    """A wide event, and its answer."""

    id: UUID
    at: AwareDatetime
    seen: AwareDatetime
    kind: Kind
    source: _Text
    subject: _Text
    count: int
    flag: bool
    fee: _Amount
    tax: _Amount
    paid: _Amount
    due: _Amount
    opened: date
    closed: date | None
    home: Place
    work: Place
    post: Place

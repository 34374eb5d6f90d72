"""Contracts that exist for tests only: one with every kind of value, and an older version of it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from schemas.event import Event, Part, PersonalData
from schemas.fields import Moment


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

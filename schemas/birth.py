"""A child is born: what the clinic, the civil registry, the ID office and the social fund say of it.

Published by the four agencies in that order; the workflow carries the case. The traps it avoids: twins are two
children with one mother, told apart by birth order; a stillbirth is registered but gets no personal number.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from schemas.event import Event, PersonalData
from schemas.fields import Amount, Code, Country, Currency, Moment, Name, PersonRef, Reference

_BirthCount = Annotated[int, Field(ge=1, le=10)]


class Sex(StrEnum):
    """Sex of a newborn as the clinic notes it."""

    FEMALE = "female"
    MALE = "male"
    UNKNOWN = "unknown"


class BirthNotified(Event, contract="birth.notified", agencies=("health",), personal_data=PersonalData.SENSITIVE):
    """A clinic tells of one child's birth; twins are two notifications."""

    child: PersonRef
    """Pseudonym of the child until it has a personal number."""

    mother: PersonRef
    """Personal number of the mother, or her pseudonym; twins share it."""

    father: PersonRef | None = None
    """Personal number of the father, or his pseudonym, when he is known and named."""

    born_at: Moment
    """When the child was born."""

    sex: Sex
    """Sex of the child."""

    plurality: _BirthCount
    """How many children this birth brought: 1, 2 for twins."""

    birth_order: _BirthCount
    """Which of them this child is, counted from 1."""

    stillborn: bool
    """Whether the child was born dead."""

    weight_g: Annotated[int, Field(ge=200, le=9000)]
    """Weight at birth in grams."""

    facility: Reference
    """The clinic's code in the register of facilities."""

    mother_citizenship: Country
    """Country whose citizen the mother is."""

    @field_validator("birth_order")
    @classmethod
    def _within_plurality(cls, order: int, info: ValidationInfo) -> int:
        if order > info.data.get("plurality", order):
            raise ValueError("birth_order is above plurality")
        return order


class BirthRegistered(
    Event, contract="birth.registered", agencies=("justice",), personal_data=PersonalData.IDENTIFYING
):
    """The civil registry entered a birth and gave the child its personal number."""

    record_number: Reference
    """Number of the civil record."""

    stillbirth: bool
    """Whether the record is of a stillbirth; then there is no personal number."""

    person: PersonRef | None = Field(default=None, validate_default=True)
    """Personal number of the child; absent for a stillbirth only."""

    mother: PersonRef
    """Personal number of the mother as it stands in the record, or her pseudonym."""

    father_recorded: bool
    """Whether a father stands in the record."""

    registered_on: date
    """Day of the entry."""

    given_name: Name | None = None
    """Given name of the child, if one was chosen."""

    surname: Name | None = None
    """Surname of the child, if it is settled."""

    @field_validator("person")
    @classmethod
    def _number_unless_stillbirth(cls, person: str | None, info: ValidationInfo) -> str | None:
        stillbirth = info.data.get("stillbirth")
        if stillbirth is not None and stillbirth == (person is not None):
            raise ValueError("a live birth has a personal number, a stillbirth has none")
        return person


class IdentityEntered(
    Event, contract="identity.entered", agencies=("interior",), personal_data=PersonalData.IDENTIFYING
):
    """The ID office entered a person in the register of identity documents."""

    person: PersonRef
    """Personal number of the person entered."""

    document_number: Reference
    """Number of the identity entry."""

    entered_on: date
    """Day of the entry."""


class BenefitAssigned(
    Event, contract="benefit.assigned", agencies=("social-fund",), personal_data=PersonalData.SENSITIVE
):
    """The social fund assigned a benefit."""

    person: PersonRef
    """The person it is for."""

    request_id: Reference
    """The request it answers."""

    kind: Code = "birth_benefit"
    """Kind of benefit, by the code the request named."""

    amount: Amount
    """What is paid, in the given currency."""

    currency: Currency
    """Currency of the amount, ISO 4217."""

    assigned_on: date
    """Day of the decision."""

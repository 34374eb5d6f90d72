"""The validator of what was read keeps every rule of the model that the reader does not keep itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Self

import pytest
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import SchemaValidator

from schemas import validator
from schemas.catalogue import Catalogue, standard
from schemas.codec import Codec
from schemas.errors import Poison
from schemas.event import Event, PersonalData
from schemas.fields import Amount, Moment
from schemas.validator import fields_validator_of, validator_of
from tests.schemas.samples import EVENTS

_BAKU = timezone(timedelta(hours=4))


class Fee(Event, contract="sample.fee", agencies=("lab",), personal_data=PersonalData.NONE):
    """A fee."""

    fee: Amount
    """How much."""

    at: Moment
    """When."""


class Wider(Event, contract="sample.fee", agencies=("lab",), personal_data=PersonalData.NONE):
    """The same bytes with room for more digits, and for less than nothing."""

    fee: Annotated[Decimal, Field(max_digits=16, decimal_places=2)]
    """How much."""

    at: Moment
    """When."""


class Hundredfold(Event, contract="sample.hundredfold", agencies=("lab",), personal_data=PersonalData.NONE):
    """A contract that changes a value before pydantic sees it."""

    fee: Annotated[Amount, BeforeValidator(lambda value: value * 100)]
    """How much."""


class Paired(Event, contract="sample.paired", agencies=("lab",), personal_data=PersonalData.NONE):
    """A contract with a rule about two fields together."""

    least: int
    """The smaller."""

    most: int
    """The larger."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise ValueError("least is above most")
        return self


class Watched(Event, contract="sample.watched", agencies=("lab",), personal_data=PersonalData.NONE):
    """The same rule, kept once the model is made."""

    least: int
    """The smaller."""

    most: int
    """The larger."""

    def model_post_init(self, _context: Any) -> None:
        if self.least > self.most:
            raise ValueError("least is above most")


class Made(Event, contract="sample.made", agencies=("lab",), personal_data=PersonalData.NONE):
    """The same rule, kept while the model is made."""

    least: int
    """The smaller."""

    most: int
    """The larger."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        if self.least > self.most:
            raise ValueError("least is above most")


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_fields_judged_without_a_model_are_those_of_the_model(event: Event) -> None:
    values = {name: getattr(event, name) for name in type(event).model_fields}
    assert fields_validator_of(type(event))(values) == vars(event)


@pytest.mark.parametrize("fee", ["10000000000.00", "-0.01"], ids=["too many digits", "below its limit"])
def test_a_field_outside_its_rules_is_refused_without_a_model_too(fee: str) -> None:
    codec, wide = Codec(Catalogue([Fee])), Codec(Catalogue([Wider]))
    body = wide.encode(Wider(fee=Decimal(fee), at=datetime(2026, 1, 1, tzinfo=UTC)))[5:]
    with pytest.raises(Poison):
        codec.decode_fields([(b"\x00" + codec.schema_id(Fee).to_bytes(4, "big") + body, Fee, ())])


@pytest.mark.parametrize("model", [Paired, Watched, Made])
def test_a_rule_about_several_fields_is_kept_without_a_model_too(model: type[Event]) -> None:
    judged = fields_validator_of(model)
    assert judged({"least": 1, "most": 2}) == {"least": 1, "most": 2}
    with pytest.raises(ValueError, match="least is above most"):
        judged({"least": 2, "most": 1})


def test_every_contract_of_the_catalogue_is_judged_without_its_model() -> None:
    """The gain: a contract that falls back is read as slowly as before."""
    judges = [fields_validator_of(model) for model in standard().models()]
    assert all(isinstance(getattr(judge, "__self__", None), SchemaValidator) for judge in judges)


def test_fields_that_a_model_changes_first_are_judged_by_all_its_rules() -> None:
    assert fields_validator_of(Hundredfold)({"fee": Decimal("1.00")}) == {"fee": Decimal("100.00")}
    with pytest.raises(ValidationError, match="10 digits before"):
        fields_validator_of(Hundredfold)({"fee": Decimal("9999999999.00")})


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_it_makes_the_event_that_the_model_s_own_validator_makes(event: Event) -> None:
    values = {name: getattr(event, name) for name in type(event).model_fields}
    assert validator_of(type(event)).validate_python(values) == event


@pytest.mark.parametrize("fee", ["10000000000.00", "-0.01"], ids=["too many digits", "below its limit"])
def test_an_amount_outside_its_rules_is_still_refused(fee: str) -> None:
    codec, wide = Codec(Catalogue([Fee])), Codec(Catalogue([Wider]))
    body = wide.encode(Wider(fee=Decimal(fee), at=datetime(2026, 1, 1, tzinfo=UTC)))[5:]
    with pytest.raises(Poison):
        codec.decode(b"\x00" + codec.schema_id(Fee).to_bytes(4, "big") + body, Fee)


def test_what_the_bytes_say_is_not_checked_again() -> None:
    """The gain: without it each decimal costs as much as the rest of a model."""
    read = validator_of(Fee).validate_python({"fee": Decimal("1.005"), "at": datetime(2026, 1, 1, tzinfo=_BAKU)})
    assert read.fee == Decimal("1.005")
    assert read.at.tzinfo is _BAKU


def test_a_model_that_changes_values_first_keeps_all_its_rules() -> None:
    with pytest.raises(ValidationError, match="10 digits before"):
        validator_of(Hundredfold).validate_python({"fee": Decimal("9999999999.00")})


def test_no_contract_of_the_catalogue_changes_values_first() -> None:
    assert not [model for model in standard().models() if validator._changes_first(model.__pydantic_core_schema__)]

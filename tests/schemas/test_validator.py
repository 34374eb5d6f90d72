"""The validator of what was read keeps every rule of the model that the reader does not keep itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated

import pytest
from pydantic import BeforeValidator, Field, ValidationError

from schemas import validator
from schemas.catalogue import Catalogue, standard
from schemas.codec import Codec
from schemas.errors import Poison
from schemas.event import Event, PersonalData
from schemas.fields import Amount, Moment
from schemas.validator import validator_of
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

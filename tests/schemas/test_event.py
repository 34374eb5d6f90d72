"""The base of events: frozen, strict, closed, and owned."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import NameRefused, SchemaRefused
from schemas.event import Event, PersonalData
from schemas.recorded import ActivityFollowed

METACLASS: Any = type(Event)
GOOD: dict[str, Any] = {"run": "r", "activity": "a", "sequence": 1, "last": False}


def test_an_event_cannot_be_changed() -> None:
    event = ActivityFollowed(**GOOD)
    with pytest.raises(ValidationError, match="frozen"):
        event.sequence = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sequence": "1"}, "sequence"),
        ({"sequence": 1.0}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"last": 0}, "last"),
        ({"activity": b"a"}, "activity"),
        ({"more": 1}, "more"),
    ],
)
def test_nothing_is_converted_and_nothing_unknown_is_taken(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ActivityFollowed(**{**GOOD, **change})
    assert [e["loc"] for e in caught.value.errors()] == [(field,)]


def test_the_class_line_is_kept() -> None:
    assert ActivityFollowed.contract == "activity.followed"
    assert ActivityFollowed.major == 1
    assert ActivityFollowed.agencies == ("replay",)
    assert ActivityFollowed.personal_data is PersonalData.PSEUDONYMOUS


def test_only_a_publisher_has_a_topic() -> None:
    assert ActivityFollowed.topic("replay") == "replay.activity.followed.v1"
    with pytest.raises(SchemaRefused, match=r"justice does not publish activity\.followed; publishers: replay"):
        ActivityFollowed.topic("justice")


@pytest.mark.parametrize(
    ("contract", "agencies", "error"),
    [("Bad", ("lab",), NameRefused), ("a.b", ("LAB",), NameRefused), ("a.b", (), SchemaRefused)],
)
def test_a_class_line_outside_the_grammar_is_refused(contract: str, agencies: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        METACLASS(
            "Bad",
            (Event,),
            {"__module__": __name__},
            contract=contract,
            agencies=agencies,
            personal_data=PersonalData.NONE,
        )


def test_a_class_line_without_contract_is_an_error() -> None:
    with pytest.raises(TypeError, match="contract"):
        METACLASS("Bad", (Event,), {"__module__": __name__})

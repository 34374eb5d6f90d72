"""Expressions against the events in scope."""

from __future__ import annotations

from typing import Any

import pytest

from agents.evaluate import DEADLINE_FIELDS, Binding, Scope, as_json, check, condition, present_if, uncovered
from agents.expression import ExpressionFault, Path, parse
from tests.agents.process_support import Thing

SCOPE = Scope({"it": Binding("t", Thing), "deadline": Binding("deadline", DEADLINE_FIELDS)})
VALUES: dict[str, dict[str, Any]] = {
    "it": {
        "number": 3,
        "flag": True,
        "maybe": None,
        "colour": "red",
        "text": "abc",
        "note": None,
        "when": "2026-03-01T10:00:00.500000Z",
        "day": "2026-03-01",
        "price": "1.50",
        "address.town": "Baku",
        "time": "2026-03-01T12:00:00.000000Z",
    },
    "deadline": {"due": "2026-03-02T00:00:00.000000Z"},
}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("it.number > 2 and it.flag", True),
        ("it.number + 1 == 4", True),
        ("it.price < 1.6", True),
        ("it.price == 1.5", True),
        ("it.colour in ['green', 'red']", True),
        ("it.colour != 'green'", True),
        ("it.text == 'abc'", True),
        ("it.maybe", False),
        ("not it.maybe", True),
        ("it.note == 'x'", False),
        ("it.note != 'x'", True),
        ("it.note < 'x'", False),
        ("it.note is null", True),
        ("it.when >= '2026-03-01T10:00:00.5Z'", True),
        ("it.when + 1 day > it.time", True),
        ("it.time - it.when > 2 hours", False),
        ("it.time - it.when > 1 hour", True),
        ("it.day == '2026-03-01'", True),
        ("it.day + 2 days > '2026-03-02'", True),
        ("it.address.town == 'Baku'", True),
        ("deadline.due > it.time", True),
    ],
)
def test_a_condition_is_true_or_false(text: str, result: bool) -> None:
    assert condition(parse(text), SCOPE).guard()(VALUES) is result


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("itt.number == 1", "Did you mean it"),
        ("it.numbr == 1", "Did you mean number"),
        ("it.number.x == 1", "has no fields"),
        ("it == 1", "whole event"),
        ("deadline.x is null", "deadline.due"),
        ("it.number == 'a'", "cannot be compared"),
        ("it.colour == 'rad'", "Did you mean 'red'"),
        ("it.colour in ['blue']", "Values: red, green"),
        ("it.note == null", "is null"),
        ("it.number", "no condition"),
        ("it.number and it.flag", "no condition"),
        ("it.when > '1 March'", "2026-01-31T12"),
        ("it.flag > false", "no order"),
        ("it.address == it.address", "field of it"),
        ("it.day + 3 hours > it.day", "whole days"),
        ("it.text + 1 == 'a'", "means nothing"),
        ("it.when == it.day", "cannot be compared"),
    ],
)
def test_what_does_not_fit_the_events_is_refused(text: str, says: str) -> None:
    with pytest.raises(ExpressionFault) as caught:
        condition(parse(text), SCOPE)
    assert says in f"{caught.value.message} {caught.value.fix}"


def test_a_name_that_is_not_bound_on_every_way_is_refused() -> None:
    scope = Scope.merged([SCOPE.bind("more", Binding("t", Thing)), SCOPE])
    with pytest.raises(ExpressionFault, match="every way"):
        check(parse("more.number"), scope)


def test_a_condition_that_asks_tells_what_is_present() -> None:
    note, maybe = Path("it", "note"), Path("it", "maybe")
    assert present_if(parse("it.note is not null and it.flag"), holds=True) == {note}
    assert present_if(parse("it.note is null or it.maybe is null"), holds=False) == {note, maybe}
    assert present_if(parse("it.note is null and it.flag"), holds=False) == set()
    assert not check(parse("it.note"), SCOPE.knowing({note})).type.nullable


@pytest.mark.parametrize(
    ("texts", "example", "idle"),
    [
        (["it.flag", "not it.flag"], None, []),
        (["it.maybe", "not it.maybe"], None, []),
        (["it.colour == 'red'"], "it.colour = green", []),
        (["it.colour in ['red', 'green']", "it.flag"], None, [1]),
        (["it.note is null"], "it.note = present", []),
    ],
)
def test_whether_conditions_cover_every_value(texts: list[str], example: str | None, idle: list[int]) -> None:
    found = uncovered([condition(parse(text), SCOPE) for text in texts], SCOPE)
    assert found == (example, idle)


def test_numbers_and_texts_cannot_be_covered() -> None:
    assert uncovered([condition(parse("it.number > 1"), SCOPE)], SCOPE) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("it.when", "2026-03-01T10:00:00.500000Z"),
        ("it.when + 1 day", "2026-03-02T10:00:00.500000Z"),
        ("it.day + 1 day", "2026-03-02"),
        ("it.price + 1", "2.50"),
        ("it.number - 5", -2),
        ("it.when + 999999999 days", "9999-12-31T23:59:59.999999Z"),
        ("it.note", None),
    ],
)
def test_a_value_leaves_as_json(text: str, value: object) -> None:
    assert as_json(check(parse(text), SCOPE))(VALUES) == value

"""Filling an emitted event: literals, references, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from agents.evaluate import Binding, Scope
from agents.mapping import Mapped, build
from tests.agents.process_support import Answer, Thing

SCOPE = Scope({"it": Binding("t", Thing), "case": Binding("case", {})})


def faults(**given: Any) -> str:
    built = build(Answer, {"number": 1, **given}, SCOPE)
    assert isinstance(built, list)
    return " ".join(f"{fault.field}: {fault.message} {fault.fix}" for fault in built)


def filled(**given: Any) -> dict[str, Any]:
    built = build(Answer, {"number": 1, **given}, SCOPE)
    assert isinstance(built, Mapped), built
    values: dict[str, Any] = {"text": "t", "number": 7, "reference": "r1", "colour": "red", "address": {"town": "Baku"}}
    return dict(built.fill({"it": values}))


def test_form_alone_tells_literals_from_references_and_expressions() -> None:
    assert filled(text="plain word")["text"] == "plain word"
    assert filled(text="it.text")["text"] == "t"
    assert filled(text="= 'it.text'")["text"] == "it.text"
    assert filled(number="= it.number + 1")["number"] == 8
    assert filled(price="= 2.5")["price"] == "2.5"
    assert filled(text=None)["text"] is None


def test_codes_objects_and_bounded_texts_pass_when_they_are_of_one_kind() -> None:
    assert filled(colour="it.colour", reference="it.reference", address="it.address") == {
        "number": 1,
        "colour": "red",
        "reference": "r1",
        "address": {"town": "Baku"},
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"number": "it.text"}, "is text, the field takes int"),
        ({"number": "seven"}, "does not fit"),
        ({"number": True}, "does not fit"),
        ({"colour": "blue"}, "does not fit"),
        ({"colour": "it.text"}, "values the field does not allow"),
        ({"reference": "it.text"}, "not bound to the rules"),
        ({"short": "it.text"}, "not bound to the rules"),
        ({"short": "long text"}, "does not fit"),
        ({"text": "itt.text"}, "Did you mean it"),
        ({"text": "it.txt"}, "Did you mean text"),
        ({"txt": "a"}, "Did you mean text"),
        ({"number": "it.maybe"}, "may be missing"),
        ({"text": "= it.text =="}, "ends too early"),
    ],
)
def test_what_does_not_fit_the_field_is_refused(given: dict[str, Any], says: str) -> None:
    assert says in faults(**given)


def test_a_required_field_left_out_is_named() -> None:
    built = build(Answer, {}, SCOPE)
    assert isinstance(built, list)
    assert [fault.message for fault in built] == ["Answer needs the field 'number'"]


def test_a_mapping_names_what_it_reads() -> None:
    built = build(Answer, {"number": "it.number", "text": "= it.note"}, SCOPE)
    assert isinstance(built, Mapped)
    assert {str(path) for path in built.paths} == {"it.number", "it.note"}

"""Kinds of values read from annotations."""

from __future__ import annotations

import pytest

from agents.expression import ExpressionFault
from agents.kinds import of_path
from schemas.birth import BirthRegistered
from schemas.requests import RequestCreated
from tests.agents.process_support import Answer, Thing


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("number", "int"),
        ("flag", "bool"),
        ("maybe", "bool or null"),
        ("colour", "text"),
        ("when", "time or null"),
        ("day", "date"),
        ("price", "number"),
        ("address", "object or null"),
        ("address.town", "text or null"),
        ("tags", "list"),
    ],
)
def test_a_path_has_a_kind_and_a_missing_parent_makes_it_nullable(path: str, word: str) -> None:
    assert str(of_path(Thing, path, path)) == word


def test_bounds_belong_to_the_kind_whether_optional_or_not() -> None:
    assert of_path(Thing, "reference", "x").bounds == of_path(Answer, "reference", "x").bounds != frozenset()
    assert of_path(BirthRegistered, "person", "x").bounds == of_path(RequestCreated, "subject", "x").bounds


def test_a_field_that_is_not_there_is_named_with_near_ones() -> None:
    with pytest.raises(ExpressionFault, match="no field 'twon'") as caught:
        of_path(Thing, "address.twon", "it.address.twon")
    assert "town" in caught.value.fix

"""The grammar of expressions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.expression import (
    MAX_DEPTH,
    All,
    AnyOf,
    Comparison,
    Const,
    Duration,
    ExpressionFault,
    In,
    IsNull,
    Not,
    Path,
    Sum,
    parse,
)


def test_or_binds_weaker_than_and_and_and_weaker_than_not() -> None:
    a, b, c = Path("a", "x"), Path("b", "x"), Path("c", "x")
    assert parse("not a.x and b.x or c.x") == AnyOf((All((Not(a), b)), c))
    assert parse("not (a.x and (b.x or c.x))") == Not(All((a, AnyOf((b, c)))))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a.x == 'it is \"so\"'", Comparison("==", Path("a", "x"), Const('it is "so"'))),
        ("a.x.y in [1, 'b', true]", In(Path("a", "x.y"), (Const(1), Const("b"), Const(True)))),
        ("a.x not in [-2]", Not(In(Path("a", "x"), (Const(-2),)))),
        ("a.x is not null", Not(IsNull(Path("a", "x")))),
        ("a.t + 3 days - 1 hour", Sum("-", Sum("+", Path("a", "t"), Duration(259_200)), Duration(3_600))),
        ("null", Const(None)),
        ("a.order", Path("a", "order")),
    ],
)
def test_a_text_becomes_its_tree(text: str, tree: object) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ends too early"),
        ("a.x = 3", "Write =="),
        ("a.x && b.x", "and, or, not"),
        ("a.x == 'b", "Close the quotation"),
        ("a.x == b.x == c.x", "two values at a time"),
        ("a.x in []", "out of place"),
        ("a.x in [b.x]", "text, numbers"),
        ("(a.x", "missing \\)"),
        ("a.x b.x", "too much"),
        ("1.5 days", "whole number"),
        ("__import__('os')", "too much"),
        ("a.x[0]", "too much"),
        ("lambda: 1", "not understood"),
    ],
)
def test_what_is_no_expression_is_refused_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ExpressionFault) as caught:
        parse(text)
    assert re.search(says, f"{caught.value.message} {caught.value.fix}")


def test_depth_and_length_are_bounded() -> None:
    assert parse("(" * (MAX_DEPTH - 1) + "a.x" + ")" * (MAX_DEPTH - 1)) == Path("a", "x")
    for text in ("(" * MAX_DEPTH + "a.x" + ")" * MAX_DEPTH, "(" * 1900, "a.x or " * 400):
        with pytest.raises(ExpressionFault):
            parse(text)


@given(st.text(max_size=60) | st.text("ab.x()[]<>=!+-'\" 0123andornotinisnull", max_size=60))
def test_any_text_is_a_tree_or_a_fault(text: str) -> None:
    try:
        parse(text)
    except ExpressionFault as fault:
        told = (fault.message, fault.fix)
    else:
        return
    assert all(told)

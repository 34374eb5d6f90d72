"""One thing wrong with a schema, as a value and as a line."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from schemas.flaw import Flaw


def test_a_flaw_reads_as_place_message_rule_and_fix() -> None:
    assert str(Flaw("a.b[]", "no-time", "It has no time.", "Add one.")) == "a.b[]: It has no time. [no-time] Add one."


def test_a_flaw_of_the_whole_schema_says_so() -> None:
    assert str(Flaw("", "name", "It has no name.", "Name it.")).startswith("schema: ")


def test_flaws_are_told_in_the_order_of_their_places() -> None:
    flaws = [Flaw("b", "x", "m", "f"), Flaw("a", "y", "m", "f"), Flaw("a", "x", "m", "f")]
    assert [(flaw.path, flaw.rule) for flaw in sorted(flaws)] == [("a", "x"), ("a", "y"), ("b", "x")]


def test_a_flaw_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Flaw("a", "x", "m", "f").path = "b"  # type: ignore[misc]

"""Text from outside on a terminal: nothing in it acts, nothing is lost, JSON stays the same document."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import printable
from bus.errors import MAX_SHOWN, CheckFailed, Finding


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Şəki 😀 plain", "Şəki 😀 plain"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\ud800", "\\ud800"),
        ("\x00\x7f", "\\x00\\x7f"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert printable.line(text) == shown


@given(st.text(st.characters()))
def test_a_line_is_printable_and_lines_keeps_only_line_feeds(text: str) -> None:
    assert printable.line(text).isprintable()
    assert printable.lines(text).count("\n") == text.count("\n")
    assert all(part.isprintable() for part in printable.lines(text).split("\n"))


@given(st.recursive(st.text(st.characters()), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_escaped_json_is_the_same_document(document: object) -> None:
    text = printable.json_text(json.dumps(document, ensure_ascii=False))
    assert text.isprintable()
    assert json.loads(text) == document


def test_a_finding_is_one_short_line_whatever_the_file_says() -> None:
    text = str(Finding("a\nb.yaml", 3, "r", "x\x1b" * 100_000, "fix"))
    assert text.isprintable()
    assert len(text) < 8_000
    assert "more characters" in text


def test_a_page_of_findings_is_cut_and_the_rest_is_counted() -> None:
    findings = [Finding("f", line, "r", "bad.", "Fix.") for line in range(1, 1_101)]
    shown = str(CheckFailed(findings)).splitlines()
    assert len(shown) == MAX_SHOWN + 1
    assert shown[-1] == "… and 1,080 more findings."

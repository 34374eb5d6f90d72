"""One letter in full: every row of bytes that matters is shown, and none can steer the terminal."""

from __future__ import annotations

import pytest

from bus.cli import context, letter_text
from bus.ledger import State
from bus.letter_opening import Look, Verdict
from schemas.explain import Fault
from tests.bus.test_letters import RECORD, letter

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("size", [0, 1, 16, 17, 511, 512, 513, 4_000])
@pytest.mark.parametrize("full", [False, True])
def test_the_row_of_the_fault_is_always_shown_and_marked(size: int, full: bool) -> None:
    value = bytes(n % 256 for n in range(size))
    for at in {0, size // 2, max(0, size - 1)}:
        rows = letter_text._dump(value, Fault("x", at, "why"), full=full)
        assert [row[2:8] for row in rows if row.startswith(">")] == [f"{at - at % 16:06d}"] * (size > 0)
        hidden = [row for row in rows if "--full" in row]
        assert not (full and hidden)
        told = sum(int(row.split()[2].replace(",", "")) for row in hidden)
        assert told + sum(len(row[10:57].split()) for row in rows if row not in hidden) == size


def test_bytes_are_shown_as_digits_and_safe_text() -> None:
    (row,) = letter_text._dump(b"a\x1b[2J\xff~", None, full=False)
    assert row == "  000000  61 1b 5b 32 4a ff 7e".ljust(57) + "  a.[2J.~"


def test_a_letter_whose_bytes_are_nowhere_still_has_a_screen_and_a_document(capsys: Capture) -> None:
    seen = Look(Verdict("stuck", "decode", "its topic no longer has them"))
    context.show(letter_text.screen(letter(), State.OPEN, None, seen, full=False))
    assert "cannot be redriven: its topic no longer has them" in capsys.readouterr().out
    assert letter_text.document(letter(), State.OPEN, None, seen)["value_hex"] is None


def test_each_outcome_is_said_of_one_letter(capsys: Capture) -> None:
    for outcome in letter_text.OUTCOMES:
        context.show(letter_text.screen(letter(), State.DROPPED, RECORD, Look(Verdict(outcome)), full=False))
        shown = capsys.readouterr().out
        assert "dropped" in shown
        assert "their" not in shown

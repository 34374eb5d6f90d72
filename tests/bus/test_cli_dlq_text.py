"""What `dlq` writes: every row of bytes that matters, long things clipped, ages once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bus.cli import context, dlq_text
from bus.ledger import Ledger
from bus.letter_desk import Findings, Stray
from bus.letter_opening import Verdict
from bus.message import Partition
from bus.redrive import Done
from tests.bus.test_letters import NOW, letter

Capture = pytest.CaptureFixture[str]


def test_an_age_is_said_once_when_oldest_and_newest_are_alike(capsys: Capture) -> None:
    one = letter()
    found = Findings(Ledger([one]))
    context.show(dlq_text.by_cause(found, [one], NOW + timedelta(hours=2)))
    shown = capsys.readouterr().out
    assert "given up 2.0 h ago, for" in shown
    assert "dlq redrive --cause" in shown


def test_strays_and_outcomes_beyond_a_screen_are_counted(capsys: Capture) -> None:
    strays = [Stray(Partition("g.dead", 0), n, "odd") for n in range(25)]
    context.show(dlq_text.by_cause(Findings(Ledger([]), strays), [], NOW))
    assert "and 5 more records" in capsys.readouterr().out
    many = [(letter(), Verdict("fails", "decode", f"reason {n}")) for n in range(30)]
    context.show(dlq_text.verdicts(many))
    assert "and 10 more rows" in capsys.readouterr().out
    assert dlq_text.verdicts_document(many)["counts"] == {"fails": 30}


def test_an_action_says_what_is_left_and_the_way_back() -> None:
    so_far = Done(5, [(letter(), "too large")] * 25, stopped=True)
    said = dlq_text.done("redrive", "0" * 16, so_far, 30)
    assert said.count("left open") == 20
    assert "and 5 more" in said
    assert "The same command" in said or "the same command" in said
    assert said.endswith(f"agencybus dlq undo {'0' * 16}")
    assert "--again" in dlq_text.done("redrive", "0" * 16, Done(), 0)
    assert "--again" not in dlq_text.done("drop", "0" * 16, Done(), 0)
    assert dlq_text.history([]) == "No operator has acted on dead letters yet."

"""What `parked` writes: keys that can be typed, and no more lines than a screen holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.parked import timer
from bus.cli import context, parked_text
from bus.cli.parked import _bytes
from bus.message import Partition
from bus.parked_desk import Held, Row, Unread
from bus.release import Outcome
from schemas.envelope import to_us
from tests.bus.letters import TOPIC
from tests.bus.parked import NOW, entry

Capture = pytest.CaptureFixture[str]


def held(key: bytes) -> Held:
    return Held(group="g", place=Partition("g.parked", 0), topic="t", key=key, rows=(Row(b"k", entry(1, key)),))


@given(st.binary(max_size=20) | st.text(max_size=10).map(str.encode))
def test_a_key_as_it_is_shown_can_be_typed(key: bytes) -> None:
    shown = parked_text.key_text(key)
    assert shown.isprintable()
    assert _bytes(shown) == key


def test_a_timer_of_a_workflow_is_shown_by_when_it_was_due() -> None:
    due = timer("case-1", 0, to_us(NOW))
    assert parked_text._place(due) == "timer due 2026-01-05T08:00:00.000000Z"
    assert parked_text._place(entry(7, b"a").record) == f"{TOPIC}[0]@7"


def test_more_than_a_screen_is_counted(capsys: Capture) -> None:
    many = [held(b"k%d" % n) for n in range(45)]
    context.show(parked_text.overview(many, [Unread(Partition("g.parked", 1), "the row is cut short")], NOW, besides=0))
    shown = capsys.readouterr().out
    assert "and 5 more keys" in shown
    assert "g.parked[1]: a row cannot be read: the row is cut short" in shown
    said = parked_text.outcome_text("release", "0" * 16, Outcome(failed=many))
    assert said.count("failed again") == 40
    assert "and 5 more." in said

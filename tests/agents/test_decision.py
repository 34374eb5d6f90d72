"""A decision knows when there is nothing to store; a piece of work is named by its place."""

from __future__ import annotations

from agents import parked
from agents.decision import Decision, place
from agents.parked import TIMER
from bus.message import Record

RECORD = Record("a.b.c.v1", 1, 7, 0, b"c", None, ())


def test_a_decision_that_only_fired_nothing_is_empty_and_one_that_covers_a_record_is_not() -> None:
    assert Decision(fired=[(1, "c")]).empty
    assert not Decision(taken=[RECORD]).empty
    assert not Decision(told=[RECORD]).empty
    assert not Decision(changes={"c": None}).empty
    assert not Decision(rows={b"k": None}).empty


def test_the_place_of_a_timer_has_its_case_since_many_fall_due_at_once() -> None:
    assert place(RECORD, "c") == place(RECORD) == ("a.b.c.v1", 1, 7, "")
    assert place(parked.timer("c", 1, 7), "c") == (TIMER, 1, 7, "c")

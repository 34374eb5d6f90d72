"""What operators do is told in parts that a topic takes, each once."""

from __future__ import annotations

from bus.operators import Operator
from schemas.bus_events import LETTERS_AT_ONCE, OperatorAct
from tests.bus.letters import GROUP
from tests.bus.test_redrive import Notes


def operator(writer: Notes) -> Operator:
    return Operator(writer=writer, by="test", action="0" * 16, reason="why")


def test_a_large_act_is_told_in_parts_and_each_part_is_an_event_of_its_own() -> None:
    writer, ids = Notes(), [f"{n:016x}" for n in range(LETTERS_AT_ONCE + 1)]
    who = operator(writer)
    who.say(OperatorAct.DROP, GROUP, ids, planned=300)
    who.say(OperatorAct.DROP, GROUP, ids[:1], planned=300)
    assert [one for act in writer.acts for one in act.letters] == [*ids, ids[0]]
    assert [act.part for act in writer.acts] == [1, 2, 3]
    assert {(act.by, act.reason, act.planned, act.action) for act in writer.acts} == {("test", "why", 300, "0" * 16)}


def test_an_action_on_nothing_is_still_said() -> None:
    writer = Notes()
    operator(writer).say(OperatorAct.UNDO, GROUP, [], planned=0, undone="1" * 16)
    assert [act.letters for act in writer.acts] == [[]]

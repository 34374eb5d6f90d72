"""What a walk gathers: the program, what a case keeps, and every fault with its place in the file."""

from __future__ import annotations

import pytest

from agents.definition import Process
from agents.evaluate import Binding, Scope
from agents.gather import Gather, Spot
from agents.graph import Emit, End, Step
from bus import document
from tests.agents.process_support import ANSWER, CATALOGUE, Thing, thing

TEXT = f"""process: p
title: A test
opens_on: {thing("a")}
as: opened
do:
  - say:
      emit: {ANSWER}
      with: {{number: opened.number}}
      owner: z
  - done: {{end: completed}}
"""
LOC = ("do", 0, "say")


@pytest.fixture
def gather() -> Gather:
    return Gather(document.parse(TEXT.encode(), Process, file="p.yaml"), CATALOGUE)


def scope() -> Scope:
    return Scope({"opened": Binding(thing("a"), Thing)})


def test_a_fault_comes_out_with_file_line_rule_and_fix(gather: Gather) -> None:
    gather.fault("rule", "It is wrong.", LOC, fix="Do this.")
    (finding,) = gather.findings
    assert (finding.file, finding.line, finding.rule) == ("p.yaml", 6, "rule")
    assert (finding.message, finding.fix) == ("It is wrong.", "Do this.")


def test_a_topic_nobody_knows_is_a_fault_and_a_known_one_its_type(gather: Gather) -> None:
    known = gather.type_of(ANSWER, LOC)
    assert known is not None
    assert known.topic == ANSWER
    assert gather.findings == []
    assert gather.type_of("z.answer.taken.v1", LOC) is None
    assert [finding.rule for finding in gather.findings] == ["unknown-type"]


@pytest.mark.parametrize(
    ("owner", "result", "rules"),
    [("justice", "justice", []), (None, "", ["owner-missing"]), ("Justice!", "", ["owner"])],
)
def test_an_owner_is_an_agency_s_name(gather: Gather, owner: str | None, result: str, rules: list[str]) -> None:
    assert gather.owner(owner, LOC, "Step say") == result
    assert [finding.rule for finding in gather.findings] == rules


def test_addresses_are_given_in_order_and_filled_later(gather: Gather) -> None:
    first, second = gather.reserve(), gather.reserve()
    assert (first, second, gather.program) == (0, 1, [None, None])
    node = End("done", "completed")
    assert gather.put(second, node, "end done completed") == second
    assert gather.program == [None, node]
    assert gather.form == {1: "end done completed"}


def test_an_emission_is_a_node_that_notes_its_agency_and_what_a_case_must_keep(gather: Gather) -> None:
    spot = Spot("say", LOC, scope(), gather.reserve(), 7)
    address = gather.emission(spot, CATALOGUE.topic(ANSWER), {"number": "opened.number"})
    node = gather.program[address]
    assert isinstance(node, Emit)
    assert (node.step, node.topic, node.agency, node.next) == ("say", ANSWER, "z", 7)
    assert node.fill({"opened": {"number": 3}}) == {"number": 3}
    assert gather.needs == {thing("a"): {"number"}}
    assert gather.agencies == {ANSWER: "z"}


def test_a_mapping_that_does_not_fit_leaves_the_address_empty_and_names_the_field(gather: Gather) -> None:
    spot = Spot("say", LOC, scope(), gather.reserve(), 7)
    gather.emission(spot, CATALOGUE.topic(ANSWER), {"number": "opened.text"})
    assert gather.program == [None]
    assert [(f.rule, f.line) for f in gather.findings] == [("mapping", 8)]
    assert "number" in gather.findings[0].message


def test_an_emission_of_an_unknown_type_adds_nothing(gather: Gather) -> None:
    spot = Spot("say", LOC, scope(), gather.reserve(), 7)
    assert gather.emission(spot, None, {}) == spot.here
    assert (gather.program, gather.findings) == ([None], [])


@pytest.mark.parametrize(
    ("text", "ok"), [("opened.flag", True), ("opened.number > 3", True), ("opened.text", False), ("opened.", False)]
)
def test_a_condition_is_checked_or_a_fault(gather: Gather, text: str, ok: bool) -> None:
    assert (gather.condition(text, LOC, scope()) is not None) is ok
    assert (gather.findings == []) is ok


def test_a_time_must_be_a_time_and_the_event_s_own_time_is_noted(gather: Gather) -> None:
    assert gather.time("opened.number", LOC, scope()) is None
    assert "is a whole number, not a time" in gather.findings[0].message or "not a time" in gather.findings[0].message
    assert gather.time("opened.when", LOC, scope()) is not None
    assert gather.needs == {thing("a"): {"number", "when"}}
    assert gather.time("opened.time", LOC, scope()) is not None
    assert gather.timed == {"opened"}


def test_what_people_want_to_know_of_a_step_is_added_bit_by_bit(gather: Gather) -> None:
    gather.steps["say"] = Step(kind="emit", title="Say it")
    gather.describe("say", owner="z", replaces=("a form",))
    assert gather.steps["say"] == Step(kind="emit", title="Say it", owner="z", replaces=("a form",))

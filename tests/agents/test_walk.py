"""What the compiler finds, rule by rule, with the line and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from tests.agents.process_support import ANSWER, END, MISSED, compiled, findings, listen, refused, thing

STOP = {"end": "stopped"}
TELL = {"emit": ANSWER, "with": {"number": 1}}


def fork(x: list[Any], y: list[Any]) -> dict[str, Any]:
    return {"both": {"fork": {"x": x, "y": y}}}


def switch(*arms: Any) -> dict[str, Any]:
    return {"pick": {"switch": list(arms)}}


def arm(when: str, *steps: Any) -> dict[str, Any]:
    return {"when": when, "do": list(steps)}


@pytest.mark.parametrize(
    ("steps", "rule", "says"),
    [
        (
            [{"got": {"listen": "b.thing.doen.v1", "owner": "b", "deadline": "none"}}, END],
            "unknown-type",
            "b.thing.done",
        ),
        ([{"x": {"emit": "b.nothing.here.v1"}}, END], "unknown-type", "no event type"),
        ([{"got": {"listen": thing("b"), "deadline": "none"}}, END], "owner-missing", "owner: <agency>"),
        ([{"got": listen("b", owner="Not An Agency")}, END], "owner", "lower-case"),
        ([{"got": {"listen": thing("b"), "owner": "b"}}, END], "deadline-missing", "deadline: none"),
        ([{"got": listen("b")}], "end-missing", "end: completed"),
        ([END, {"more": TELL}], "unreachable", "ends the case"),
        ([{"x": TELL}, {"x": TELL}, END], "duplicate-step", "its own name"),
        ([fork([{"x": TELL}], []), END], "fork-empty", "no steps"),
        ([fork([{"x": listen("b")}], [{"y": listen("b")}]), END], "competing-listen", "where"),
        ([{"got": listen("b", as_="opened")}, END], "shadowing", "as"),
        (
            [fork([{"x": listen("b", **{"as": "it"})}], [{"y": listen("c", **{"as": "it"})}]), END],
            "shadowing",
            "two branches",
        ),
        ([switch(arm("opened.number > 1")), END], "switch-else", "else: []"),
        ([switch(arm("opened.flag")), END], "switch-else", "opened.flag = False"),
        ([switch({"else": []}, arm("opened.flag")), END], "switch-else", "Move else"),
        ([switch(arm("opened.flag"), arm("not opened.flag"), {"else": []}), END], "unreachable", "never taken"),
        ([switch(arm("opened.flag"), arm("opened.flag"), {"else": []}), END], "unreachable", "never taken"),
        ([{"r": {"repeat": {"until": "opened.flag", "max": 3, "do": [{"x": TELL}]}}}, END], "repeat-spins", "wait"),
        ([{"r": {"repeat": {"until": True, "max": 3, "do": [{"x": STOP}]}}}, END], "unreachable", "never goes round"),
        ([{"w": {"wait": {"until": "opened.when"}}}, END], "wait", "for ever"),
        ([{"w": {"wait": {"until": "opened.day"}}}, END], "expression", "not a time"),
        ([{"got": listen("b", deadline={"at": "opened.number"})}, END], "expression", "not a time"),
        ([{"got": listen("b", where="got.number")}, END], "expression", "no condition"),
        ([{"got": listen("b", deadline={"days": 1, "late": {"emit": ANSWER}})}, END], "mapping", "needs the field"),
        (
            [{"got": listen("b", deadline={"days": 1, "late": {"do": [{"y": listen("c")}]}})}, END],
            "late",
            "cannot listen",
        ),
        (
            [{"x": {"emit": ANSWER, "with": {"number": "got.number"}}}, {"got": listen("b")}, END],
            "mapping",
            "nothing is named",
        ),
        (
            [
                switch(arm("opened.flag", {"got": listen("b")}), {"else": []}),
                {"x": {"emit": ANSWER, "with": {"number": "got.number"}}},
                END,
            ],
            "mapping",
            "every way",
        ),
    ],
)
def test_a_fault_is_found(steps: list[Any], rule: str, says: str) -> None:
    for step in steps:
        for body in step.values():
            if "as_" in body:
                body["as"] = body.pop("as_")
    found = refused(steps)
    assert rule in found, found
    assert says.lower() in f"{found[rule].message} {found[rule].fix}".lower()
    assert found[rule].fix


@pytest.mark.parametrize(
    "steps",
    [
        [
            switch(
                arm("opened.flag", {"one": listen("b", **{"as": "it"})}),
                {"else": [{"two": listen("b", **{"as": "it"})}]},
            ),
            {"x": {"emit": ANSWER, "with": {"number": "it.number"}}},
            END,
        ],
        [
            fork([{"one": listen("b")}], [{"two": listen("c")}]),
            {"x": {"emit": ANSWER, "with": {"number": "= one.number + two.number"}}},
            END,
        ],
        [
            switch(arm("opened.maybe is null", {"stop": STOP}), {"else": []}),
            {"again": {"switch": [arm("opened.maybe", {"no": STOP}), arm("not opened.maybe", {"yes": STOP})]}},
        ],
        [
            switch(arm("opened.when is null", {"stop": STOP}), {"else": []}),
            {"w": {"wait": {"until": "opened.when"}}},
            END,
        ],
        [{"got": listen("b", where="got.when is not null")}, {"w": {"wait": {"until": "got.when + 3 days"}}}, END],
    ],
)
def test_what_is_bound_or_known_on_every_way_can_be_used_after_it(steps: list[Any]) -> None:
    assert refused(steps) == {}


def test_a_deadline_of_the_case_covers_its_steps_and_needs_an_owner() -> None:
    steps = [{"got": {"listen": thing("b"), "owner": "b"}}, END]
    whole = {"deadline": {"days": 9, "late": {"emit": MISSED}}}
    assert refused(steps, owner="z", **whole) == {}
    assert set(refused(steps, **whole)) == {"owner-missing", "mapping"}


def test_every_fault_is_told_with_its_own_line() -> None:
    text = """process: p
title: Two faults
opens_on: a.thing.done.v1
do:
  - got:
      listen: b.thing.done.v1
      deadline: none
  - tell:
      emit: z.answer.given.v1
      with:
        number: got.text
  - done: {end: completed}
"""
    assert [(f.line, f.rule) for f in findings(text)] == [(5, "owner-missing"), (11, "mapping")]


def test_only_what_expressions_read_is_kept() -> None:
    graph = compiled(
        [
            {"got": listen("b", where="got.flag and got.time > case.opened", deadline={"at": "opened.when"})},
            {"x": {"emit": ANSWER, "with": {"number": "got.number"}}},
            END,
        ]
    )
    assert graph.needs == {thing("a"): ("when",), thing("b"): ("flag", "number")}
    assert graph.keeps_case
    assert not graph.keeps_opening_time

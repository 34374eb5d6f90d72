"""The state machine: what each kind of step does, and what holds for every process and every order of events."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.json import decode

from agents import machine
from agents.case import EARLY_LIMIT, Case, next_due
from agents.case_bytes import from_bytes, to_bytes
from agents.graph import Graph
from agents.machine import Arrival, Emit, Rejected
from tests.agents.process_support import ANSWER, END, MISSED, SECOND, Thing, arrival, compiled, listen, thing

DAY = 86_400


def walk(graph: Graph, *arrivals: Arrival) -> tuple[Case, list[Emit]]:
    case: Case | None = None
    emits: list[Emit] = []
    for one in arrivals:
        case, out = machine.step(graph, case, one)
        emits += out
    assert case is not None
    return case, emits


def test_an_event_opens_a_case_and_the_next_one_ends_it() -> None:
    graph = compiled([{"got": listen("b")}, {"tell": {"emit": ANSWER, "with": {"number": "got.number"}}}, END])
    case, emits = walk(graph, arrival("a", 1), arrival("b", 2))
    assert case.outcome == "completed"
    assert case.values == {}
    assert [(e.topic, e.step, e.agency, decode(e.data), e.at, e.caused_by) for e in emits] == [
        (ANSWER, "tell", "z", {"number": 0}, 2 * SECOND, "b-2")
    ]
    assert [(m.step, m.topic, m.offset) for m in case.trail] == [("opened", thing("a"), 1), ("got", thing("b"), 2)]


def test_an_event_of_no_case_that_opens_none_is_unopened() -> None:
    with pytest.raises(Rejected) as caught:
        machine.step(compiled([{"got": listen("b")}, END]), None, arrival("b", 1))
    assert caught.value.reason == "unopened"


def test_an_unseen_event_after_the_end_is_late_and_a_seen_one_changes_nothing() -> None:
    graph = compiled([{"got": listen("b")}, END])
    case, _ = walk(graph, arrival("a", 1), arrival("b", 2))
    again, emits = machine.step(graph, case, arrival("b", 2))
    assert again is case
    assert emits == ()
    with pytest.raises(Rejected) as caught:
        machine.step(graph, case, arrival("b", 3))
    assert caught.value.reason == "late"


def test_a_case_of_another_process_is_not_stepped() -> None:
    one, other = compiled([{"got": listen("b")}, END]), compiled([{"got": listen("c")}, END])
    case, _ = walk(one, arrival("a", 1))
    with pytest.raises(ValueError, match="pinned"):
        machine.step(other, case, arrival("c", 2))


def test_a_switch_takes_the_first_arm_that_holds_and_else_goes_on() -> None:
    graph = compiled(
        [
            {"pick": {"switch": [{"when": "opened.flag", "do": [{"stop": {"end": "flagged"}}]}, {"else": []}]}},
            END,
        ]
    )
    assert walk(graph, arrival("a", 1, flag=True))[0].outcome == "flagged"
    assert walk(graph, arrival("a", 1))[0].outcome == "completed"


def test_a_fork_joins_when_both_branches_are_done_and_not_before() -> None:
    graph = compiled([{"both": {"fork": {"x": [{"one": listen("b")}], "y": [{"two": listen("c")}]}}}, END])
    case, _ = walk(graph, arrival("a", 1), arrival("c", 2))
    assert set(case.active) == {"one"}
    assert not case.closed
    assert machine.step(graph, case, arrival("b", 3))[0].outcome == "completed"


def test_an_end_inside_a_branch_closes_the_whole_case() -> None:
    graph = compiled(
        [
            {
                "both": {
                    "fork": {
                        "x": [
                            {"one": listen("b")},
                            {"pick": {"switch": [{"when": "one.flag", "do": [{"stop": {"end": "no"}}]}, {"else": []}]}},
                        ],
                        "y": [{"two": listen("c")}],
                    }
                }
            },
            END,
        ]
    )
    case, _ = walk(graph, arrival("a", 1), arrival("b", 2, flag=True))
    assert case.outcome == "no"
    assert case.active == {}


def test_a_repeat_leaves_when_its_condition_holds_or_its_rounds_are_done() -> None:
    loop = {"until": "got.flag", "max": 3, "do": [{"got": listen("b")}]}
    graph = compiled([{"more": {"repeat": loop}}, END])
    case, _ = walk(graph, arrival("a", 1), arrival("b", 2), arrival("b", 3, flag=True))
    assert case.outcome == "completed"
    case, _ = walk(graph, arrival("a", 1), arrival("b", 2), arrival("b", 3))
    assert case.counts == {"more": 2}
    assert machine.step(graph, case, arrival("b", 4))[0].outcome == "completed"


def test_a_loop_leaves_one_count_and_the_last_values_however_often_it_runs() -> None:
    loop = {"until": "got.flag", "max": 1000, "do": [{"got": listen("b")}]}
    graph = compiled([{"more": {"repeat": loop}}, END])
    short, _ = walk(graph, arrival("a", 1), *(arrival("b", n) for n in range(2, 4)))
    long, _ = walk(graph, arrival("a", 1), *(arrival("b", n) for n in range(2, 300)))
    for case in (short, long):
        case.applied, case.trail, case.transitions = [], [], 0
    assert len(to_bytes(long)) - len(to_bytes(short)) < 20


def test_a_wait_passes_at_its_time_and_a_time_in_the_past_at_once() -> None:
    graph = compiled([{"pause": {"wait": {"for": {"days": 2}}}}, END])
    case, _ = walk(graph, arrival("a", 1))
    due = (1 + 2 * DAY) * SECOND
    assert next_due(case) == due
    assert machine.due(graph, case, due - 1)[0] is case
    assert machine.due(graph, case, due)[0].outcome == "completed"
    past = compiled([{"pause": {"wait": {"until": "opened.time - 1 day"}}}, END])
    assert walk(past, arrival("a", 1))[0].outcome == "completed"


LATE = {"deadline": {"hours": 1, "late": {"emit": MISSED}}}


def test_a_passed_deadline_is_told_once_with_its_facts_and_the_step_goes_on_waiting() -> None:
    graph = compiled([{"got": listen("b", **LATE)}, END])
    case, _ = walk(graph, arrival("a", 10))
    late, emits = machine.due(graph, case, 5000 * SECOND)
    assert [(decode(e.data), e.at, e.caused_by, e.step) for e in emits] == [
        (
            {"process": "p", "step": "got", "owner": "b", "due": "1970-01-01T01:00:10.000000Z"},
            3610 * SECOND,
            None,
            "got",
        )
    ]
    assert next_due(late) is None
    assert machine.due(graph, late, 9999 * SECOND) == (late, ())
    assert machine.step(graph, late, arrival("b", 6000))[0].outcome == "completed"


def test_a_timer_due_before_an_event_fires_first_and_one_due_with_it_does_not() -> None:
    graph = compiled([{"got": listen("b", **LATE)}, END])
    case, _ = walk(graph, arrival("a", 0))
    assert machine.step(graph, case, arrival("b", 3600))[1] == ()
    _, emits = machine.step(graph, case, arrival("b", 3601))
    assert [e.at for e in emits] == [3600 * SECOND]


WHOLE = {"owner": "z", "deadline": {"at": "opened.when", "late": {"emit": MISSED}}}


def test_a_deadline_of_the_case_that_is_past_when_it_opens_fires_at_once_even_if_the_case_ends() -> None:
    graph = compiled([END], **WHOLE)
    case, emits = walk(graph, arrival("a", 10, when="1970-01-01T00:00:09.999999Z"))
    assert case.outcome == "completed"
    assert [(e.topic, decode(e.data)["step"], e.at) for e in emits] == [(MISSED, "case", 10 * SECOND)]
    assert walk(graph, arrival("a", 10, when="1970-01-01T00:00:10Z"))[1] == []
    assert walk(graph, arrival("a", 10, when=None))[1] == []


def test_a_deadline_of_the_case_is_dropped_at_its_end() -> None:
    graph = compiled([{"got": listen("b")}, END], **WHOLE)
    opened = arrival("a", 10, when="1970-01-01T00:00:20Z")
    case, emits = walk(graph, opened, arrival("b", 20))
    assert emits == []
    assert next_due(case) is None
    _, emits = walk(graph, opened, arrival("b", 21))
    assert len(emits) == 1


def test_a_passed_deadline_can_end_the_case() -> None:
    graph = compiled([{"got": listen("b", deadline={"hours": 1, "late": {"end": "expired"}})}, END])
    case, _ = walk(graph, arrival("a", 0))
    assert machine.due(graph, case, 3600 * SECOND)[0].outcome == "expired"
    with pytest.raises(Rejected) as caught:
        machine.step(graph, case, arrival("b", 3601))
    assert caught.value.reason == "late"
    assert not case.closed


def test_an_early_event_is_kept_and_taken_when_its_step_is_reached() -> None:
    steps = [
        {"one": listen("b")},
        {"two": listen("c")},
        {"tell": {"emit": ANSWER, "with": {"number": "two.number"}}},
        END,
    ]
    graph = compiled(steps)
    early, _ = walk(graph, arrival("a", 1), arrival("c", 2, number=2))
    assert [m.step for m in early.trail] == ["opened", ""]
    case, emits = machine.step(graph, early, arrival("b", 3))
    assert case.outcome == "completed"
    assert [m.step for m in case.trail] == ["opened", "two", "one"]
    assert len(emits) == 1
    assert machine.step(graph, early, arrival("c", 2, number=2))[0] is early


def test_an_early_event_is_refused_when_the_process_says_so_or_no_step_will_take_it_or_too_many_wait() -> None:
    steps = [{"one": listen("b")}, {"two": listen("c")}, END]
    refusing, _ = walk(compiled(steps, early="refuse"), arrival("a", 1))
    keeping, _ = walk(compiled(steps), arrival("a", 1))
    second, _ = walk(compiled(steps), arrival("a", 1), arrival("b", 2))
    full, _ = walk(compiled(steps), arrival("a", 1), *(arrival("c", n) for n in range(2, 2 + EARLY_LIMIT)))
    for graph, case, one in (
        (compiled(steps, early="refuse"), refusing, arrival("c", 2)),
        (compiled(steps), keeping, arrival("a", 2)),
        (compiled(steps), second, arrival("b", 3)),
        (compiled(steps), full, arrival("c", 900)),
    ):
        before = to_bytes(case)
        with pytest.raises(Rejected) as caught:
            machine.step(graph, case, one)
        assert caught.value.reason == "unexpected"
        assert to_bytes(case) == before


def test_where_says_which_event_a_branch_takes() -> None:
    branches = {
        "x": [{"one": listen("b", where="one.flag")}],
        "y": [{"two": listen("b", where="not two.flag and two.time > opened.time")}],
    }
    graph = compiled([{"both": {"fork": branches}}, END])
    case, _ = walk(graph, arrival("a", 1), arrival("b", 2))
    assert set(case.active) == {"one"}
    assert machine.step(graph, case, arrival("b", 3, flag=True))[0].outcome == "completed"


# -- what holds for every process ---------------------------------------------------------------------------------

Steps = list[dict[str, Any]]


@st.composite
def processes(draw: st.DrawFn, *, timers: bool) -> Steps:
    """Block-structured steps over the topics b-i; branches of a fork never wait for one topic."""
    counter = iter(range(1000))

    def block(topics: str, depth: int, scope: list[str]) -> Steps:
        """Steps that begin with the names of `scope` bound, and add theirs to it."""
        steps: Steps = []
        for _ in range(draw(st.integers(1, 3))):
            name = f"s{next(counter)}"
            kinds = ["listen", "emit"] + (["wait"] if timers else [])
            kinds += ["repeat", "switch"] if depth else []
            kinds += ["fork"] if depth and len(topics) > 1 else []
            kind = draw(st.sampled_from(kinds))
            if kind == "listen":
                more = draw(st.sampled_from([{}, LATE, {"deadline": {"minutes": 2, "late": {"emit": MISSED}}}]))
                steps.append({name: listen(draw(st.sampled_from(topics)), **(more if timers else {}))})
                scope.append(name)
            elif kind == "emit":
                said = {
                    "number": f"{draw(st.sampled_from(scope))}.number",
                    "text": f"{draw(st.sampled_from(scope))}.text",
                }
                steps.append({name: {"emit": ANSWER, "with": said}})
            elif kind == "wait":
                steps.append({name: {"wait": {"for": {"minutes": draw(st.integers(1, 90))}}}})
            elif kind == "repeat":
                first = {f"s{next(counter)}": listen(draw(st.sampled_from(topics)))}
                scope.append(next(iter(first)))
                body = [first, *block(topics, depth - 1, scope)]
                steps.append({name: {"repeat": {"until": False, "max": draw(st.integers(1, 3)), "do": body}}})
            elif kind == "switch":
                yes, no = (block(topics, depth - 1, [*scope]) for _ in range(2))
                arms = [{"when": "opened.flag", "do": yes}, {"else": no}]
                steps.append({name: {"switch": arms}})
            else:
                cut = draw(st.integers(1, len(topics) - 1))
                left, right = [*scope], [*scope]
                branches = {"x": block(topics[:cut], depth - 1, left), "y": block(topics[cut:], depth - 1, right)}
                scope += [*left[len(scope) :], *right[len(scope) :]]
                steps.append({name: {"fork": branches}})
        return steps

    return [*block("bcdefg", 2, ["opened"]), END]


EVENTS = st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 3000)), max_size=25)


@settings(max_examples=150, deadline=None)
@given(processes(timers=True), EVENTS, st.booleans())
def test_any_process_under_any_events(steps: Steps, events: list[tuple[str, int]], flag: bool) -> None:
    graph = compiled(steps)
    at = 1000
    first = arrival("a", at, number=0, flag=flag)
    case, emits = machine.step(graph, None, first)
    ids = [e.id for e in emits]
    for serial, (agency, gap) in enumerate(events, 1):
        at += gap
        one = arrival(agency, at, number=serial)
        before = to_bytes(case)
        assert from_bytes(before) == case
        try:
            after, out = machine.step(graph, case, one)
        except Rejected:
            assert to_bytes(case) == before
            continue
        assert to_bytes(case) == before, "the state given was changed"
        assert machine.step(graph, from_bytes(before), one) == (after, out), "a second run differs"
        assert machine.step(graph, after, one)[0] is after, "a duplicate changed something"
        ticked, timed = machine.due(graph, case, one.at - 1)
        assert machine.step(graph, ticked, one) == (after, out[len(timed) :]), "timers first, or within: not the same"
        assert out[: len(timed)] == timed
        assert [e.at for e in out] == sorted(e.at for e in out)
        assert all(e.caused_by is None and e.at < one.at for e in timed)
        soonest = next_due(after)
        assert after.closed or soonest is None or soonest >= one.at
        assert len(after.applied) == len(case.applied) + 1
        assert after.closed == (not after.active)
        case = after
        ids += [e.id for e in out]
    assert len(ids) == len(set(ids))


@settings(max_examples=300, deadline=None)
@given(processes(timers=True), EVENTS, st.booleans())
def test_nothing_that_is_forgotten_would_have_been_read(
    steps: Steps, events: list[tuple[str, int]], flag: bool
) -> None:
    graph = compiled(steps)
    whole = {name: frozenset(Thing.model_fields) for name in (*graph.steps, "opened")}
    remembering = replace(graph, keeps=dict.fromkeys(graph.keeps, whole))
    at = 1000
    said: list[list[Emit]] = []
    for one in (graph, remembering):
        arrivals = [arrival("a", at, number=0, flag=flag, text="at first")]
        arrivals += [arrival(agency, at + n, number=n, text=f"{n}") for n, (agency, _) in enumerate(events, 1)]
        said.append(told(one, arrivals))
    assert said[0] == said[1]


def told(graph: Graph, arrivals: list[Arrival]) -> list[Emit]:
    """What comes out of a case from one arrival after the other, those that do not fit left out."""
    case: Case | None = None
    emits: list[Emit] = []
    for one in arrivals:
        with suppress(Rejected):
            case, out = machine.step(graph, case, one)
            emits += out
    return emits


class Oracle:
    """The same language, run by rewriting the rest of the tree: no addresses, no counters shared with the machine."""

    def __init__(self, steps: Steps, *, flag: bool) -> None:
        self.flag = flag
        self.ended = False
        self.rest = self.settle(("seq", steps))

    def settle(self, term: Any) -> Any:  # noqa: PLR0911  # one return per kind of term
        """Drop what is done at the front; None when all is done."""
        kind = term[0]
        if kind == "listen":
            return term
        if kind == "par":
            parts = [settled for part in term[1] if (settled := self.settle(part)) is not None]
            return ("par", parts) if parts else None
        if kind == "then":
            head = self.settle(term[1])
            return ("then", head, term[2]) if head is not None else self.settle(term[2])
        if not term[1]:
            return None
        (name, body), *_ = term[1][0].items()
        more = ("seq", term[1][1:])
        if "end" in body:
            self.ended = True
            return None
        if "emit" in body:
            return self.settle(more)
        return self.settle(("then", self.unfold(name, body), more))

    def unfold(self, name: str, body: Any) -> Any:
        if "listen" in body:
            return ("listen", name, body["listen"])
        if "switch" in body:
            arms = body["switch"]
            return ("seq", arms[0]["do"] if self.flag else arms[1]["else"])
        if "fork" in body:
            return ("par", [("seq", branch) for branch in body["fork"].values()])
        loop = body["repeat"]
        return ("seq", loop["do"] * loop["max"])

    def active(self, term: Any) -> set[str]:
        if term is None or self.ended:
            return set()
        if term[0] == "listen":
            return {term[1]}
        return self.active(term[1]) if term[0] == "then" else set().union(*(self.active(part) for part in term[1]))

    def feed(self, topic: str) -> bool:
        taken, rest = self.take(self.rest, topic)
        if taken:
            self.rest = self.settle(rest)
        return taken

    def take(self, term: Any, topic: str) -> tuple[bool, Any]:
        if term[0] == "listen":
            return (True, ("seq", [])) if term[2] == topic else (False, term)
        if term[0] == "then":
            taken, head = self.take(term[1], topic)
            return taken, ("then", head, term[2])
        for place, part in enumerate(term[1]):
            taken, rest = self.take(part, topic)
            if taken:
                return True, ("par", [*term[1][:place], rest, *term[1][place + 1 :]])
        return False, term


@settings(max_examples=200, deadline=None)
@given(processes(timers=False), EVENTS, st.booleans())
def test_forks_loops_and_joins_agree_with_an_interpreter_that_rewrites_the_tree(
    steps: Steps, events: list[tuple[str, int]], flag: bool
) -> None:
    graph = compiled(steps, early="refuse")
    oracle = Oracle(steps, flag=flag)
    case, _ = machine.step(graph, None, arrival("a", 1, number=0, flag=flag))
    for serial, (agency, _) in enumerate(events, 1):
        assert case.closed == oracle.ended
        if case.closed:
            break
        assert set(case.active) == oracle.active(oracle.rest)
        expected = oracle.feed(thing(agency))
        try:
            case, _ = machine.step(graph, case, arrival(agency, 1 + serial, number=serial))
        except Rejected:
            assert not expected
        else:
            assert expected

"""What a waiting case may still read: by step, through loops, branches and what passed deadlines do."""

from __future__ import annotations

from typing import Any

from msgspec.json import decode

from agents import machine
from agents.case import Case
from agents.case_bytes import from_bytes, to_bytes
from tests.agents.process_support import ANSWER, END, MISSED, arrival, compiled, listen, thing


def say(number: str, **more: str) -> dict[str, Any]:
    return {"emit": ANSWER, "with": {"number": number, **more}}


def fields(*names: str) -> frozenset[str]:
    return frozenset(names)


def test_a_field_is_kept_until_the_last_step_that_reads_it() -> None:
    graph = compiled([{"got": listen("b")}, {"tell": say("opened.number")}, {"then": listen("c")}, END])
    assert graph.keeps["got"] == {"opened": fields("number")}
    assert graph.keeps["then"] == {}


def test_an_event_that_each_round_of_a_loop_binds_anew_is_not_kept_from_round_to_round() -> None:
    rounds = [{"next": listen("b", **{"as": "event"})}, {"tell": say("event.number", text="opened.text")}]
    loop = {"repeat": {"until": "event.flag", "max": 9, "do": rounds}}
    graph = compiled([{"all": loop}, {"last": say("event.number")}, END])
    assert graph.keeps["next"] == {"opened": fields("text")}, "`event` is bound anew before anything reads it"


def test_where_and_what_a_passed_deadline_says_are_read_while_the_step_waits() -> None:
    late = {"hours": 1, "late": {"emit": ANSWER, "with": {"number": "opened.number"}}}
    graph = compiled([{"got": listen("b", where="got.text == opened.text", deadline=late)}, END])
    assert graph.keeps["got"] == {"opened": fields("number", "text")}


def test_each_branch_keeps_what_is_read_behind_the_join() -> None:
    branches = {"x": [{"left": listen("b")}], "y": [{"right": listen("c")}]}
    graph = compiled([{"both": {"fork": branches}}, {"tell": say("left.number", text="right.text")}, END])
    assert graph.keeps["left"] == {"right": fields("text")}
    assert graph.keeps["right"] == {"left": fields("number")}
    case, _ = machine.step(graph, None, arrival("a", 1))
    case, _ = machine.step(graph, case, arrival("b", 2, number=7))
    assert case.values == {"left": {"number": 0}}


def test_the_deadline_of_the_case_keeps_what_it_says_until_it_has_passed() -> None:
    late = {"emit": ANSWER, "with": {"number": "opened.number"}}
    graph = compiled([{"got": listen("b")}, {"then": listen("c")}, END], owner="z", deadline={"hours": 1, "late": late})
    case, _ = machine.step(graph, None, arrival("a", 1, text="nobody reads it"))
    assert case.values == {"opened": {"number": 0}}
    case, out = machine.step(graph, case, arrival("b", 4_000))
    assert [decode(emit.data) for emit in out] == [{"number": 0}]
    assert case.values == {}


def test_a_timer_forgets_as_an_event_does() -> None:
    pause = {"wait": {"for": {"hours": 1}}}
    graph = compiled([{"pause": pause}, {"tell": say("opened.number")}, {"then": listen("b")}, END])
    case, _ = machine.step(graph, None, arrival("a", 1))
    assert case.values == {"opened": {"number": 0}}
    case, out = machine.due(graph, case, arrival("b", 4_000).at)
    assert [decode(emit.data) for emit in out] == [{"number": 0}]
    assert case.values == {}


def test_the_time_and_the_id_of_a_case_are_kept_like_any_field() -> None:
    graph = compiled([{"got": listen("b")}, {"tell": say("got.number", text="case.id", when="opened.time")}, END])
    case, _ = machine.step(graph, None, arrival("a", 1))
    assert case.values == {"case": {"id": "c1"}, "opened": {"time": "1970-01-01T00:00:01.000000Z"}}


def test_the_due_time_of_a_passed_deadline_is_nothing_a_case_keeps() -> None:
    graph = compiled([{"got": listen("b", deadline={"hours": 1, "late": {"emit": MISSED}})}, END])
    assert graph.keeps == {"got": {}, "case": {}}


def test_a_case_that_knows_more_than_is_read_forgets_it_at_its_next_event() -> None:
    graph = compiled([{"got": listen("b")}, {"then": listen("c")}, {"tell": say("opened.number")}, END])
    case, _ = machine.step(graph, None, arrival("a", 1))
    older: Case = from_bytes(to_bytes(case))  # as a worker wrote it that kept every field the process reads
    older.values = {"opened": {"number": 0, "text": "x"}, "gone": {"number": 1}}
    after, _ = machine.step(graph, older, arrival("b", 2))
    assert after.values == {"opened": {"number": 0}}


def test_early_events_know_which_topics_can_still_come() -> None:
    graph = compiled([{"got": listen("b")}, {"then": listen("c")}, END])
    assert graph.reach == {"got": fields(thing("c")), "then": fields()}

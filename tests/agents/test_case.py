"""The state of a case: chapters, marks that wait for their place, timers, copies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents import case as cases
from agents.case import CHAPTER, Active, Case, Early, Mark, copy, next_due


def long_case(events: int, *, early: int) -> Case:
    """A case that took these events in, the one with number `early` kept for later, closed off as it went."""
    case = Case("c", "g", 0)
    for number in range(events):
        if number == early:
            case.early.append(Early("t", "e", 0, case.length, {}))
        case.applied.append(f"f{number}")
        case.trail.append(Mark("" if number == early else "s", "t", 0, number, 0, "", 0))
        cases.close_chapters(case, 0)
    return case


@given(st.integers(0, 400), st.integers(0, 400), st.booleans())
def test_closing_chapters_loses_no_event_and_takes_each_once(events: int, early: int, taken: bool) -> None:
    case = long_case(events, early=early)
    assert len(case.trail) <= CHAPTER
    if taken and case.early:
        cases.take_early(case, case.early.pop(), "later")
    trail = cases.whole_trail(case)
    assert sorted(mark.offset for mark in trail) == list(range(events))
    assert [mark.offset for mark in trail if mark.step == ""] == ([early] if case.early else [])
    assert cases.whole_applied(case) == [f"f{number}" for number in range(events)]
    assert all(case.has(f"f{number}") for number in range(events))
    assert not case.has("another")


def test_a_long_case_asks_few_sets_whether_it_knows_an_event() -> None:
    case = long_case(20_000, early=-1)
    assert len(case.chapters) > 1_000
    assert len(case.past) <= 11  # each at least twice what stands behind it
    assert sum(map(len, case.past)) + len(case.applied) == 20_000


def test_a_copy_knows_nothing_of_what_the_other_closes_off_later() -> None:
    case = long_case(100, early=-1)
    before = copy(case)
    case.applied += [f"later{number}" for number in range(100)]
    case.trail += [Mark("s", "t", 0, 100 + number, 0, "", 0) for number in range(100)]
    cases.close_chapters(case, 0)
    assert case.has("later0")
    assert not before.has("later0")
    assert before.has("f0")


def test_marks_that_wait_for_their_place_stay_open() -> None:
    case = Case("c", "g", 0, trail=[Mark("s", "t", -1, -1, 0, str(n), 0) for n in range(200)])
    cases.close_chapters(case, 150)
    assert case.length == 200
    assert len(case.chapters) == 50 // CHAPTER
    cases.place(case, 150, {str(n): (0, n) for n in range(50, 200)})
    assert [mark.offset for mark in case.trail[-150:]] == list(range(50, 200))


def test_the_next_timer_is_the_earliest_that_has_not_fired() -> None:
    waits = {"a": Active(0, 5, fired=True), "b": Active(0, 9, fired=False), "c": Active(0, None, fired=False)}
    case = Case("c", "g", 0, active=waits)
    assert next_due(case) == 9
    case.deadline = Active(0, 7, fired=False)
    assert next_due(case) == 7
    assert next_due(Case("c", "g", 0)) is None


def test_a_copy_shares_no_container() -> None:
    case = Case("c", "g", 0)
    other = copy(case)
    other.active["a"] = Active(0, None, fired=False)
    other.counts["a"] = 1
    other.values["a"] = {}
    other.applied.append("a")
    other.trail.append(Mark("", "", 0, 0, 0, "", 0))
    other.early.append(Early("", "", 0, 0, {}))
    assert case == Case("c", "g", 0)

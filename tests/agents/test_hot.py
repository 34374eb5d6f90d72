"""The cases a worker keeps as objects: bounded in bytes, the one touched longest ago leaves first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents import hot
from agents.case import Case
from agents.case_log import Stored
from agents.hot import Hot
from tests.agents.test_case import long_case

ROOM, IDS = 100, "abcdef"


def of(case_id: str) -> Stored:
    return Stored(Case(case_id, "g", 0))


@given(st.lists(st.tuples(st.sampled_from(IDS), st.integers(0, 2 * ROOM) | st.none())))
def test_what_is_kept_are_the_cases_touched_last_that_fit_together(touches: list[tuple[str, int | None]]) -> None:
    kept, model = Hot(ROOM), dict[str, int]()  # the eldest first
    for case_id, size in touches:
        model.pop(case_id, None)
        if size is None:
            kept.drop(case_id)
        else:
            entry = of(case_id)
            kept.keep(case_id, entry, size)
            model[case_id] = size
            while sum(model.values()) > ROOM:
                del model[next(iter(model))]
            assert kept.get(case_id) is (entry if case_id in model else None)
        assert {one for one in IDS if kept.get(one) is not None} == set(model)


def test_there_is_room_for_thousands_of_usual_cases_and_for_few_that_are_huge() -> None:
    usual, huge = 1_700, 1_000_000  # bytes: a case of 20 events with its chapters, one that its topic just takes
    assert hot.ROOM // usual > 8_000
    assert hot.ROOM // huge < 20


def test_a_long_case_counts_for_its_past_too() -> None:
    case = long_case(10_000, early=-1)
    kept = Hot(room=100_000)
    kept.keep("short", of("short"), 1_000)
    kept.keep("long", Stored(case), 1_000)
    assert (kept.get("short"), kept.get("long")) == (None, None)  # it alone is larger, and the eldest leaves first

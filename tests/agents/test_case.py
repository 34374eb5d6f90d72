"""The bytes of a case."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import case as cases
from agents.case import (
    CHAPTER,
    CHAPTERED,
    FORMAT,
    Active,
    Case,
    CaseDamaged,
    Early,
    Mark,
    copy,
    from_bytes,
    next_due,
    to_bytes,
)

TEXT = st.text(max_size=8)
INTS = st.integers(-(2**62), 2**62)
JSON = st.recursive(
    st.none() | st.booleans() | INTS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
FIELDS = st.dictionaries(TEXT, JSON, max_size=3)
ACTIVE = st.builds(Active, INTS, st.none() | INTS, st.booleans())
CASES = st.builds(
    Case,
    TEXT,
    TEXT,
    INTS,
    transitions=INTS,
    active=st.dictionaries(TEXT, ACTIVE, max_size=3),
    deadline=st.none() | ACTIVE,
    counts=st.dictionaries(TEXT, INTS, max_size=3),
    values=st.dictionaries(TEXT, FIELDS, max_size=3),
    applied=st.lists(TEXT, max_size=3),
    trail=st.lists(st.builds(Mark, TEXT, TEXT, INTS, INTS, INTS, TEXT), max_size=3),
    early=st.lists(st.builds(Early, TEXT, TEXT, INTS, INTS, FIELDS), max_size=3),
    outcome=st.none() | TEXT,
)


@given(CASES)
def test_a_case_comes_back_from_its_bytes(case: Case) -> None:
    assert from_bytes(to_bytes(case)) == case


def long_case(events: int, *, early: int) -> Case:
    """A case that took these events in, the one with number `early` kept for later, closed off as it went."""
    case = Case("c", "g", 0)
    for number in range(events):
        if number == early:
            case.early.append(Early("t", "e", 0, case.length, {}))
        case.applied.append(f"f{number}")
        case.trail.append(Mark("" if number == early else "s", "t", 0, number, 0))
        cases.close_chapters(case, 0)
    return case


@given(st.integers(0, 400), st.integers(0, 400), st.booleans())
def test_closing_chapters_loses_no_event_and_takes_each_once(events: int, early: int, taken: bool) -> None:
    case = long_case(events, early=early)
    assert len(case.trail) <= 2 * CHAPTER
    if taken and case.early:
        cases.take_early(case, case.early.pop(), "later")
    trail = cases.whole_trail(case)
    assert sorted(mark.offset for mark in trail) == list(range(events))
    assert [mark.offset for mark in trail if mark.step == ""] == ([early] if case.early else [])
    assert cases.whole_applied(case) == [f"f{number}" for number in range(events)]
    assert all(case.has(f"f{number}") for number in range(events))
    assert not case.has("another")
    whole = from_bytes(cases.archived(case))
    assert (whole.applied, whole.trail) == (cases.whole_applied(case), trail)
    written = [cases.chapter_to_bytes(chapter) for chapter in case.chapters]
    assert from_bytes(to_bytes(case), [cases.chapter_from_bytes(raw) for raw in written]) == case


def test_a_case_without_all_its_chapters_is_damaged_unless_its_past_is_not_wanted() -> None:
    case = long_case(200, early=-1)
    for missing in ([], list(case.chapters[:-1])):
        with pytest.raises(CaseDamaged, match="chapters"):
            from_bytes(to_bytes(case), missing)
    assert from_bytes(to_bytes(case), None).trail == case.trail


@given(st.binary(max_size=40))
def test_any_bytes_are_a_chapter_or_damaged(raw: bytes) -> None:
    good = cases.chapter_to_bytes(long_case(200, early=-1).chapters[0])
    with suppress(CaseDamaged):
        cases.chapter_from_bytes(raw)
    with pytest.raises(CaseDamaged):
        cases.chapter_from_bytes(good[: len(raw)])


def test_marks_that_wait_for_their_place_stay_open() -> None:
    case = Case("c", "g", 0, trail=[Mark("s", "t", -1, -1, 0, str(n)) for n in range(200)])
    cases.close_chapters(case, 150)
    assert case.length == 200
    assert len(case.chapters) == 50 // CHAPTER
    cases.place(case, 150, {str(n): (0, n) for n in range(50, 200)})
    assert [mark.offset for mark in case.trail[-150:]] == list(range(50, 200))


@given(CASES, st.data())
def test_cut_or_changed_bytes_are_refused_or_are_another_whole_case(case: Case, data: st.DataObject) -> None:
    raw = bytearray(to_bytes(case))
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(CaseDamaged):
        from_bytes(bytes(raw[:cut]))
    raw[cut] ^= data.draw(st.integers(1, 255))
    try:
        other = from_bytes(bytes(raw))
    except CaseDamaged:
        return
    assert from_bytes(to_bytes(other)) == other


def test_a_newer_format_is_refused_with_the_remedy() -> None:
    raw = to_bytes(Case("c", "g", 0)).replace(b"[%d," % FORMAT, b"[%d," % (CHAPTERED + 1), 1)
    with pytest.raises(CaseDamaged, match="Upgrade this worker"):
        from_bytes(raw)


def test_the_next_timer_is_the_earliest_that_has_not_fired() -> None:
    case = Case("c", "g", 0, active={"a": Active(0, 5, fired=True), "b": Active(0, 9), "c": Active(0)})
    assert next_due(case) == 9
    case.deadline = Active(0, 7)
    assert next_due(case) == 7
    assert next_due(Case("c", "g", 0)) is None


def test_a_copy_shares_no_container() -> None:
    case = Case("c", "g", 0)
    other = copy(case)
    other.active["a"] = Active(0)
    other.counts["a"] = 1
    other.values["a"] = {}
    other.applied.append("a")
    other.trail.append(Mark("", "", 0, 0, 0))
    other.early.append(Early("", "", 0, 0, {}))
    assert case == Case("c", "g", 0)

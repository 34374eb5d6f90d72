"""The bytes of a case: what comes back from them, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import case_bytes
from agents.case import Active, Case, Early, Mark, whole_applied, whole_trail
from agents.case_bytes import CHAPTERED, FORMAT, Damaged, from_bytes, to_bytes
from tests.agents.test_case import long_case

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
    trail=st.lists(st.builds(Mark, TEXT, TEXT, INTS, INTS, INTS, TEXT, INTS), max_size=3),
    early=st.lists(st.builds(Early, TEXT, TEXT, INTS, INTS, FIELDS), max_size=3),
    outcome=st.none() | TEXT,
)


@given(CASES)
def test_a_case_comes_back_from_its_bytes(case: Case) -> None:
    assert from_bytes(to_bytes(case)) == case


@given(st.integers(0, 400), st.integers(0, 400))
def test_a_long_case_comes_back_from_its_chapters_and_from_the_archive(events: int, early: int) -> None:
    case = long_case(events, early=early)
    whole = from_bytes(case_bytes.archived(case))
    assert (whole.applied, whole.trail) == (whole_applied(case), whole_trail(case))
    written = [case_bytes.chapter_to_bytes(chapter) for chapter in case.chapters]
    assert from_bytes(to_bytes(case), [case_bytes.chapter_from_bytes(raw) for raw in written]) == case


def test_a_case_without_all_its_chapters_is_damaged_unless_its_past_is_not_wanted() -> None:
    case = long_case(200, early=-1)
    for missing in ([], list(case.chapters[:-1])):
        with pytest.raises(Damaged, match="chapters"):
            from_bytes(to_bytes(case), missing)
    assert from_bytes(to_bytes(case), None).trail == case.trail


@pytest.mark.parametrize(
    "wrong", [[0, None], [0, None, False, 1], ["s", "t", 0, 0, 0, ""], ["s", "t", 0, 0, 0, "", 0, 1]]
)
def test_a_mark_or_a_wait_with_a_part_too_few_or_too_many_is_damaged_and_not_filled_up(wrong: list[object]) -> None:
    case = Case("c", "g", 0, active={"step": Active(0, None, fired=False)}, trail=[Mark("s", "t", 0, 0, 0, "", 0)])
    right = b'["s","t",0,0,0,"",0]' if wrong[0] == "s" else b"[0,null,false]"
    raw = to_bytes(case)
    assert from_bytes(raw) == case
    with pytest.raises(Damaged):
        from_bytes(raw.replace(right, json.dumps(wrong, separators=(",", ":")).encode()))


@given(st.binary(max_size=40))
def test_any_bytes_are_a_chapter_or_damaged(raw: bytes) -> None:
    good = case_bytes.chapter_to_bytes(long_case(200, early=-1).chapters[0])
    with suppress(Damaged):
        list(case_bytes.chapter_from_bytes(raw).trail)
    with pytest.raises(Damaged):
        case_bytes.chapter_from_bytes(good[: len(raw)])


@pytest.mark.parametrize("marks", [b"[]", b'[["s","t",0,0,0,"",0]]', b'[["s","t",0,0,0,""]]', b"7"])
def test_a_chapter_whose_marks_are_not_what_they_should_be_is_damaged_once_they_are_looked_at(marks: bytes) -> None:
    folded = case_bytes.chapter_from_bytes(b'[3,["f"],%s]' % marks).trail
    for look in (list, lambda trail: trail[0], lambda trail: trail == ()):
        with pytest.raises(Damaged):
            look(folded)


@given(CASES, st.data())
def test_cut_or_changed_bytes_are_refused_or_are_another_whole_case(case: Case, data: st.DataObject) -> None:
    raw = bytearray(to_bytes(case))
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(Damaged):
        from_bytes(bytes(raw[:cut]))
    raw[cut] ^= data.draw(st.integers(1, 255))
    try:
        other = from_bytes(bytes(raw))
    except Damaged:
        return
    assert from_bytes(to_bytes(other)) == other


def test_a_newer_format_is_refused_with_the_remedy() -> None:
    raw = to_bytes(Case("c", "g", 0)).replace(b"[%d," % FORMAT, b"[%d," % (CHAPTERED + 1), 1)
    with pytest.raises(Damaged, match="Upgrade this worker"):
        from_bytes(raw)

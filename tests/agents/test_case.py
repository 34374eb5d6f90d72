"""The bytes of a case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.case import FORMAT, Active, Case, CaseDamaged, Early, Mark, copy, from_bytes, next_due, to_bytes

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
    raw = to_bytes(Case("c", "g", 0)).replace(b"[%d," % FORMAT, b"[%d," % (FORMAT + 1), 1)
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

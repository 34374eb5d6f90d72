"""Synthetic births: the same for one seed, with the four special families in front, and plainly not real."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors import people


@given(st.integers(0, 60), st.integers())
def test_as_many_as_asked_for_and_the_same_again(count: int, seed: int) -> None:
    births = list(people.births(count, seed=seed, year=2026))
    assert births == list(people.births(count, seed=seed, year=2026))
    assert [b.number for b in births] == list(range(1, count + 1))
    assert len({b.notice.child for b in births}) == count
    assert all(b.notice.born_at.year == 2026 for b in births)


def test_the_first_five_are_twins_a_stillbirth_an_unknown_father_and_a_foreign_mother() -> None:
    first, second, still, fatherless, foreign = [b.notice for b in people.births(5, seed=3, year=2026)]
    assert (first.plurality, first.birth_order, second.birth_order) == (2, 1, 2)
    assert first.mother == second.mother
    assert first.child != second.child
    assert (still.stillborn, fatherless.father, foreign.mother_citizenship) == (True, None, foreign.mother_citizenship)
    assert foreign.mother_citizenship != people.HOME
    assert not any(notice.stillborn for notice in (first, second, fatherless, foreign))


def test_every_number_is_marked_synthetic() -> None:
    for birth in people.births(200, seed=1, year=2026):
        notice = birth.notice
        assert all(
            p is None or p.startswith("SYN-") for p in (notice.child, notice.mother, notice.father, notice.facility)
        )


def test_twins_share_a_surname_and_differ_in_number() -> None:
    one, two = [b.notice for b in people.births(2, seed=9, year=2026)]
    assert people.name_of(one.child, mother=one.mother)[1] == people.name_of(two.child, mother=two.mother)[1]
    assert people.number("P", one.child) != people.number("P", two.child)

"""The clinics: each birth is told once, with the same ids when told again."""

from __future__ import annotations

from itertools import islice

from connectors.simulators.clinic import Clinic
from schemas.birth import BirthNotified

CLINIC = Clinic(births=40, seed=7, year=2026, run="r1")


def test_each_child_is_a_case_of_its_own_told_for_registration_only() -> None:
    said = list(CLINIC.publications())
    assert [p.case for p in said] == [f"birth-r1-{n:06d}" for n in range(1, 41)]
    assert all(isinstance(p.event, BirthNotified) and p.event.born_at.year == 2026 for p in said)
    assert {p.purpose for p in said} == {"civil-registration"}


def test_a_clinic_started_again_tells_the_same_with_the_same_ids() -> None:
    first, again = list(CLINIC.publications()), list(Clinic(births=40, seed=7, year=2026, run="r1").publications())
    assert first == again
    assert len({p.id for p in first}) == 40


def test_another_run_or_other_families_are_never_taken_for_a_repetition() -> None:
    ids = {p.id for p in CLINIC.publications()}
    for other in (Clinic(births=40, seed=7, year=2026, run="r2"), Clinic(births=40, seed=8, year=2026, run="r1")):
        assert ids.isdisjoint(p.id for p in other.publications())


def test_births_are_made_as_they_are_asked_for() -> None:
    many = Clinic(births=10**9, seed=1, year=2026, run="r")
    assert len(list(islice(many.publications(), 3))) == 3

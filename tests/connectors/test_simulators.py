"""The offices one after the other: the right outcome for each special family, also when a birth is told twice."""

from __future__ import annotations

from collections import Counter

import pytest

from bus.transport.memory import MemoryCluster
from connectors.office import Counts
from connectors.simulators.civil_registry import CivilRegistry
from connectors.simulators.id_office import IdOffice
from schemas.birth import BirthRegistered
from schemas.documents import DocumentIssued
from tests.connectors.offices import CERTIFICATE, REGISTERED, events, offices_cluster, serve, tell


@pytest.fixture
def cluster() -> MemoryCluster:
    return offices_cluster()


def test_every_special_family_gets_its_right_outcome(cluster: MemoryCluster) -> None:
    assert tell(cluster, 5) == 5
    assert serve(cluster, CivilRegistry()) == Counts(handled=5, published=9)
    assert serve(cluster, IdOffice()) == Counts(handled=5, published=4)
    records = {case: event for case, _, event in events(cluster, REGISTERED, BirthRegistered)}
    one, two, still, fatherless, foreign = (records[f"birth-t-{number:06d}"] for number in range(1, 6))
    assert one.person != two.person
    assert one.mother == two.mother
    assert one.surname == two.surname
    assert (still.stillbirth, still.person) == (True, None)
    assert not fatherless.father_recorded
    assert foreign.person is not None
    holders = {event.holder for _, _, event in events(cluster, CERTIFICATE, DocumentIssued)}
    assert holders == {one.person, two.person, fatherless.person, foreign.person}


def test_a_second_telling_has_no_second_effect_even_after_a_restart(cluster: MemoryCluster) -> None:
    for _ in range(2):
        tell(cluster, 20)
        serve(cluster, CivilRegistry())
    ids = Counter(event_id for _, event_id, _ in events(cluster, REGISTERED, BirthRegistered))
    assert len(ids) == 20, "a repetition has the id of the first, so readers keep one of two"

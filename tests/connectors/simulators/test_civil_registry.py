"""The civil registry: what it answers to one notification."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bus.message import Message
from connectors import people
from connectors.simulators.civil_registry import CivilRegistry
from schemas.birth import BirthNotified, BirthRegistered
from schemas.documents import DocumentIssued
from tests.connectors.offices import NOTIFIED, NOW, message

TWIN, OTHER_TWIN, STILLBORN, FATHERLESS, FOREIGN = (birth.notice for birth in people.births(5, seed=3, year=2026))


def told(notice: BirthNotified, event_id: str = "e-1") -> Message:
    return message(notice, topic=NOTIFIED, event_id=event_id)


def answer(notice: BirthNotified) -> tuple[BirthRegistered, list[DocumentIssued]]:
    record, *papers = (p.event for p in CivilRegistry().react(told(notice), now=NOW))
    assert isinstance(record, BirthRegistered)
    return record, [paper for paper in papers if isinstance(paper, DocumentIssued)]


@pytest.mark.parametrize("notice", [TWIN, FATHERLESS, FOREIGN])
def test_a_living_child_gets_a_number_a_name_and_its_certificate(notice: BirthNotified) -> None:
    record, (certificate,) = answer(notice)
    assert record.person is not None
    assert record.given_name
    assert record.father_recorded == (notice.father is not None)
    assert (record.mother, record.registered_on) == (notice.mother, NOW.date())
    assert (certificate.kind, certificate.holder) == ("birth_certificate", record.person)


def test_a_stillbirth_is_registered_without_number_given_name_or_certificate() -> None:
    record, papers = answer(STILLBORN)
    assert (record.stillbirth, record.person, record.given_name, papers) == (True, None, None, [])
    assert record.record_number


def test_twins_are_two_persons_of_one_surname_with_two_certificates() -> None:
    (one, (first,)), (two, (second,)) = answer(TWIN), answer(OTHER_TWIN)
    assert one.surname == two.surname
    assert len({one.person, two.person}) == len({one.record_number, two.record_number}) == 2
    assert first.number != second.number


def test_a_notification_told_again_later_gets_the_same_numbers_and_ids() -> None:
    office, later = CivilRegistry(), NOW + timedelta(days=3)
    first, again = office.react(told(TWIN), now=NOW), office.react(told(TWIN), now=later)
    assert [p.id for p in first] == [p.id for p in again]
    assert len({p.id for p in first}) == 2
    assert [getattr(p.event, "person", None) for p in first] == [getattr(p.event, "person", None) for p in again]
    assert [p.id for p in office.react(told(TWIN, "e-2"), now=NOW)] != [p.id for p in first]


def test_what_it_says_names_its_cause() -> None:
    cause = told(TWIN)
    assert {id(p.caused_by) for p in CivilRegistry().react(cause, now=NOW)} == {id(cause)}

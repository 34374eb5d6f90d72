"""What every system behind the ports has to keep: the simulators do, and a real one can be held to it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bus.message import Message
from connectors import people
from connectors.ports import Source, Target
from connectors.simulators.civil_registry import CivilRegistry
from connectors.simulators.clinic import Clinic
from connectors.simulators.id_office import IdOffice
from connectors.simulators.social_fund import SocialFund
from schemas.birth import BirthRegistered
from schemas.catalogue import standard
from schemas.event import Event
from schemas.requests import RequestCreated
from tests.connectors.offices import NOW, message

REGISTERED = BirthRegistered(
    record_number="SYN-CR-1",
    stillbirth=False,
    person="SYN-P-1",
    mother="SYN-M-1",
    father_recorded=True,
    registered_on=NOW.date(),
    given_name="Ayra",
    surname="Modelov",
)
ASKED = RequestCreated(request_id="R-1", kind="birth_benefit", subject="SYN-P-1")
SOURCES: list[Source] = [Clinic(births=3, seed=1, year=2026, run="r")]
TARGETS: list[tuple[Target, Event]] = [
    (CivilRegistry(), next(people.births(1, seed=1, year=2026)).notice),
    (IdOffice(), REGISTERED),
    (SocialFund(), ASKED),
]
each_target = pytest.mark.parametrize(("target", "event"), TARGETS, ids=[target.name for target, _ in TARGETS])


def cause(target: Target, event: Event, event_id: str = "e-1") -> Message:
    return message(event, topic=target.listens, event_id=event_id)


@each_target
def test_a_target_listens_to_a_topic_of_the_catalogue_whose_events_it_takes(target: Target, event: Event) -> None:
    assert standard().topic(target.listens).model is type(event)


@each_target
def test_a_target_answers_in_its_own_name_only(target: Target, event: Event) -> None:
    said = target.react(cause(target, event), now=NOW)
    assert said
    for publication in said:
        assert standard().topic(type(publication.event).topic(target.agency)).agency == target.agency


@each_target
def test_a_target_s_ids_follow_from_the_event_alone(target: Target, event: Event) -> None:
    first = [p.id for p in target.react(cause(target, event), now=NOW)]
    assert first == [p.id for p in target.react(cause(target, event), now=NOW + timedelta(days=400))]
    assert None not in first, "without an id the content, dates included, would make it"
    assert set(first).isdisjoint(p.id for p in target.react(cause(target, event, "e-2"), now=NOW))


def test_no_two_targets_share_a_consumer_group() -> None:
    assert len({(target.agency, target.name) for target, _ in TARGETS}) == len(TARGETS)


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_says_the_same_with_the_same_ids_when_it_is_asked_again(source: Source) -> None:
    said = list(source.publications())
    assert said == list(source.publications())
    assert None not in [p.id for p in said]
    for publication in said:
        assert standard().topic(type(publication.event).topic(source.agency)).agency == source.agency

"""The ID office: an entry for every living child, none for a stillbirth."""

from __future__ import annotations

from datetime import timedelta

from connectors.simulators.id_office import IdOffice
from schemas.birth import BirthRegistered, IdentityEntered
from tests.connectors.offices import NOW, REGISTERED, message

LIVING = BirthRegistered(
    record_number="SYN-CR-1",
    stillbirth=False,
    person="SYN-P-1",
    mother="SYN-M-1",
    father_recorded=False,
    registered_on=NOW.date(),
    given_name="Ayra",
    surname="Modelov",
)
STILLBIRTH = LIVING.model_copy(update={"stillbirth": True, "person": None, "given_name": None})


def test_a_living_child_is_entered_under_its_number() -> None:
    cause = message(LIVING, topic=REGISTERED)
    (said,) = IdOffice().react(cause, now=NOW)
    assert isinstance(said.event, IdentityEntered)
    assert (said.event.person, said.event.entered_on) == ("SYN-P-1", NOW.date())
    assert said.event.document_number.startswith("SYN-ID-")
    assert (said.caused_by, said.time) == (cause, NOW)


def test_a_stillbirth_gets_no_identity() -> None:
    assert IdOffice().react(message(STILLBIRTH, topic=REGISTERED), now=NOW) == ()


def test_a_record_told_again_gets_the_same_document_and_id() -> None:
    first, again = (
        IdOffice().react(message(LIVING, topic=REGISTERED), now=now)[0] for now in (NOW, NOW + timedelta(days=1))
    )
    assert first.id == again.id
    assert isinstance(first.event, IdentityEntered)
    assert isinstance(again.event, IdentityEntered)
    assert first.event.document_number == again.event.document_number

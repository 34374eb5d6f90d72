"""The civil registry (Justice): enters each birth, gives the child its personal number, issues the certificate.

Run by ``agencybus connector run civil-registry``. The trap it avoids: a number drawn at random would differ when the
notification is delivered twice; here it follows from the child.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bus.message import Message
from bus.publish import Publication
from connectors import people
from connectors.office import effect_id
from schemas.birth import BirthNotified, BirthRegistered
from schemas.documents import DocumentIssued


@dataclass(frozen=True, slots=True)
class CivilRegistry:
    """A `Target` of birth notifications."""

    agency: str = "justice"
    name: str = "civil-registry"
    listens: str = "health.birth.notified.v1"

    def react(self, message: Message, *, now: datetime) -> Sequence[Publication]:
        """The civil record; for a living child also its birth certificate."""
        notice = message.event
        assert isinstance(notice, BirthNotified)
        person = None if notice.stillborn else people.number("P", notice.child)
        given, surname = people.name_of(notice.child, mother=notice.mother)
        registered = BirthRegistered(
            record_number=people.number("CR", notice.child),
            stillbirth=notice.stillborn,
            person=person,
            mother=notice.mother,
            father_recorded=notice.father is not None,
            registered_on=now.date(),
            given_name=None if notice.stillborn else given,
            surname=surname,
        )
        said = [
            Publication(event=registered, caused_by=message, id=effect_id(self.name, message, "registered"), time=now)
        ]
        if person is not None:
            certificate = DocumentIssued(
                kind="birth_certificate",
                number=people.number("BC", notice.child),
                holder=person,
                issued_on=now.date(),
            )
            issued = effect_id(self.name, message, "certificate")
            said.append(Publication(event=certificate, caused_by=message, id=issued, time=now))
        return said

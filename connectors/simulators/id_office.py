"""The ID office (Interior): enters every registered child in the register of identity documents.

Run by ``agencybus connector run id-office``. The trap it avoids: a stillbirth is registered like a birth, and gets no
identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bus.message import Message
from bus.publish import Publication
from connectors import people
from connectors.office import effect_id
from schemas.birth import BirthRegistered, IdentityEntered


@dataclass(frozen=True, slots=True)
class IdOffice:
    """A `Target` of civil records."""

    agency: str = "interior"
    name: str = "id-office"
    listens: str = "justice.birth.registered.v1"

    def react(self, message: Message, *, now: datetime) -> Sequence[Publication]:
        """The identity entry of a living child."""
        record = message.event
        assert isinstance(record, BirthRegistered)
        if record.person is None:
            return ()
        entered = IdentityEntered(
            person=record.person, document_number=people.number("ID", record.person), entered_on=now.date()
        )
        return (Publication(event=entered, caused_by=message, id=effect_id(self.name, message, "entered"), time=now),)

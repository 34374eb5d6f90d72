"""The two sides an agency's system can have to the bus, as protocols.

Implemented by the simulators; a real system implements the same. The trap it avoids: an office that publishes by
itself could publish and then fail to acknowledge. It only says what it publishes; `office.Desk` does both in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from bus.message import Message
from bus.publish import Publication


class Source(Protocol):
    """A system that tells the bus what happened in it."""

    @property
    def agency(self) -> str:
        """In whose name it publishes."""
        ...

    def publications(self) -> Iterator[Publication]:
        """What to publish, in order; the same again when asked again, ids included."""
        ...


class Target(Protocol):
    """A system that acts on the bus's events and answers with events of its own."""

    @property
    def agency(self) -> str:
        """In whose name it answers."""
        ...

    @property
    def name(self) -> str:
        """Its own name; with the agency, the consumer group."""
        ...

    @property
    def listens(self) -> str:
        """The topic it reads."""
        ...

    def react(self, message: Message, *, now: datetime) -> Sequence[Publication]:
        """What it publishes because of `message`; ids depend on the message only, so a repetition gives the same."""
        ...

"""Which event types exist: topic, model, owner, personal-data class.

Built once at start and handed around as a value; `standard()` holds every contract of this package. The trap it
avoids: a registry filled by importing modules, which knows different types in different processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from schemas import birth, bus_events, documents, names, recorded, requests
from schemas.envelope import SOURCE_PREFIX, Envelope
from schemas.errors import EnvelopeRefused, SchemaRefused, UnknownType
from schemas.event import Event, PersonalData


@dataclass(frozen=True, slots=True)
class EventType:
    """One event type as it stands on the bus.

    Args:
        topic: its topic, which is also its CloudEvents type.
        model: the contract.
        agency: the owner of the topic, the only one who may write there.
    """

    topic: str
    model: type[Event]
    agency: str

    @property
    def personal_data(self) -> PersonalData:
        """How much the type says about a person."""
        return self.model.personal_data

    def accept(self, envelope: Envelope) -> None:
        """Check that an envelope found on this topic is of this type and from its owner.

        Raises:
            EnvelopeRefused: naming ce_type or ce_source.
        """
        if envelope.type != self.topic:
            raise EnvelopeRefused("ce_type", "names another topic than the one it stands on")
        if envelope.source.startswith(SOURCE_PREFIX) and envelope.agency != self.agency:
            raise EnvelopeRefused("ce_source", f"is not {self.agency}, the owner of the topic")


class Catalogue:
    """The event types a process knows.

    Args:
        models: contracts; each gives one type per publishing agency.

    Raises:
        SchemaRefused: when two contracts claim one topic. NameRefused: when a topic is outside the grammar.
    """

    def __init__(self, models: Iterable[type[Event]]) -> None:
        self._types: dict[str, EventType] = {}
        self._models: dict[type[Event], None] = {}
        for model in models:
            self._models[model] = None
            for agency in model.agencies:
                topic = str(names.topic(model.topic(agency)))
                if topic in self._types:
                    other = self._types[topic].model.__name__
                    raise SchemaRefused(f"{topic} is claimed by {other} and {model.__name__}; raise the major of one")
                self._types[topic] = EventType(topic, model, agency)

    def types(self) -> tuple[EventType, ...]:
        """Every type, by topic name."""
        return tuple(self._types[topic] for topic in sorted(self._types))

    def models(self) -> tuple[type[Event], ...]:
        """Every contract once, in the order given."""
        return tuple(self._models)

    def __contains__(self, model: object) -> bool:
        return model in self._models

    def topic(self, name: str) -> EventType:
        """Return the type of a topic.

        Raises:
            UnknownType: when there is none, naming near matches.
        """
        found = self._types.get(name)
        if found is None:
            raise UnknownType(f"No event type {name!r} is known{_near(name, self._types)}")
        return found

    def resolve(self, name: str, agency: str | None = None) -> EventType:
        """Return the type meant by `name`: a topic, or a contract (``request.created``) with its publisher.

        Args:
            name: topic or contract; a contract without ``.v<major>`` means its highest major.
            agency: who publishes it; may be left out when only one agency does.

        Raises:
            UnknownType: when nothing matches, or several publishers do and none was named.
        """
        if name in self._types:
            return self._types[name]
        found = [t for t in self._types.values() if name in {t.model.contract, f"{t.model.contract}.v{t.model.major}"}]
        if not found:
            known = {*self._types, *(m.contract for m in self._models)}
            raise UnknownType(f"No event type {name!r} is known{_near(name, known)}")
        top = max(t.model.major for t in found)
        found = [t for t in found if t.model.major == top and agency in {None, t.agency}]
        if len(found) == 1:
            return found[0]
        publishers = ", ".join(sorted(t.agency for t in self._types.values() if t.model.contract in name))
        if not found:
            raise UnknownType(f"{agency} does not publish {name}; publishers: {publishers}")
        raise UnknownType(f"{name} has several publishers ({publishers}); name one of them")


def _near(name: str, known: Iterable[str]) -> str:
    matches = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(matches)}?" if matches else "; see `agencybus topics` for what there is."


def standard() -> Catalogue:
    """The catalogue of every contract in this package."""
    return Catalogue(
        (
            requests.RequestCreated,
            requests.RequestCompleted,
            requests.RequestRejected,
            documents.DocumentIssued,
            documents.DocumentRevoked,
            birth.BirthNotified,
            birth.BirthRegistered,
            birth.IdentityEntered,
            birth.BenefitAssigned,
            bus_events.DeadlineMissed,
            bus_events.OperatorActed,
            recorded.ActivityRecorded,
            recorded.ActivityFollowed,
        )
    )

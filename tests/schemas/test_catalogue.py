"""The catalogue: every standard topic is lawful and found by topic, contract and publisher."""

from __future__ import annotations

import pytest

from schemas import names
from schemas.birth import BirthNotified
from schemas.catalogue import Catalogue, standard
from schemas.errors import SchemaRefused, UnknownType
from schemas.event import Event, PersonalData
from schemas.requests import RequestCreated

CATALOGUE = standard()


class Old(Event, contract="thing.done", agencies=("health", "justice"), personal_data=PersonalData.NONE):
    """First version."""

    x: str
    """X."""


class New(Event, contract="thing.done", major=2, agencies=("health",), personal_data=PersonalData.NONE):
    """Second version."""

    x: str
    """X."""


def test_every_topic_obeys_the_grammar_and_stands_once() -> None:
    topics = [t.topic for t in CATALOGUE.types()]
    assert len(topics) == len(set(topics)) == 33
    for event_type in CATALOGUE.types():
        parsed = names.topic(event_type.topic)
        assert parsed.agency == event_type.agency
        assert parsed.contract == event_type.model.contract
        assert parsed.major == event_type.model.major
        assert event_type.personal_data is event_type.model.personal_data


def test_names_and_subjects_of_the_records_do_not_collide() -> None:
    assert len({(m.contract.split(".")[0], m.__name__) for m in CATALOGUE.models()}) == len(CATALOGUE.models())


def test_a_topic_gives_its_type() -> None:
    assert CATALOGUE.topic("health.birth.notified.v1").model is BirthNotified
    assert CATALOGUE.resolve("health.birth.notified.v1").agency == "health"


def test_a_contract_with_one_publisher_needs_no_agency() -> None:
    assert CATALOGUE.resolve("birth.notified").topic == "health.birth.notified.v1"
    assert CATALOGUE.resolve("birth.notified.v1", "health").topic == "health.birth.notified.v1"


def test_a_shared_contract_needs_its_publisher() -> None:
    assert CATALOGUE.resolve("request.created", "portal").topic == "portal.request.created.v1"
    with pytest.raises(UnknownType, match="several publishers"):
        CATALOGUE.resolve("request.created")
    with pytest.raises(UnknownType, match=r"replay does not publish request\.created; publishers: health, interior"):
        CATALOGUE.resolve("request.created", "replay")


def test_a_contract_without_major_means_the_highest() -> None:
    catalogue = Catalogue([Old, New])
    assert catalogue.resolve("thing.done").model is New
    assert catalogue.resolve("thing.done.v1", "justice").model is Old
    assert catalogue.topic("health.thing.done.v1").model is Old


@pytest.mark.parametrize("name", ["portal.request.craeted.v1", "request.crated", "REQUEST.CREATED", "", "zzzz"])
def test_an_unknown_name_is_refused_naming_near_ones(name: str) -> None:
    for ask in (CATALOGUE.topic, CATALOGUE.resolve):
        with pytest.raises(UnknownType) as caught:
            ask(name)
        assert "request.c" not in name or "did you mean" in str(caught.value)


def test_two_contracts_on_one_topic_are_refused() -> None:
    class Twin(Event, contract="thing.done", agencies=("health",), personal_data=PersonalData.NONE):
        """Another."""

        x: str
        """X."""

    with pytest.raises(SchemaRefused, match=r"health\.thing\.done\.v1 is claimed by Old and Twin"):
        Catalogue([Old, Twin])


def test_membership_is_by_model() -> None:
    assert RequestCreated in CATALOGUE
    assert Old not in CATALOGUE

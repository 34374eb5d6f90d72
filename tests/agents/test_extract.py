"""What a process takes from an event: every kind of field a contract may have, as JSON that makes it again."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given

from agents.extract import Extract, extract
from agents.graph import Graph
from schemas.catalogue import Catalogue
from schemas.envelope import format_time
from tests.agents.process_support import END, compiled, listen
from tests.schemas.samples import EVENTS, Everything
from tests.schemas.strategies import events

LAB = Everything.topic("lab")
EVENT = next(event for event in EVENTS if isinstance(event, Everything))


def reading(*paths: str) -> Graph:
    return replace(compiled([{"got": listen("b")}, END]), needs={LAB: paths})


def taking(*graphs: Graph) -> Extract:
    return extract(graphs, LAB, Catalogue([Everything]))


ALL = taking(reading(*Everything.model_fields, "place.since", "other_place.street"))


def test_the_fields_a_process_reads_are_taken_and_no_others() -> None:
    assert taking(reading("number", "place.street"))(vars(EVENT)) == {
        "number": EVENT.number,
        "place.street": EVENT.place.street,
    }
    assert taking(reading())(vars(EVENT)) == {}


@given(events(Everything))
def test_every_kind_of_field_is_taken_as_json_that_makes_the_same_event_again(event: Everything) -> None:
    taken = ALL(vars(event))
    assert taken.pop("place.since") == event.place.since.isoformat()
    assert taken.pop("other_place.street") == (event.other_place and event.other_place.street)
    assert taken["moment"] == format_time(event.moment)
    assert Everything.model_validate_json(msgspec.json.encode(taken)) == event


def test_fields_of_several_versions_of_a_process_are_taken_together() -> None:
    taken = taking(reading("number"), reading("flag", "number"), compiled([{"got": listen("b")}, END]))(vars(EVENT))
    assert taken == {"flag": EVENT.flag, "number": EVENT.number}


def test_a_topic_that_no_process_reads_has_nothing_to_take() -> None:
    with pytest.raises(KeyError):
        taking(compiled([{"got": listen("b")}, END]))

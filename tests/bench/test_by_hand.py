"""The peers must do our worker's work, not a lighter one: what they read and write by hand is what our codec means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from bus.message import Outgoing
from schemas.avro import schema_of
from schemas.codec import Codec
from schemas.envelope import from_headers
from schemas.event import Event
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.bench import by_hand_models, recorded, wide
from tests.bench.by_hand import WORKS, ByHand, Told
from tests.bench.ready import composed
from tests.bench.wide import Answered, Wide, wider

CODEC = Codec(wider())
HEARD: dict[str, type[Event]] = {"small": ActivityRecorded, "wide": Wide}
SAID: dict[str, type[Event]] = {"small": ActivityFollowed, "wide": Answered}
both = pytest.mark.parametrize("work", WORKS)


def hand(work: str) -> ByHand:
    return ByHand(work, CODEC.schema_id(HEARD[work]), CODEC.schema_id(SAID[work]))


def records(work: str) -> Iterator[Outgoing]:
    """A case of twenty events."""
    if work == "small":
        return composed(recorded.publications(20, run="by-hand"), "replay")
    return composed(wide.publications(20, run="by-hand"), "bench")


def read(work: str, record: Outgoing, value: bytes | None = None) -> Told:
    headers = [(name, said or b"") for name, said in record.headers]
    return hand(work).read(record.key or b"", record.value or b"" if value is None else value, headers)


@both
def test_an_event_is_read_as_our_codec_reads_it(work: str) -> None:
    for record in records(work):
        told = read(work, record)
        assert told.event.model_dump() == CODEC.decode(record.value, HEARD[work]).model_dump()
        assert (told.id, told.case) == (from_headers(record.headers).id, record.key)


@both
def test_the_answer_is_an_event_of_the_bus_that_names_its_cause(work: str) -> None:
    for record in records(work):
        told = read(work, record)
        value, headers = hand(work).answer(told)
        answer = CODEC.decode(value, SAID[work])
        assert answer.model_dump() == {
            name: said for name, said in told.event.model_dump().items() if name in SAID[work].model_fields
        }
        said, cause = from_headers(headers), from_headers(record.headers)
        assert (said.causationid, said.correlationid, said.time) == (cause.id, cause.correlationid, cause.time)
        number = CODEC.schema_id(SAID[work])
        assert (said.type, said.dataschema) == (WORKS[work].answers, f"agencybus:/schemas/ids/{number}")


@both
def test_a_value_of_another_schema_and_bytes_behind_the_event_are_refused(work: str) -> None:
    record = next(records(work))
    value = record.value or b""
    for wrong in (value + b"\0", b"\0\0\0\0\7" + value[5:]):
        with pytest.raises(ValueError, match=r"schema|left over"):
            read(work, record, wrong)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (by_hand_models.Followed, {"run": "not a reference", "activity": "a", "sequence": 1, "last": False}),
        (by_hand_models.Followed, {"run": "r", "activity": "a", "sequence": 0, "last": False}),
        (by_hand_models.Place, {"street": "x" * 201, "town": "t", "since": "2026-01-01"}),
    ],
)
def test_what_a_contract_does_not_allow_is_refused(model: Any, said: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        model(**said)


def test_the_topics_and_the_schemas_are_those_of_the_scenarios() -> None:
    assert [(work.topic, work.answers) for work in WORKS.values()] == [
        (recorded.TOPIC, recorded.FOLLOWED),
        (wide.TOPIC, wide.ANSWERED),
    ]
    for name, work in WORKS.items():
        assert json.loads(work.reads.read_text()) == schema_of(HEARD[name])
        assert json.loads(work.writes.read_text()) == schema_of(SAID[name])

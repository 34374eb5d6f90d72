"""The peers must do our worker's work, not a lighter one: what they read and write by hand is what our codec means."""

from __future__ import annotations

import pytest

from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.envelope import from_headers
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.bench import by_hand, ready, recorded
from tests.bench.by_hand import ByHand, Told

CODEC = Codec(standard())
HAND = ByHand(CODEC.schema_id(ActivityRecorded), CODEC.schema_id(ActivityFollowed))
(RECORD,) = ready.records(1, "by-hand")


def read(value: bytes) -> Told:
    return HAND.read(RECORD.key or b"", value, [(name, said or b"") for name, said in RECORD.headers])


def test_an_event_is_read_as_our_codec_reads_it() -> None:
    told = read(RECORD.value or b"")
    assert ActivityRecorded.model_validate(told.event) == CODEC.decode(RECORD.value, ActivityRecorded)
    assert (told.id, told.case) == (from_headers(RECORD.headers).id, RECORD.key)


def test_the_answer_is_an_event_of_the_bus_that_names_its_cause() -> None:
    told = read(RECORD.value or b"")
    value, headers = HAND.answer(told)
    assert CODEC.decode(value, ActivityFollowed).model_dump() == {
        name: told.event[name] for name in ("run", "activity", "sequence", "last")
    }
    said, cause = from_headers(headers), from_headers(RECORD.headers)
    assert (said.causationid, said.correlationid, said.time) == (cause.id, cause.correlationid, cause.time)
    assert (said.type, said.dataschema) == (recorded.FOLLOWED, f"agencybus:/schemas/ids/{HAND.followed}")


def test_a_value_of_another_schema_and_bytes_behind_the_event_are_refused() -> None:
    value = RECORD.value or b""
    for wrong in (value + b"\0", b"\0\0\0\0\7" + value[5:]):
        with pytest.raises(ValueError, match=r"schema|left over"):
            read(wrong)


def test_the_topics_are_those_of_the_scenarios() -> None:
    assert (by_hand.TOPIC, by_hand.FOLLOWED) == (recorded.TOPIC, recorded.FOLLOWED)

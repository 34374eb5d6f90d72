"""From a publication to its record: one way, whoever sends it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bus.compose import Composer, Publication, content_id
from bus.errors import Refused
from bus.testing import ManualClock
from schemas.envelope import Envelope, from_headers
from schemas.errors import NameRefused
from tests.bus.support import CATALOGUE, TOPIC, Foreign, NoteWritten, PlainCodec

NOTE = NoteWritten(text="hello")
NOW = datetime(2026, 1, 5, tzinfo=UTC)
CAUSE = Envelope(
    id="e1", source="/agencies/health", type="t", time=datetime(2026, 1, 5, tzinfo=UTC), correlationid="c9"
)


def composer(agency: str = "portal") -> Composer:
    return Composer(PlainCodec(), CATALOGUE, agency=agency, clock=ManualClock())


def test_topic_key_id_and_bytes_are_all_there_is_to_send() -> None:
    topic, key, event_id, record = composer().compose(Publication(event=NOTE, case="case-1"))
    envelope = from_headers(record.headers)
    assert (topic, key, record.key) == (TOPIC, b"case-1", b"case-1")
    assert event_id == envelope.id == content_id(TOPIC, b"case-1".decode(), None, record.value or b"")
    assert (envelope.source, envelope.type, envelope.time) == ("/agencies/portal", TOPIC, ManualClock().now())


def test_what_is_said_of_the_cause_is_kept() -> None:
    _, key, _, record = composer().compose(Publication(event=NOTE, caused_by=CAUSE, key="person-3", purpose="audit"))
    envelope = from_headers(record.headers)
    assert (key, envelope.partitionkey, envelope.correlationid) == (b"person-3", "person-3", "c9")
    assert (envelope.causationid, envelope.purpose) == ("e1", "audit")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (Publication(event=NOTE), "case"),
        (Publication(event=NOTE, case="!positions"), "case"),
        (Publication(event=NoteWritten(text="unwritable"), case="c"), "data"),
        (Publication(event=NOTE, case="c", time=datetime(2026, 1, 5)), "time"),
        (Publication(event=Foreign(), case="c"), "type"),
        (Publication(event=NOTE, case="c", purpose="p" * 5_000), "purpose"),
        (Publication(event=NOTE, case="c", purpose="\ud800"), "purpose"),  # as JSON may say it: half a character
        (Publication(event=NOTE, case="c", id="\ud800"), "id"),
        (Publication(event=NOTE, key="\ud800"), "key"),
    ],
)
def test_a_refusal_names_the_field(said: Publication, field: str) -> None:
    with pytest.raises(Refused) as refused:
        composer().compose(said)
    assert refused.value.field == field


def test_an_agency_composes_only_for_its_own_topics() -> None:
    with pytest.raises(Refused, match="health does not publish"):
        composer("health").compose(Publication(event=NOTE, case="c"))


def test_a_name_that_is_no_agency_is_refused_at_once() -> None:
    odd: Any = "Portal!"
    with pytest.raises(NameRefused):
        composer(odd)

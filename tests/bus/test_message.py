"""The plain values everything in the bus speaks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bus.message import Message, Outgoing, Partition, Receipt, Record, Unreadable, UnreadableRecord
from schemas.envelope import Envelope
from tests.bus.support import TOPIC, NoteWritten

WHEN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def test_partitions_sort_by_topic_and_then_as_numbers() -> None:
    places = [Partition("b", 0), Partition("a", 10), Partition("a", 9)]
    assert sorted(places) == [Partition("a", 9), Partition("a", 10), Partition("b", 0)]
    assert len({Partition("a", 1), Partition("a", 1)}) == 1


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (Partition("t", 0), "number"),
        (Record("t", 0, 0, 0, None, None, ()), "value"),
        (Outgoing(None, b""), "headers"),
        (Receipt("t", 0, 0, "id"), "id"),
    ],
)
def test_no_value_can_be_changed_once_it_is_made(value: object, field: str) -> None:
    before = getattr(value, field)
    with pytest.raises(AttributeError):
        setattr(value, field, "another")
    assert getattr(value, field) == before


@pytest.mark.parametrize("case", ["c-1", None])
def test_a_message_tells_the_case_and_when_the_fact_happened_not_when_it_was_appended(case: str | None) -> None:
    envelope = Envelope(id="e", source="/agencies/portal", type=TOPIC, time=WHEN, correlationid=case)
    record = Record(TOPIC, 0, 0, 1_800_000_000_000, b"key", b"", ())
    message = Message(NoteWritten(text="a"), envelope, record)
    assert (message.case, message.time) == (case, WHEN)


def test_unreadable_bytes_are_bytes_that_know_their_offsets_and_reason_and_their_error_quotes_none_of_them() -> None:
    value = Unreadable(b"secret", reason="header-key", scope="batch", first=3, last=7)
    assert value == b"secret"
    assert (value.reason, value.scope, value.first, value.last) == ("header-key", "batch", 3, 7)
    error = UnreadableRecord(value)
    assert str(error) == "batch of offsets 3 to 7: header-key"
    assert error.reason == "header-key"

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bus.errors import Refused, Unreachable
from bus.message import Message, Outgoing, Partition, Record, Unreadable, UnreadableRecord
from bus.middleware.dead_letter import DeadLetters
from bus.middleware.dedupe import MemorySeen
from bus.middleware.retry import RetryPolicy
from bus.pipeline import Again, Pipeline
from bus.testing import START, ManualClock
from schemas.envelope import Envelope
from schemas.errors import EnvelopeRefused, Poison, SchemaSideError, UnknownType
from tests.bus.support import TOPIC, NoteWritten

RECORD = Record(TOPIC, 0, 4, 0, b"c", b"v", ())


def message(event_id: str = "e1") -> Message:
    envelope = Envelope(id=event_id, source="/agencies/portal", type=TOPIC, time=START)
    return Message(NoteWritten(text="a secret"), envelope, RECORD)


class Desk:
    """A pipeline whose dead letters are kept in a list."""

    def __init__(self, opened: Message | SchemaSideError, *, broken: bool = False) -> None:
        self.letters: list[Outgoing] = []
        self.broken = broken
        self.opened = opened
        self.clock = ManualClock()
        self.pipeline = Pipeline(
            opener=self.open,
            seen=MemorySeen(),
            retry=RetryPolicy(attempts=2, base_s=1),
            dead_letters=DeadLetters(group="g", append=self.append, partitions=lambda topic: 1),
            clock=self.clock,
            chance=lambda: 0.0,
        )

    def open(self, record: Record) -> Message:
        if isinstance(self.opened, SchemaSideError):
            raise self.opened
        return self.opened

    def append(self, place: Partition, records: Sequence[Outgoing]) -> int:
        if self.broken:
            raise Unreachable("no broker")
        self.letters.extend(records)
        return 0


@pytest.mark.parametrize(
    ("error", "stage"),
    [(EnvelopeRefused("ce_id", "x"), b"envelope"), (UnknownType("x"), b"type"), (Poison("secret"), b"decode")],
)
def test_a_record_that_does_not_open_is_a_dead_letter_at_once(error: SchemaSideError, stage: bytes) -> None:
    desk = Desk(error)
    assert desk.pipeline.begin(RECORD) is None
    told = dict(desk.letters[0].headers)
    assert (told["dead_stage"], told["dead_kind"], told["dead_attempt"]) == (stage, b"invalid", b"1")
    assert not any(b"secret" in (value or b"") for _, value in desk.letters[0].headers)


def test_what_no_client_could_parse_is_a_letter_of_its_reason_and_an_alarm_with_its_offsets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    value = Unreadable(b"secret", reason="header-key", scope="batch", first=3, last=7)
    desk = Desk(UnreadableRecord(value))
    with caplog.at_level(logging.ERROR):
        assert desk.pipeline.begin(replace(RECORD, offset=7, key=None, value=value, headers=())) is None
    told = dict(desk.letters[0].headers)
    assert (told["dead_stage"], told["dead_error"], told["dead_kind"]) == (b"batch", b"header-key", b"invalid")
    assert "batch of offsets 3 to 7 is a dead letter on g.dead: header-key" in caplog.text
    assert "secret" not in caplog.text


def test_an_event_is_handled_once() -> None:
    desk = Desk(message())
    attempt = desk.pipeline.begin(RECORD)
    assert attempt is not None
    desk.pipeline.succeed(attempt)
    assert desk.pipeline.begin(RECORD) is None
    desk.opened = message("e2")
    assert desk.pipeline.begin(RECORD) is not None


def test_an_event_whose_handler_failed_is_not_taken_as_handled() -> None:
    desk = Desk(message())
    attempt = desk.pipeline.begin(RECORD)
    assert attempt is not None
    desk.pipeline.fail(attempt, ValueError())
    assert desk.pipeline.begin(RECORD) is not None


def test_a_bug_is_tried_again_and_then_buried_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(message())
    attempt = desk.pipeline.begin(RECORD)
    assert attempt is not None
    assert desk.pipeline.fail(attempt, ValueError("a secret")) == Again(0.5)
    desk.clock.advance(seconds=9)
    with caplog.at_level(logging.ERROR):
        assert desk.pipeline.fail(attempt, ValueError("a secret")) is None
    told = dict(desk.letters[0].headers)
    assert (told["dead_kind"], told["dead_error"], told["dead_attempt"]) == (b"bug", b"ValueError", b"2")
    assert (told["dead_first"], told["dead_last"]) == (b"2026-01-05T08:00:00.000000Z", b"2026-01-05T08:00:09.000000Z")
    assert "secret" not in caplog.text


def test_what_a_rule_refuses_is_buried_at_once_and_an_outage_never() -> None:
    desk = Desk(message())
    attempt = desk.pipeline.begin(RECORD)
    assert attempt is not None
    assert desk.pipeline.fail(attempt, Unreachable("registry")) is not None
    for _ in range(50):
        assert desk.pipeline.fail(attempt, Unreachable("registry")) is not None
    assert desk.pipeline.fail(attempt, Refused("no legal basis")) is None


def test_a_dead_letter_that_cannot_be_stored_stops_the_reader() -> None:
    with pytest.raises(Unreachable):
        Desk(Poison("x"), broken=True).pipeline.begin(RECORD)

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec import structs

from bus.errors import Refused, Unreachable
from bus.message import Message, Outgoing, Partition, Record, Unreadable, UnreadableRecord
from bus.middleware.dead_letter import DeadLetters, Failure
from bus.middleware.dedupe import MemorySeen
from bus.middleware.parking import QUEUED, Entry, Mode
from bus.middleware.retry import Kind, Policy, RetryPolicy
from bus.pipeline import Again, Attempt, Bury, Park, Pipeline
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

    def __init__(
        self, opened: Message | SchemaSideError, *, broken: bool = False, policy: Policy | None = None
    ) -> None:
        self.letters: list[Outgoing] = []
        self.broken = broken
        self.opened = opened
        self.clock = ManualClock()
        self.pipeline = Pipeline(
            opener=self.open,
            seen=MemorySeen(),
            policy=policy or Policy(retry=RetryPolicy(attempts=2, base_s=1)),
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
        assert desk.pipeline.begin(structs.replace(RECORD, offset=7, key=None, value=value, headers=())) is None
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
    desk.pipeline.judge(attempt, ValueError())
    assert desk.pipeline.begin(RECORD) is not None


def begun(desk: Desk, entry: Entry | None = None) -> Attempt:
    attempt = desk.pipeline.begin(RECORD, entry)
    assert attempt is not None
    return attempt


def entry(mode: Mode = Mode.KEY, *, stage: str = "handler", attempt: int = 2) -> Entry:
    failure = Failure(stage=stage, kind=Kind.BUG, error="ValueError", attempt=attempt, first=START, last=START)
    return Entry(record=RECORD, failure=failure, mode=mode)


def test_a_bug_is_tried_again_and_then_its_key_is_parked() -> None:
    desk = Desk(message())
    attempt = begun(desk)
    assert desk.pipeline.judge(attempt, ValueError("a secret")) == Again(0.5)
    desk.clock.advance(seconds=9)
    verdict = desk.pipeline.judge(attempt, ValueError("a secret"))
    last = START + timedelta(seconds=9)
    told = Failure(stage="handler", kind=Kind.BUG, error="ValueError", attempt=2, first=START, last=last)
    assert verdict == Park(told, Mode.KEY, None)
    assert desk.letters == []


def test_where_order_does_not_matter_a_bug_is_tried_alone_ever_later_and_at_last_buried() -> None:
    few = Policy(ordered=False, retry=RetryPolicy(attempts=2, base_s=1), delay_s=60, delay_cap_s=100, delays=3)
    desk = Desk(message(), policy=few)
    attempt = begun(desk)
    desk.pipeline.judge(attempt, ValueError())
    delays = []
    while isinstance(verdict := desk.pipeline.judge(attempt, ValueError()), Park):
        assert verdict.mode is Mode.ALONE
        assert verdict.due is not None
        delays.append((verdict.due - desk.clock.now()).total_seconds())
        attempt = begun(desk, Entry(record=RECORD, failure=verdict.failure, mode=verdict.mode, due=verdict.due))
    assert delays == [60, 100, 100]
    assert verdict == Bury(
        Failure(stage="handler", kind=Kind.BUG, error="ValueError", attempt=5, first=START, last=START)
    )


def test_a_record_without_a_key_has_no_order_so_it_waits_alone() -> None:
    desk = Desk(
        structs.replace(message(), record=structs.replace(RECORD, key=None)),
        policy=Policy(retry=RetryPolicy(attempts=1)),
    )
    verdict = desk.pipeline.judge(begun(desk), ValueError())
    assert isinstance(verdict, Park)
    assert verdict.mode is Mode.ALONE
    assert verdict.due == START + timedelta(seconds=60)


def test_a_released_entry_has_its_tries_in_place_again_and_the_count_and_first_time_go_on() -> None:
    desk = Desk(message())
    desk.clock.advance(days=1)
    attempt = begun(desk, entry(attempt=7))
    assert isinstance(desk.pipeline.judge(attempt, ValueError()), Again)
    verdict = desk.pipeline.judge(attempt, ValueError())
    assert isinstance(verdict, Park)
    assert (verdict.failure.attempt, verdict.failure.first) == (9, START)


def test_what_only_queued_was_first_tried_when_its_turn_came() -> None:
    desk = Desk(message(), policy=Policy(retry=RetryPolicy(attempts=1)))
    desk.clock.advance(days=1)
    verdict = desk.pipeline.judge(begun(desk, entry(stage=QUEUED, attempt=0)), ValueError())
    assert isinstance(verdict, Park)
    assert (verdict.failure.attempt, verdict.failure.first) == (1, START + timedelta(days=1))


def test_a_dead_letter_is_logged_with_its_place_and_the_line_that_raised_and_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk(message())
    with caplog.at_level(logging.ERROR):
        desk.pipeline.bury(RECORD, entry().failure, redrive=1, where="handler.py:7")
    told = dict(desk.letters[0].headers)
    assert (told["dead_kind"], told["dead_error"], told["dead_redrive"]) == (b"bug", b"ValueError", b"1")
    assert "offset 4 is a dead letter on g.dead: ValueError in handler (bug) at handler.py:7, try 2" in caplog.text


def test_what_a_rule_refuses_is_buried_or_parked_as_the_policy_says_and_an_outage_neither() -> None:
    desk = Desk(message())
    attempt = begun(desk)
    for _ in range(50):
        assert isinstance(desk.pipeline.judge(attempt, Unreachable("registry")), Again)
    assert isinstance(desk.pipeline.judge(attempt, Refused("no legal basis")), Bury)
    for ordered, mode in ((True, Mode.KEY), (False, Mode.ALONE)):
        desk = Desk(message(), policy=Policy(ordered=ordered, refused="park"))
        verdict = desk.pipeline.judge(begun(desk), Refused("no legal basis"))
        assert isinstance(verdict, Park)
        assert (verdict.mode, verdict.due) == (mode, None)
        assert isinstance(desk.pipeline.judge(begun(desk), Poison("x")), Bury)


def test_an_outage_beyond_its_budget_is_said_and_tried_on() -> None:
    desk = Desk(message(), policy=Policy(budget_s=60))
    attempt = begun(desk)
    overdue = []
    for _ in range(4):
        verdict = desk.pipeline.judge(attempt, Unreachable("registry"))
        assert isinstance(verdict, Again)
        overdue.append(verdict.overdue)
        desk.clock.advance(seconds=30)
    assert overdue == [False, False, True, True]


def test_a_dead_letter_that_cannot_be_stored_stops_the_reader() -> None:
    with pytest.raises(Unreachable):
        Desk(Poison("x"), broken=True).pipeline.begin(RECORD)

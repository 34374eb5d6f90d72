"""Rows of parked cases: their bytes, their order, a timer without a record, and what people are told."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import case_log, parked
from agents.case import Active, Case
from agents.case_bytes import Damaged
from agents.parked import GRACE_MS, PREFIX, TIMER, Waiting
from bus.message import Record
from bus.middleware.dead_letter import Failure
from bus.middleware.parking import QUEUED, Entry
from bus.middleware.retry import Kind
from tests.agents.crashes import GRAPH

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
FAILED = Failure(stage="step", kind=Kind.BUG, error="ZeroDivisionError", attempt=1, first=NOW, last=NOW)
OPENS = GRAPH.opens_on
CASES = st.text(st.characters(categories=["Ll", "Nd"], max_codepoint=127), min_size=1, max_size=8)
RECORDS = st.builds(
    Record,
    st.sampled_from([OPENS, "justice.birth.registered.v1"]),
    st.integers(0, 9),
    st.integers(0, 2**40),
    st.integers(0, 2**41),
    st.none() | st.binary(max_size=8),
    st.none() | st.binary(max_size=40),
    st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3).map(tuple),
)
ENTRIES = st.builds(
    lambda record, queued, action: Entry(
        record=record,
        failure=parked.behind(FAILED, NOW) if queued else FAILED,
        action=action,
        redrive=2 if action else 0,
    ),
    RECORDS,
    st.booleans(),
    st.none() | st.just("r1"),
)


def at(moment: int, topic: str = "a.b.c.v1", offset: int = 0, *, stage: str = "step") -> Waiting:
    record = Record(topic, 0, offset, moment, b"c", b"v", ())
    return parked.waiting("c", Entry(record=record, failure=replace(FAILED, stage=stage)), opens_on=OPENS)


@given(CASES, ENTRIES)
def test_a_row_comes_back_as_the_place_it_was(case: str, entry: Entry) -> None:
    waiting = parked.waiting(case, entry, opens_on=OPENS)
    key, value = waiting.row()
    assert key.startswith(PREFIX)
    assert value is not None
    assert parked.read(key, value, opens_on=OPENS) == waiting


@given(CASES, ENTRIES)
def test_the_bytes_of_a_row_are_no_case_of_any_format_a_worker_knows(case: str, entry: Entry) -> None:
    value = parked.waiting(case, entry).row()[1] or b""
    assert value[0] != case_log.FORMAT
    with pytest.raises(Damaged, match="Run the newer worker"):
        case_log.due_of(value)


@given(CASES, ENTRIES, st.data())
def test_cut_changed_or_misplaced_rows_are_read_or_damaged_and_nothing_else(
    case: str, entry: Entry, data: st.DataObject
) -> None:
    key, value = parked.waiting(case, entry).row()
    raw = bytearray(value or b"")
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    for one, other in ((key, bytes(raw)), (key, bytes(raw[:place])), (PREFIX + b"\xff\0x", value or b"")):
        with suppress(Damaged):
            parked.read(one, other)


def test_a_row_under_another_row_s_key_is_damaged() -> None:
    one, other = at(1), at(2, offset=1)
    with pytest.raises(Damaged, match="not its key's"):
        parked.read(one.key, other.row()[1] or b"")


def test_the_order_is_that_of_the_records_an_opening_ahead_a_timer_first() -> None:
    timer = parked.waiting("c", Entry(record=parked.timer("c", 0, 99_000_000), failure=FAILED))
    opening = at(1_000 + GRACE_MS - 1, OPENS)
    queue = sorted([at(1_000), opening, timer, at(999), at(1_000, offset=1)], key=lambda waiting: waiting.order)
    assert [w.entry.record.timestamp for w in queue] == [99_000, 999, 1_000 + GRACE_MS - 1, 1_000, 1_000]


def test_a_timer_is_a_record_whose_offset_is_its_due_moment() -> None:
    waiting = parked.waiting("c", Entry(record=parked.timer("c", 3, 7_000_001), failure=FAILED))
    assert (waiting.due, waiting.entry.record.topic, waiting.entry.record.partition) == (7_000_001, TIMER, 3)
    assert at(1).due is None


def test_tries_are_counted_from_the_first_failure() -> None:
    later = replace(FAILED, first=NOW + timedelta(hours=1), last=NOW + timedelta(hours=1), error="KeyError")
    again = at(1).failed(later)
    assert (again.entry.failure.attempt, again.entry.failure.error) == (2, "KeyError")
    assert (again.entry.failure.first, again.entry.failure.last) == (NOW, later.last)
    behind = replace(at(1), entry=replace(at(1).entry, failure=parked.behind(FAILED, NOW)))
    assert (behind.entry.failure.attempt, behind.entry.queued) == (0, True)
    assert (behind.failed(later).entry.failure.attempt, behind.failed(later).entry.failure.first) == (1, later.first)
    assert behind.failed(later).order == behind.order


def test_a_spent_timer_counts_as_a_transition_and_a_wait_cannot_be_spent() -> None:
    waits = {"registered": Active(0, 5, fired=False), "other": Active(0, 6, fired=False)}
    case = Case("c", GRAPH.hash, 0, active=waits)
    case.deadline = Active(0, 5, fired=False)
    after = parked.without_timer(GRAPH, case, 5)
    assert after is not None
    assert after.active == {"registered": Active(0, 5, fired=True), "other": Active(0, 6, fired=False)}
    assert after.deadline == Active(0, 5, fired=True)
    assert (after.transitions, case.transitions, case.active["registered"].fired) == (1, 0, False)


def test_what_people_are_told_names_the_failure_and_the_way_out() -> None:
    assert parked.standstill([]) is None
    queue = [at(1, stage=QUEUED), at(2), at(3, stage=QUEUED)]
    told = parked.standstill(queue)
    assert told is not None
    assert (told.stage, told.entries) == ("step", 3)
    assert told.text("workflow.birth", "birth-1") == (
        "parked since 2026-01-05 08:00:00 UTC, because of ZeroDivisionError (stage step), 2 more behind it; "
        "release with `agencybus parked release --group workflow.birth --case birth-1`"
    )


def test_the_queue_of_a_case_is_found_among_the_latest_rows_and_no_other_s() -> None:
    rows = dict(w.row() for w in (at(2), at(1, offset=1)))
    other = parked.waiting("c2", at(0).entry)
    latest = {key: value or b"" for key, value in (*rows.items(), other.row())}
    assert [w.entry.record.timestamp for w in parked.of_case(latest, "c")] == [1, 2]

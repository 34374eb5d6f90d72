"""Dead letters read back: nothing of the original is lost, and nothing that somebody put there ends the list."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bus.letters import Cause, Letter, NotALetter, as_json, letter_of, original, remedy, split
from bus.message import Headers, Outgoing, Partition, Record, Unreadable
from bus.middleware.dead_letter import Failure, dead_record, letter_id
from bus.middleware.retry import Kind

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
FAILURE = Failure(stage="decode", kind=Kind.INVALID, error="Poison", attempt=1, first=NOW, last=NOW)
RECORD = Record("portal.note.written.v1", 2, 41, 1_767_600_000_123, b"c-1", b"junk", (("ce_id", b"e-1"),))

failures = st.builds(
    Failure,
    stage=st.sampled_from(["envelope", "type", "decode", "handler", "case", "emit"]),
    kind=st.sampled_from(Kind),
    error=st.text(min_size=1, max_size=20),
    attempt=st.integers(1, 99),
    first=st.just(NOW),
    last=st.integers(0, 10**6).map(lambda s: NOW + timedelta(seconds=s)),
)
names = st.one_of(st.text(max_size=8), st.sampled_from(["dead_group", "dead_id", "dead_topic", "ce_correlationid"]))
records = st.builds(
    Record,
    topic=st.just("portal.note.written.v1"),
    partition=st.integers(0, 99),
    offset=st.integers(0, 2**40),
    timestamp=st.integers(0, 2**41),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=50),
    headers=st.lists(st.tuples(names, st.none() | st.binary(max_size=10)), max_size=6).map(tuple),
)


def stored(letter: Outgoing, *, offset: int = 7) -> Record:
    """The letter as it comes off the dead-letter topic."""
    return Record("g.dead", 0, offset, 1, letter.key, letter.value, letter.headers)


def letter(record: Record = RECORD, failure: Failure = FAILURE, *, redrive: int = 0, group: str = "g") -> Letter:
    return letter_of(stored(dead_record(record, failure, group=group, redrive=redrive)), group=group)


@given(records, failures, st.integers(0, 9))
def test_a_letter_gives_back_the_record_and_the_failure_as_they_were(
    record: Record, failure: Failure, redrive: int
) -> None:
    there = stored(dead_record(record, failure, group="g", redrive=redrive))
    found = letter_of(there, group="g")
    assert original(found, there) == record
    assert found.failure == failure
    assert (found.redrive, found.id) == (redrive, letter_id(record, group="g", redrive=redrive))
    assert found.stands == (Partition("g.dead", 0), 7)
    assert found.size >= len(record.value or b"")


def test_a_letter_of_the_time_before_ids_has_the_same_id() -> None:
    now = stored(dead_record(RECORD, FAILURE, group="g"))
    before = structs.replace(now, headers=tuple(h for h in now.headers if h[0] != "dead_id"))
    assert letter_of(before, group="g").id == letter_of(now, group="g").id
    assert original(letter_of(before, group="g"), before) == RECORD


def test_headers_of_a_letter_inside_a_letter_stay_the_original_s() -> None:
    inner = dead_record(RECORD, FAILURE, group="other")
    record = structs.replace(RECORD, headers=inner.headers)
    there = stored(dead_record(record, FAILURE, group="g"))
    assert original(letter_of(there, group="g"), there).headers == inner.headers


@given(st.lists(st.tuples(names, st.none() | st.binary(max_size=10)), max_size=8).map(tuple))
def test_any_headers_are_a_letter_or_say_why_not(headers: Headers) -> None:
    with suppress(NotALetter):
        letter_of(Record("g.dead", 0, 0, 0, b"k", b"v", headers), group="g")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: (), "no header dead_group"),
        (lambda h: (*h, ("x", b"1")), "stands behind ours"),
        (lambda h: tuple((n, b"\xff" if n == "dead_stage" else v) for n, v in h), "dead_stage is no text"),
        (lambda h: tuple(x for x in h if x[0] != "dead_offset"), "no header dead_offset"),
        (lambda h: tuple((n, b"seven" if n == "dead_offset" else v) for n, v in h), "no such value"),
        (lambda h: tuple((n, b"wrong" if n == "dead_kind" else v) for n, v in h), "no such value"),
        (lambda h: tuple((n, b"2026-01-05" if n == "dead_first" else v) for n, v in h), "no such value"),
    ],
)
def test_what_is_no_letter_says_why(change, said: str) -> None:  # type: ignore[no-untyped-def]
    good = dead_record(RECORD, FAILURE, group="g").headers
    with pytest.raises(NotALetter, match=said):
        letter_of(Record("g.dead", 0, 0, 0, None, None, change(good)), group="g")


def test_bytes_left_out_and_bytes_no_client_parsed_are_told() -> None:
    large = letter(structs.replace(RECORD, value=b"x" * 960_000))
    assert large.left_out is not None
    assert large.left_out > 960_000
    assert large.size < 100
    raw = Unreadable(b"raw", reason="crc", scope="batch", first=40, last=49)
    batch = letter(
        structs.replace(RECORD, key=None, value=raw, headers=()), replace(FAILURE, stage="batch", error="crc")
    )
    assert batch.span == (40, 49)


def test_the_case_is_the_header_s_else_the_key_s_and_never_bytes_that_are_no_text() -> None:
    assert letter(structs.replace(RECORD, headers=(("ce_correlationid", b"case-9"),))).case == "case-9"
    assert letter().case == "c-1"
    assert letter(structs.replace(RECORD, key=b"\xff")).case is None
    assert letter(structs.replace(RECORD, key=None)).case is None


def test_one_fault_is_one_cause_in_each_group() -> None:
    ids = {letter(structs.replace(RECORD, offset=n)).cause.id for n in range(5)}
    assert len(ids) == 1
    others = {letter(group="h").cause.id, letter(failure=replace(FAILURE, error="Other")).cause.id}
    assert len(ids | others) == 3


@pytest.mark.parametrize(
    "stage",
    [
        "batch",
        "envelope",
        "type",
        "decode",
        "handler",
        "case",
        "emit",
        "step",
        "timer",
        "read",
        "size",
        "of the future",
    ],
)
@pytest.mark.parametrize("kind", Kind)
def test_each_cause_has_a_remedy(stage: str, kind: Kind) -> None:
    for error in ("late", "unopened", "unexpected", "ValueError", "Dropped", "NotListened"):
        assert "`" in remedy(Cause("g", "t", stage, error, kind))


def test_nothing_of_the_payload_is_in_what_machines_are_told() -> None:
    told = as_json(letter(structs.replace(RECORD, value=b"SYN-SECRET")))
    assert "SYN-SECRET" not in str(told)
    assert told["id"] == letter().id


def test_headers_of_ours_are_split_off_whole() -> None:
    headers, told = split(dead_record(RECORD, FAILURE, group="g", redrive=3).headers)
    assert headers == RECORD.headers
    assert (told["group"], told["redrive"], told["offset"]) == ("g", "3", "41")

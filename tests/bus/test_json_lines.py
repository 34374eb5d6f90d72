"""Lines in, results out; the commands around them are in test_cli_events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import BusError, OutcomeUnknown, Refused, Unreachable
from bus.json_lines import MAX_LINE, dump, lines_of, parser_of, result_of
from bus.message import Receipt
from bus.publish import Publication
from schemas.birth import BirthRegistered
from tests.bus.support import NoteWritten

parse = parser_of(NoteWritten)


def chunks(parts: list[bytes]) -> Callable[[int], bytes]:
    left: Iterator[bytes] = iter([p for p in parts if p])
    return lambda size: next(left, b"")


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_lines_are_the_same_however_the_bytes_arrive(parts: list[bytes]) -> None:
    whole = b"".join(parts).split(b"\n")
    expected = [(n, line) for n, line in enumerate(whole, 1) if line.strip()]
    assert list(lines_of(chunks(parts))) == expected


def test_a_huge_line_is_dropped_as_it_comes_and_the_next_is_read() -> None:
    block = [b"x" * 65_536] * (MAX_LINE // 65_536 + 1)
    assert list(lines_of(chunks([b"a\n", *block, b"\nb\n", *block]))) == [(1, b"a"), (2, None), (3, b"b"), (4, None)]


def test_a_line_of_exactly_the_limit_is_still_a_line() -> None:
    assert list(lines_of(chunks([b"x" * MAX_LINE, b"\n", b"y" * MAX_LINE, b"y"]))) == [(1, b"x" * MAX_LINE), (2, None)]


def test_a_line_is_taken_as_it_is_said() -> None:
    said = parse(1, b'{"case":"c-1","id":"e-1","time":"2026-01-05T12:00:00+04:00","data":{"text":"\xc9\x99"}}')
    assert isinstance(said, Publication)
    assert (said.event, said.case, said.id) == (NoteWritten(text="ə"), "c-1", "e-1")
    assert said.time is not None
    assert said.time.isoformat() == "2026-01-05T12:00:00+04:00"
    plain = parse(2, b'{"case":"c-1","data":{"text":"a"}}')
    assert isinstance(plain, Publication)
    assert (plain.id, plain.time) == (None, None)


def refusal(outcome: Publication | BusError) -> Refused:
    assert isinstance(outcome, Refused)
    return outcome


def test_a_line_that_was_too_long_is_refused_with_its_number() -> None:
    refused = refusal(parse(7, None))
    assert (refused.field, refused.message) == ("line", "Line 7 is longer than 1,048,576 bytes.")


def test_the_first_fault_is_named_and_the_others_are_counted() -> None:
    refused = refusal(parse(3, b'{"case":"","data":{"text":7},"id":5}'))
    assert refused.field == "case"
    assert refused.message.startswith("Line 3: ")
    assert refused.message.endswith("(2 more)")


BIRTH = {
    "record_number": "CR-1",
    "stillbirth": False,
    "person": "SYN-P-1",
    "mother": "SYN-M-1",
    "father_recorded": True,
    "registered_on": "2026-01-05",
    "given_name": "Ayra",
    "surname": "Modelov",
}


@pytest.mark.parametrize("field", BIRTH)
def test_a_refusal_never_repeats_what_the_line_says_of_a_person(field: str) -> None:
    line = json.dumps({"case": "c", "data": {**BIRTH, field: "SECRET\tPERSON\n" * 30}}).encode()
    refused = refusal(parser_of(BirthRegistered)(1, line))
    assert refused.field == f"data.{field}"
    assert "SECRET" not in str(refused)


def test_an_unknown_field_is_named_but_not_at_any_length() -> None:
    refused = refusal(parse(1, json.dumps({"case": "c", "data": {"text": "a"}, "n" * 100_000: 1}).encode()))
    assert refused.field.startswith("nnn")
    assert len(refused.field) < 300


@given(st.binary(max_size=200))
def test_any_bytes_are_a_publication_or_a_refusal(raw: bytes) -> None:
    assert isinstance(parse(1, raw), Publication | Refused)


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (
            Receipt("t", 2, 7, "e-1"),
            {"line": 4, "status": "acknowledged", "topic": "t", "partition": 2, "offset": 7, "id": "e-1"},
        ),
        (
            Refused("No.", field="data.text", remedy="Correct it."),
            {"line": 4, "status": "refused", "field": "data.text", "reason": "No. Correct it."},
        ),
        (BusError("No."), {"line": 4, "status": "refused", "field": "record", "reason": "No."}),
        (
            OutcomeUnknown("No answer.", event_id="e-1"),
            {"line": 4, "status": "unknown", "id": "e-1", "reason": "No answer."},
        ),
        (Unreachable("Gone."), {"line": 4, "status": "unknown", "id": None, "reason": "Gone."}),
    ],
)
def test_each_outcome_has_its_result_line(outcome: Receipt | BusError, line: dict[str, object]) -> None:
    assert result_of(4, outcome) == line


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_a_result_is_one_printable_line_that_reads_back(document: dict[str, object]) -> None:
    text = dump(document)
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert json.loads(text) == document

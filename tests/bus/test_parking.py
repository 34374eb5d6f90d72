from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bus.errors import Refused
from bus.message import Outgoing, Record
from bus.middleware.dead_letter import Failure
from bus.middleware.parking import (
    Command,
    Damaged,
    Entry,
    Mode,
    command_key,
    entry_key,
    fits,
    is_command,
    pack,
    pack_command,
    parked_topic,
    unpack,
    unpack_command,
)
from bus.middleware.retry import Kind
from bus.transport.rules import check_sizes

WHEN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
RECORD = Record("a.b.c.v1", 2, 17, 1_000, b"case", b"\xff secret", (("ce_id", b"\xff"), ("x", None), ("x", b"2")))
FAILURE = Failure(stage="handler", kind=Kind.BUG, error="KeyError", attempt=5, first=WHEN, last=WHEN)
ENTRY = Entry(record=RECORD, failure=FAILURE)

moments = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))
any_text = st.text(st.characters(codec=None), max_size=20)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
records = st.builds(
    Record,
    st.from_regex(r"[a-z]{1,9}(\.[a-z0-9]{1,9}){3}", fullmatch=True),
    st.integers(0, 999),
    st.integers(0, 2**62),
    st.integers(-1, 2**50),
    st.none() | st.binary(max_size=40),
    st.none() | st.binary(max_size=400),
    st.lists(st.tuples(any_text, st.none() | st.binary(max_size=40)), max_size=9).map(tuple),
)
failures = st.builds(
    Failure,
    stage=st.sampled_from(["handler", "queued", "batch"]),
    kind=st.sampled_from(Kind),
    error=texts,
    attempt=st.integers(0, 99),
    first=moments,
    last=moments,
)
entries = st.builds(
    Entry,
    record=records,
    failure=failures,
    mode=st.sampled_from(Mode),
    due=st.none() | moments,
    redrive=st.integers(0, 99),
    action=st.none() | st.from_regex(r"[0-9a-f]{8,32}", fullmatch=True),
)
commands = st.builds(
    Command,
    id=st.from_regex(r"[0-9a-f]{8,32}", fullmatch=True),
    do=st.sampled_from(["release", "drop"]),
    topic=st.none() | texts,
    key=st.binary(max_size=40),
    by=texts,
    at=moments,
)


@given(entry=entries)
def test_an_entry_comes_back_from_its_bytes_as_it_was(entry: Entry) -> None:
    assert unpack(pack(entry)) == entry


@given(command=commands)
def test_a_command_comes_back_from_its_row_as_it_was(command: Command) -> None:
    assert unpack_command(command_key(command), pack_command(command)) == command
    assert is_command(command_key(command))
    assert not is_command(entry_key(ENTRY))


@given(one=entries, two=entries)
def test_two_entries_share_a_row_only_for_the_same_place_and_action(one: Entry, two: Entry) -> None:
    def place(entry: Entry) -> tuple[object, ...]:
        return entry.record.topic, entry.record.partition, entry.record.offset, entry.action

    assert (entry_key(one) == entry_key(two)) == (place(one) == place(two))


def test_the_row_key_names_the_place_and_the_redrive_that_brought_it_back() -> None:
    assert entry_key(ENTRY) == b"a.b.c.v1\x002\x0017"
    assert entry_key(replace(ENTRY, action="7f")) == b"a.b.c.v1\x002\x0017\x007f"
    assert parked_topic("justice-intake") == "justice-intake.parked"


@given(entry=entries, cut=st.integers(0, 2_000), more=st.binary(max_size=3))
def test_bytes_that_are_no_entry_are_damaged_and_never_half_read(entry: Entry, cut: int, more: bytes) -> None:
    whole = pack(entry)
    for wrong in (whole[: cut % len(whole)], whole + b"x" + more):
        with pytest.raises(Damaged):
            unpack(wrong)


@given(raw=st.binary(max_size=60), version=st.integers(0, 1))
def test_any_bytes_are_read_or_refused_by_name(raw: bytes, version: int) -> None:
    for read in (unpack, lambda value: unpack_command(b"!\xff", value)):
        with pytest.raises(Damaged):
            read(bytes([version]) + raw)


def test_a_row_of_a_newer_version_is_refused_not_taken_for_damage() -> None:
    for newer in (b"\x03" + pack(ENTRY)[1:], b"\x03"):
        with pytest.raises(Refused, match="newer version"):
            unpack(newer)
        with pytest.raises(Refused, match="newer version"):
            unpack_command(b"!7f", newer)


def test_a_header_s_name_that_is_no_text_is_damage() -> None:
    entry = replace(ENTRY, record=structs.replace(RECORD, headers=(("name", b"v"),)))
    with pytest.raises(Damaged, match="name"):
        unpack(pack(entry).replace(b"name", b"n\xffme"))


@given(size=st.sampled_from([10, 940_000, 949_900, 950_000, 999_000]), header=st.sampled_from([0, 1_500]))
def test_what_fits_is_taken_by_every_producer(size: int, header: int) -> None:
    headers = tuple(("name", b"v") for _ in range(header))
    entry = replace(ENTRY, record=structs.replace(RECORD, value=b"v" * size, headers=headers))
    assert fits(entry) == (size <= 940_000 and not (size > 10 and header))
    if fits(entry):
        check_sizes([Outgoing(entry_key(entry), pack(entry))])

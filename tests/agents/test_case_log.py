"""The bytes of the case log, and the port in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.json import encode

from agents import case_log
from agents.case import Case, next_due
from agents.case_bytes import Damaged
from agents.case_log import Marker, MemoryCaseLog, Positions, Stored
from agents.machine import Emit
from bus.errors import Fenced
from tests.agents.test_case_bytes import CASES, FIELDS, INTS, TEXT

EMITS = st.builds(Emit, TEXT, TEXT, TEXT, TEXT, FIELDS.map(encode).map(Raw), INTS, st.none() | TEXT)
STORED = st.builds(Stored, CASES, st.lists(EMITS, max_size=3).map(tuple))
MARKERS = st.builds(Marker, TEXT, st.lists(TEXT, max_size=3).map(tuple), st.integers(0, 2**62))
POSITIONS = st.builds(
    Positions,
    st.dictionaries(TEXT, st.integers(0, 2**62), max_size=4),
    st.integers(0, 10_000),
    st.lists(st.binary(max_size=9), max_size=3, unique=True).map(tuple),
)


@given(STORED | MARKERS)
def test_an_entry_comes_back_from_its_bytes(entry: Stored | Marker) -> None:
    assert case_log.unpack(case_log.pack(entry)) == entry


@given(STORED | MARKERS)
def test_the_due_moment_is_known_without_reading_the_entry(entry: Stored | Marker) -> None:
    due = next_due(entry.case) if isinstance(entry, Stored) else entry.expires
    assert case_log.due_of(case_log.pack(entry)) == (None if due == -1 else due)


LETTERS = st.text("0123456789abcdefAF ", max_size=17)


@given(
    st.builds(
        Marker,
        st.binary(min_size=32, max_size=32).map(bytes.hex) | LETTERS,
        st.lists(st.binary(min_size=8, max_size=8).map(bytes.hex), max_size=4).map(tuple)
        | st.lists(LETTERS | TEXT, max_size=4).map(tuple),
        st.integers(0, 2**62),
    )
)
def test_a_marker_comes_back_from_what_memory_keeps_of_it(marker: Marker) -> None:
    value = case_log.pack(marker)
    kept = case_log.at_rest(marker, value)
    assert case_log.unpack(kept) == marker
    assert case_log.due_of(kept) == (None if marker.expires == -1 else marker.expires)


def test_a_fingerprint_at_rest_takes_eight_bytes_and_no_row_of_the_log_is_taken_for_one() -> None:
    marker = Marker("0a" * 32, tuple(f"{number:016x}" for number in range(20)), 7)
    kept = case_log.at_rest(marker, case_log.pack(marker))
    assert len(kept) == 10 + 32 + 20 * 8
    with pytest.raises(Damaged):
        case_log.unpack(bytes(kept))


@given(POSITIONS)
def test_positions_come_back_from_their_bytes(positions: Positions) -> None:
    assert case_log.unpack_positions(case_log.pack_positions(positions)) == positions


def read_all(value: bytes) -> None:
    for read in (case_log.unpack, case_log.due_of, case_log.unpack_positions):
        with suppress(Damaged):
            read(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_damaged_and_nothing_else(value: bytes) -> None:
    read_all(value)


@given(STORED.map(case_log.pack) | MARKERS.map(case_log.pack) | POSITIONS.map(case_log.pack_positions), st.data())
def test_cut_or_changed_bytes_are_read_or_damaged_and_nothing_else(value: bytes, data: st.DataObject) -> None:
    raw = bytearray(value)
    at = data.draw(st.integers(0, len(raw) - 1))
    read_all(bytes(raw[:at]))
    raw[at] ^= data.draw(st.integers(1, 255))
    read_all(bytes(raw))


@given(STORED, st.data())
def test_an_entry_cut_short_is_never_taken_for_a_whole_one(entry: Stored, data: st.DataObject) -> None:
    raw = case_log.pack(entry)
    with pytest.raises(Damaged):
        case_log.unpack(raw[: data.draw(st.integers(0, len(raw) - 1))])


@pytest.mark.parametrize("read", [case_log.unpack, case_log.due_of])
def test_a_newer_format_is_refused_with_the_remedy(read: Callable[[bytes], object]) -> None:
    raw = bytes([case_log.CHAPTERED + 1]) + case_log.pack(Stored(Case("c", "g", 0)))[1:]
    with pytest.raises(Damaged, match="Run the newer worker"):
        read(raw)


def test_a_kind_of_record_nobody_writes_is_damaged() -> None:
    raw = bytearray(case_log.pack(Stored(Case("c", "g", 0))))
    raw[1] = 2
    with pytest.raises(Damaged):
        case_log.unpack(bytes(raw))


def test_what_is_said_of_a_damaged_record_does_not_quote_it() -> None:
    raw = case_log.pack(Stored(Case("c", "g", 0), (Emit("i", "t", "s", "a", Raw(b'{"name":"SYN-Leyla"}'), 0, None),)))
    for damaged in (raw[:-2], raw.replace(b'"t"', b"123"), raw.replace(b'"c"', b"777")):
        with pytest.raises(Damaged) as caught:
            case_log.unpack(damaged)
        assert "SYN" not in str(caught.value)
        assert "777" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"v":1,"inputs":{"t":1}}',
        b'{"v":1,"inputs":{"t":"1"},"rows":0}',
        b'{"v":1,"inputs":{},"rows":0,"settled":{"zz":1}}',
        b'{"v":1,"inputs":{},"rows":0,"settled":3}',
        b'{"v":1,"inputs":[],"rows":0}',
        b'{"v":1,"inputs":{},"rows":{}}',
        b'{"v":2,"inputs":{},"rows":0}',
        b"[]",
    ],
)
def test_positions_of_another_shape_are_damaged(value: bytes) -> None:
    with pytest.raises(Damaged):
        case_log.unpack_positions(value)


async def test_a_former_owner_in_memory_is_fenced_and_stores_nothing_of_any_partition() -> None:
    rows: dict[int, list[tuple[bytes, bytes | None]]] = {}
    owners: dict[int, object] = {}
    old, new = MemoryCaseLog(rows, owners), MemoryCaseLog(rows, owners)
    await old.claim([0, 1], "old")
    await old.append({0: [(b"a", b"1")]})
    await new.claim([0], "new")
    with pytest.raises(Fenced):
        await old.append({1: [(b"b", b"2")], 0: [(b"a", b"3")]})
    assert [key for _, key, _ in await new.load(0)] == [case_log.BARRIER, b"a", case_log.BARRIER]
    assert [key for _, key, _ in await new.load(1)] == [case_log.BARRIER]


async def test_a_partition_nobody_claimed_takes_nothing() -> None:
    with pytest.raises(Fenced):
        await MemoryCaseLog().append({0: [(b"a", b"1")]})

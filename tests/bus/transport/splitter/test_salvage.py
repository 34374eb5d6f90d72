"""The slow path alone: every record where it stands, the bad ones marked with their bytes."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.record._crecords.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from bus.message import Unreadable
from bus.transport.splitter import limits
from bus.transport.splitter.salvage import Row, salvage
from bus.transport.splitter.structure import HEAD_BYTES, Malformed, Reason, head_of
from tests.bus.transport.splitter.encoder import batch, record


def saved(raw: bytes, *, compressed: bool = False) -> list[Row]:
    return salvage(head_of(raw, 0), raw, raw[HEAD_BYTES:], compressed=compressed)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "key": st.none() | st.binary(max_size=9),
                "value": st.none() | st.binary(max_size=200),
                "headers": st.lists(st.tuples(st.just(b"h"), st.none() | st.binary(max_size=9)), max_size=3),
                "time_delta": st.integers(-(2**63), 2**63 - 1),
            }
        ),
        min_size=1,
        max_size=9,
    ),
    base=st.integers(0, 2**50),
    append_time=st.booleans(),
)
def test_good_records_come_out_as_the_compiled_reader_reads_them(
    rows: list[dict[str, Any]], base: int, append_time: bool
) -> None:
    raw = batch([record(i, **row) for i, row in enumerate(rows)], base=base, attributes=8 * append_time)
    fast = [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value, r.headers) for r in DefaultRecordBatch(raw)]
    assert [(r.offset, r.timestamp, r.timestamp_type, r.key, r.value, r.headers) for r in saved(raw)] == fast


@given(bad=st.sets(st.integers(0, 7)), length=st.sampled_from([0, 3, -3, 40]))
def test_each_bad_record_is_marked_with_its_own_bytes_and_no_other_is(bad: set[int], length: int) -> None:
    records = [
        record(i, value=b"v%d" % i, headers=[(b"\xff" if i in bad else b"h", b"x")], length=length * (i in bad))
        for i in range(8)
    ]
    for row, raw in zip(saved(batch(records, base=10)), records, strict=True):
        if isinstance(row.value, Unreadable):
            assert row.offset - 10 in bad
            assert row.value == raw
            assert (row.key, row.headers) == (None, [])
            assert row.value.reason == (Reason.RECORD_LENGTH if length else Reason.HEADER_KEY)
        else:
            assert row.offset - 10 not in bad


def test_fields_that_do_not_fit_are_passed_over_by_the_record_s_length() -> None:
    evil = record(1, header_count=200)  # says 200 headers and has none
    rows = saved(batch([record(0), evil, record(2, value=b"c")]))
    assert [type(row.value) for row in rows] == [bytes, Unreadable, bytes]
    assert rows[1].value == evil


def test_behind_a_record_without_an_end_the_rest_is_lost_together_and_named_by_its_offsets() -> None:
    rows = saved(batch([record(0), b"\x80" * 20, record(2)], base=5))
    value = rows[1].value
    assert isinstance(value, Unreadable)
    assert (value.scope, value.first, value.last, rows[1].offset) == ("batch", 6, 7, 7)
    assert value == b"\x80" * 20 + record(2)


def test_records_that_are_missing_are_named_with_the_whole_batch_as_evidence() -> None:
    raw = batch([record(0)], count=3, last_delta=2, base=5)
    rows = saved(raw)
    assert [row.offset for row in rows] == [5, 7]
    value = rows[1].value
    assert isinstance(value, Unreadable)
    assert (value, value.reason) == (raw, Reason.COUNT)


@pytest.mark.parametrize("deltas", [(0, 1, 1), (2, 1, 0), (-1, 0, 1), (0, 5, 900)])
def test_places_that_contradict_the_header_and_each_other_are_not_guessed(deltas: tuple[int, ...]) -> None:
    with pytest.raises(Malformed, match="count"):
        saved(batch([record(delta) for delta in deltas], count=3, last_delta=9))


def test_limits_hold_for_records_and_for_headers_in_total() -> None:
    crowd = batch([record(i) for i in range(limits.MOST_RECORDS + 1)], count=7)
    with pytest.raises(Malformed, match="records"):
        saved(crowd)
    many = record(0, headers=[(b"", None)] * limits.MOST_HEADERS)
    count = limits.MOST_BATCH_HEADERS // limits.MOST_HEADERS + 1
    with pytest.raises(Malformed, match="headers"):
        saved(batch([many] * count))

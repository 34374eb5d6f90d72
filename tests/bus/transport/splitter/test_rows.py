"""A large batch is handed on by chunks; a fault behind the first is met there, and costs nothing before or after it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.message import Unreadable
from bus.transport.splitter import limits, rows
from bus.transport.splitter.rows import Content, _longest
from bus.transport.splitter.structure import Malformed, head_of
from tests.bus.transport.splitter.encoder import Log, batch, good, record
from tests.bus.transport.splitter.readers import GUARDED, STOCK, read_all

MANY = 2 * rows._CHUNK + 7
EVIL: dict[str, dict[str, Any]] = {
    "header-key": {"headers": [(b"\xff", b"x")]},
    "headers": {"headers": [(b"h", b"")] * (limits.MOST_HEADERS + 1)},
    "record-length": {"length": 3},
}


def content(raw: bytes) -> Content:
    return Content(memoryview(raw), head_of(raw, 0))


@pytest.mark.parametrize("client", GUARDED)
@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("reason", EVIL)
@settings(max_examples=15)
@given(places=st.sets(st.integers(0, MANY - 1), max_size=4), start=st.integers(0, MANY - 1))
def test_faults_anywhere_in_a_large_batch_cost_their_records_alone(
    client: str, codec: str, reason: str, places: set[int], start: int
) -> None:
    records = [record(i, value=b"%d" % i, **(EVIL[reason] if i in places else {})) for i in range(MANY)]
    log = Log()
    log.add(batch(records, codec=codec), last=MANY - 1)
    log.add(good(2, base=MANY), last=MANY + 1)
    found = read_all(GUARDED[client], log, start=start)
    assert [row.offset for row in found] == list(range(start, MANY + 2))
    for row in found[:-2]:
        if row.offset in places:
            assert (row.value.reason, row.value) == (reason, records[row.offset])
        else:
            assert row.value == b"%d" % row.offset


@pytest.mark.parametrize("client", GUARDED)
@pytest.mark.parametrize("count", [1, rows._CHUNK - 1, rows._CHUNK, rows._CHUNK + 1, 2 * rows._CHUNK, MANY, 1_000])
def test_batches_around_the_size_of_a_chunk_are_read_as_the_stock_client_reads_them(client: str, count: int) -> None:
    data = good(count) + good(count, base=count)
    ours, stock = GUARDED[client](data, 0), STOCK[client](data, 0)
    assert [(row.offset, row.value) for row in ours.records] == [(row.offset, row.value) for row in stock.records]
    assert ours.position == stock.position == 2 * count


@pytest.mark.parametrize("client", GUARDED)
@pytest.mark.parametrize("count", [MANY - 60, MANY - 1, MANY + 1, MANY + 60])
def test_a_count_that_lies_in_step_with_the_last_offset_is_noticed_where_the_records_end(
    client: str, count: int
) -> None:
    raw = batch([record(i, value=b"%d" % i) for i in range(MANY)], count=count, last_delta=count - 1)
    log = Log()
    log.add(raw, last=count - 1)
    log.add(good(2, base=count), last=count + 1)
    found = read_all(GUARDED[client], log)
    kept = min(count, MANY)
    assert [row.value for row in found[:kept]] == [b"%d" % i for i in range(kept)]
    assert [isinstance(row.value, Unreadable) for row in found[kept:]] == [True, False, False][count <= MANY :]


def test_what_cannot_be_salvaged_behind_the_first_chunk_is_lost_together_and_not_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = [record(i) for i in range(MANY - 1)]
    stream = content(batch([*records, record(MANY - 1, headers=[(b"\xff", b"")])])).stream()
    monkeypatch.setattr(rows, "salvage", lambda *_, **__: 1 // 0)
    *goods, lost = stream
    whole = MANY // rows._CHUNK * rows._CHUNK
    assert [row.offset for row in goods] == list(range(whole))
    assert (lost.value.reason, lost.value.first, lost.value.last) == ("internal", whole, MANY - 1)


def test_a_batch_that_says_it_holds_too_many_records_is_not_unpacked() -> None:
    with pytest.raises(Malformed, match="records"):
        content(batch([], count=limits.MOST_RECORDS + 1, codec="zstd", body=b"junk"))


@given(sizes=st.lists(st.sampled_from([0, 50, 70, 9_000, 20_000, 70_000]), min_size=1, max_size=8))
def test_the_longest_record_is_found_by_the_lengths_alone(sizes: list[int]) -> None:
    records = [record(i, value=bytes(size)) for i, size in enumerate(sizes)]
    assert max(map(len, records)) - 3 <= _longest(batch(records)) < max(map(len, records))


def test_a_length_that_no_honest_record_has_counts_as_too_long() -> None:
    for length in (-1, 2**31 - 1, 2**62):
        raw = batch([record(0), record(1, exact_length=length), record(2)])
        assert _longest(raw) > limits.MOST_HEADER_BYTES or _longest(raw) == len(raw)

"""No bytes stop a reader or move it anywhere but on: both clients' own record readers over the splitter."""

from __future__ import annotations

import logging
import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.message import Unreadable
from bus.transport.splitter import limits, split
from bus.transport.splitter.sightings import Sightings
from tests.bus.transport.splitter import mutations
from tests.bus.transport.splitter.encoder import CODECS, Log, batch, good, record
from tests.bus.transport.splitter.readers import GUARDED, STOCK, Aborted, aiokafka_guarded, read_all

PACKINGS = (*CODECS, "xerial")
BYTES = st.none() | st.binary(max_size=30)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "key": BYTES,
            "value": BYTES,
            "headers": st.lists(st.tuples(st.text(max_size=4).map(str.encode), BYTES), max_size=3),
            "time_delta": st.integers(-(2**40), 2**40),
        }
    ),
    max_size=12,
)
both = pytest.mark.parametrize("client", GUARDED)


def told(rows: list[Any]) -> list[tuple[Any, ...]]:
    """A row's value, or of an unreadable one reason, scope, first and last offset."""
    return [
        (row.offset, str(v.reason), v.scope, v.first, v.last)
        if isinstance(v := row.value, Unreadable)
        else (row.offset, v)
        for row in rows
    ]


def plain(row: Any) -> tuple[Any, ...]:
    return row.offset, row.timestamp, row.timestamp_type, row.key, row.value, list(row.headers)


def beside(evil: bytes, last: int) -> Log:
    """Three good records, the evil batch from offset 3 to `last`, two good ones."""
    log = Log()
    log.add(good(3), last=2)
    log.add(evil, last=last)
    log.add(good(2, base=last + 1), last=last + 2)
    return log


@both
@given(
    batches=st.lists(st.tuples(RECORDS, st.sampled_from(PACKINGS), st.booleans()), min_size=1, max_size=3),
    start=st.integers(0, 40),
)
def test_clean_batches_are_read_as_the_stock_client_reads_them_from_any_position(
    client: str, batches: list[tuple[list[dict[str, Any]], str, bool]], start: int
) -> None:
    log, base = Log(), 0
    for rows, codec, append_time in batches:
        records = [record(i, **row) for i, row in enumerate(rows)]
        last = max(0, len(rows) - 1)
        log.add(batch(records, base=base, codec=codec, attributes=8 * append_time, last_delta=last), last=base + last)
        base += last + 1
    start = min(start, base - 1)
    data = log.fetch(start)
    stock, ours = STOCK[client](data, start), GUARDED[client](data, start)
    assert [plain(row) for row in ours.records] == [plain(row) for row in stock.records]
    assert ours.position == stock.position


@both
def test_a_batch_behind_the_reader_costs_nothing_when_the_due_one_follows(client: str) -> None:
    split.Batches.sightings = Sightings()
    data = good(3) + good(2, base=3)
    for _ in range(limits.FETCHES - 1):
        assert GUARDED[client](data, 3) == ([], 3)
    assert told(GUARDED[client](data, 3).records) == [(3, b"g3"), (4, b"g4")]


@both
@pytest.mark.parametrize("codec", PACKINGS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_header_that_is_no_text_costs_its_record_alone(client: str, codec: str, place: int) -> None:
    records = [record(i, value=b"mid%d" % i, headers=[(b"\xff" if i == place else b"h", b"x")]) for i in range(3)]
    found = read_all(GUARDED[client], beside(batch(records, base=3, codec=codec), last=5))
    evil = (3 + place, "header-key", "record", 3 + place, 3 + place)
    mids = [evil if i == place else (3 + i, b"mid%d" % i) for i in range(3)]
    assert told(found) == [(0, b"g0"), (1, b"g1"), (2, b"g2"), *mids, (6, b"g6"), (7, b"g7")]
    assert records[place] == next(row.value for row in found if isinstance(row.value, Unreadable))


@both
@pytest.mark.parametrize("client_fails", [b"\xff", b"\xed\xa0\x80"])
def test_the_stock_clients_read_nothing_at_or_behind_such_a_record(client: str, client_fails: bytes) -> None:
    data = beside(batch([record(0), record(1, headers=[(client_fails, b"x")]), record(2)], base=3), last=5).fetch(0)
    try:
        found = STOCK[client](data, 0).records
    except Exception:  # noqa: BLE001  # each client has its own
        return
    assert len(found) <= 4, "this is why the splitter is there"


@both
@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("lie", [1_000_000, -1_000, 7, 2**31 - 1])
def test_an_offset_that_lies_moves_nothing(client: str, codec: str, lie: int) -> None:
    evil = batch([record(0, value=b"a"), record(lie, value=b"b"), record(2, value=b"c")], base=3, codec=codec)
    found = read_all(GUARDED[client], beside(evil, last=5))
    assert told(found)[3:6] == [(3, b"a"), (4, "offset-delta", "record", 4, 4), (5, b"c")]
    assert [row.offset for row in found] == list(range(8))


def test_the_stock_clients_go_where_the_lie_says() -> None:
    evil = batch([record(0), record(1_000_000), record(2)], base=3)
    data = beside(evil, last=5).fetch(0)
    assert max(row.offset for row in STOCK["kafka-python"](data, 0).records) == 1_000_003
    assert 1_000_003 in [row.offset for row in STOCK["aiokafka"](data, 0).records]
    assert len(STOCK["aiokafka"](data, 0).records) < 8, "it drops good neighbours"


@both
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("length", [+3, -3, "negative", "zero", "huge"])
def test_a_record_length_that_lies_costs_its_record_alone(client: str, codec: str, length: int | str) -> None:
    if isinstance(length, int):
        evil = record(1, value=b"evil", length=length)
    else:
        evil = record(1, value=b"evil", exact_length={"negative": -9, "zero": 0, "huge": 2**31 - 1}[length])
    data = batch([record(0, value=b"a"), evil, record(2, value=b"c")], base=3, codec=codec)
    found = read_all(GUARDED[client], beside(data, last=5))
    assert told(found)[3:6] == [(3, b"a"), (4, "record-length", "record", 4, 4), (5, b"c")]


WHOLE = {
    "checksum": batch([record(0), record(1)], base=3, flip_checksum=True),
    "magic": batch([record(0), record(1)], base=3, magic=3),
    "codec": batch([record(0), record(1)], base=3, codec_id=6),
    "compression": batch([record(0), record(1)], base=3, codec_id=4),
    "control": batch([record(0), record(1)], base=3, attributes=0x20),
    "bomb": batch([record(0, value=bytes(16 << 20)), record(1)], base=3, codec="zstd"),
    "structure": batch([], base=3, count=2, last_delta=1, body=b"\xff" * 40),
    "count": batch([], base=3, count=2, last_delta=1),
}


@both
@pytest.mark.parametrize("reason", WHOLE)
@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_batch_that_cannot_be_parsed_is_one_letter_and_is_fetched_three_times_first(
    client: str, reason: str, window: int
) -> None:
    log = beside(WHOLE[reason], last=4)
    log.window = window
    found = read_all(GUARDED[client], log)
    goods = [(0, b"g0"), (1, b"g1"), (2, b"g2")]
    assert told(found) == [*goods, (4, reason, "batch", 3, 4), (5, b"g5"), (6, b"g6")]
    assert next(row.value for row in found if isinstance(row.value, Unreadable)) == WHOLE[reason]
    assert log.fetches >= limits.FETCHES


@both
def test_a_fault_that_is_gone_at_the_second_look_costs_nothing(client: str) -> None:
    split.Batches.sightings = Sightings()
    broken, whole = batch([record(0, value=b"a")], flip_checksum=True), batch([record(0, value=b"a")])
    for _ in range(5):
        assert GUARDED[client](broken, 0) == ([], 0)
        assert GUARDED[client](broken[:-1] + b"x", 0) == ([], 0)
    assert told(GUARDED[client](whole, 0).records) == [(0, b"a")]


@both
def test_a_crowd_of_records_is_not_built(client: str) -> None:
    evil = batch([record(i, key=None, value=None) for i in range(limits.MOST_RECORDS + 1)], base=3, codec="zstd")
    last = 3 + limits.MOST_RECORDS
    found = read_all(GUARDED[client], beside(evil, last=last))
    assert told(found)[3:4] == [(last, "records", "batch", 3, last)]
    fine = batch([record(i, key=None, value=None) for i in range(limits.MOST_RECORDS)], codec="zstd")
    assert len(GUARDED[client](fine, 0).records) == limits.MOST_RECORDS


@both
@pytest.mark.parametrize(("headers", "size"), [(limits.MOST_HEADERS + 1, 0), (1, limits.MOST_HEADER_BYTES + 1)])
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_headers_beyond_the_limits_cost_their_record_alone(client: str, headers: int, size: int, codec: str) -> None:
    evil = record(1, headers=[(b"h", bytes(size))] * headers)
    data = batch([record(0, value=b"a"), evil, record(2, value=b"c")], base=3, codec=codec)
    found = read_all(GUARDED[client], beside(data, last=5))
    assert told(found)[3:6] == [(3, b"a"), (4, "headers", "record", 4, 4), (5, b"c")]


@both
def test_a_record_that_came_packed_may_not_be_larger_than_one_that_did_not(client: str) -> None:
    records = [record(0, value=b"a"), record(1, value=bytes(limits.MOST_RECORD)), record(2, value=b"c")]
    found = read_all(GUARDED[client], beside(batch(records, base=3, codec="lz4"), last=5))
    assert told(found)[3:6] == [(3, b"a"), (4, "record-size", "record", 4, 4), (5, b"c")]
    found = read_all(GUARDED[client], beside(batch(records, base=3), last=5))
    assert len(found[4].value) == limits.MOST_RECORD, "its topic lets it be so large"


@both
@pytest.mark.parametrize(
    "header",
    [{"count": 1}, {"count": 5}, {"count": -3}, {"last_delta": 1_000_000}, {"last_delta": -5}, {"tail": bytes(40)}],
)
def test_a_header_that_contradicts_its_records_costs_none_and_moves_nothing(
    client: str, header: dict[str, Any]
) -> None:
    evil = batch([record(i, value=b"mid") for i in range(3)], base=3, **header)
    for window in (1, 3):
        log = beside(evil, last=5)
        log.window = window
        assert told(read_all(GUARDED[client], log))[3:6] == [(3, b"mid"), (4, b"mid"), (5, b"mid")]


@both
@pytest.mark.parametrize("window", [1, 2, 9])
@pytest.mark.parametrize("start", range(12))
def test_what_compaction_left_is_read_from_anywhere_in_it_and_does_not_stand_still(
    client: str, window: int, start: int
) -> None:
    log = Log(window=window)
    log.add(batch([record(1, value=b"1"), record(3, value=b"3")], base=0, last_delta=4), last=4)
    log.add(batch([], base=5, last_delta=3, count=0), last=8)  # kept for its producer's sequence
    log.add(batch([record(2, value=b"11")], base=9, last_delta=4), last=13)
    found = read_all(GUARDED[client], log, start=start)
    assert told(found) == [(o, b"%d" % o) for o in (1, 3, 11) if o >= start]


@both
@pytest.mark.parametrize("base", [10**6, 2**62, -5, 0, 1])
def test_a_base_offset_beyond_the_log_or_behind_the_reader_moves_nothing(client: str, base: int) -> None:
    log = Log()
    log.add(good(3), last=2)
    log.batches.append((3, 4, batch([record(0), record(1)], base=base)))
    log.add(good(2, base=5), last=6)
    found = read_all(GUARDED[client], log)
    assert told(found)[:3] == [(0, b"g0"), (1, b"g1"), (2, b"g2")]
    assert told(found)[-2:] == [(5, b"g5"), (6, b"g6")]
    assert {row.offset for row in found} == set(range(7))
    assert all(row.value.reason == "base-offset" for row in found[3:-2])


@both
def test_reading_goes_on_in_the_middle_of_a_batch(client: str) -> None:
    evil = batch([record(0), record(1, headers=[(b"\xff", b"")]), record(2), record(3)], base=3)
    for start in range(3, 7):
        assert [row.offset for row in read_all(GUARDED[client], beside(evil, last=6), start=start)] == [
            *range(start, 9)
        ]


@both
@pytest.mark.parametrize("cut", [1, 11, 12, 30, 60, 61, 80])
def test_a_cut_batch_at_the_end_of_a_fetch_is_fetched_again_whole(client: str, cut: int) -> None:
    split.Batches.sightings = Sightings()
    for _ in range(5):
        read = GUARDED[client](good(3) + good(3, base=3)[:cut], 0)
        assert ([row.offset for row in read.records], read.position) == ([0, 1, 2], 3)


@both
def test_a_fetch_without_a_whole_batch_neither_raises_nor_skips_in_silence(client: str) -> None:
    split.Batches.sightings = Sightings()
    cut = good(3, base=7)[:-1]
    for _ in range(limits.FETCHES - 1):
        assert GUARDED[client](cut, 7) == ([], 7)
    read = GUARDED[client](cut, 7)
    assert (told(read.records), read.position) == ([(7, "batch-length", "batch", 7, 7)], 8)
    for empty in (b"", None):
        assert GUARDED[client](empty, 7) == ([], 7)


@both
@pytest.mark.parametrize("length", [-(2**31), -1, 0, 13, 14, 48, 2**31 - 1])
def test_a_batch_length_that_lies_is_never_followed(client: str, length: int) -> None:
    whole = good(3, base=3)
    evil = whole[:8] + struct.pack(">i", length) + whole[12:]
    found = read_all(GUARDED[client], beside(evil, last=5))
    assert told(found)[:3] == [(0, b"g0"), (1, b"g1"), (2, b"g2")]
    assert told(found)[-2:] == [(6, b"g6"), (7, b"g7")]
    assert {row.value.scope for row in found[3:-2]} == {"batch"}


@both
def test_transactions_are_seen_or_not_as_the_stock_client_sees_them(client: str) -> None:
    def part(base: int, producer: int) -> bytes:
        rows = [record(0, value=b"%d" % base), record(1, value=b"%d" % base)]
        return batch(rows, base=base, attributes=0x10, producer=(producer, 0, 0))

    def marker(base: int, producer: int, *, commit: bool) -> bytes:
        key = b"\0\0\0\1" if commit else b"\0\0\0\0"
        return batch([record(0, key=key, value=b"\0" * 6)], base=base, attributes=0x30, producer=(producer, 0, -1))

    data = part(0, 7) + part(2, 8) + good(1, base=4) + marker(5, 7, commit=False) + part(6, 7)
    data += marker(8, 8, commit=True) + marker(9, 7, commit=True)
    aborted = [Aborted(7, 0)]
    stock, ours = STOCK[client](data, 0, aborted=aborted), GUARDED[client](data, 0, aborted=aborted)
    assert [plain(row) for row in ours.records] == [plain(row) for row in stock.records]
    assert [row.value for row in ours.records] == [b"2", b"2", b"g4", b"6", b"6"]
    assert ours.position == stock.position == 10


@both
def test_what_is_unreadable_in_an_aborted_transaction_stays_unseen(client: str) -> None:
    evil = batch([record(0), record(1)], base=3, codec_id=4, attributes=0x10, producer=(7, 0, 0))
    found = read_all(GUARDED[client], beside(evil, last=4), aborted=[Aborted(7, 3)])
    assert told(found) == [(0, b"g0"), (1, b"g1"), (2, b"g2"), (5, b"g5"), (6, b"g6")]
    assert len(read_all(GUARDED[client], beside(evil, last=4))) == 6


@both
@settings(max_examples=60)
@given(data=st.data(), window=st.integers(1, 4))
def test_any_mixture_of_good_and_evil_batches_delivers_every_good_one_in_order(
    client: str, data: st.DataObject, window: int
) -> None:
    log, expected, base = Log(window=window), [], 0
    for evil in data.draw(st.lists(st.sampled_from([None, *WHOLE]), min_size=1, max_size=6)):
        if evil is None:
            codec = data.draw(st.sampled_from(PACKINGS))
            log.add(good(2, base=base, codec=codec), last=base + 1)
            expected += [b"g%d" % base, b"g%d" % (base + 1)]
        else:
            log.add(struct.pack(">q", base) + WHOLE[evil][8:], last=base + 1)
        base += 2
    found = read_all(GUARDED[client], log)
    assert [row.value for row in found if not isinstance(row.value, Unreadable)] == expected
    assert len(found) - len(expected) == (base - len(expected)) // 2
    assert all(one.offset < other.offset for one, other in pairwise(found))


def test_changed_batches_stop_nobody() -> None:
    tally = mutations.run(5_000, seed=20_261_124)
    assert tally.faults == []
    assert len(tally.reasons) >= 12, "the mutations must reach every kind of fault"


def test_a_fault_of_the_splitter_itself_is_one_letter_and_its_trace_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    split.Batches.sightings = Sightings()

    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(split, "Content", broken)
    with caplog.at_level(logging.ERROR):
        reads = [aiokafka_guarded(good(3), 0) for _ in range(limits.FETCHES)]
    assert told(reads[-1].records) == [(2, "internal", "batch", 0, 2)]
    assert "ZeroDivisionError" in caplog.text

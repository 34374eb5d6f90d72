"""Lag rows: three states, effective lag, exact ages, and never a negative number."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from bus import lag
from bus.lag import Row
from bus.message import Partition, Record
from bus.testing import START
from schemas.envelope import to_ms

P0, P1 = Partition("a.b.c.v1", 0), Partition("a.b.c.v1", 1)


def head(
    place: Partition, offset: int, *, age_s: float, key: bytes | None = b"case-1", header: bytes | None = None
) -> Record:
    headers = () if header is None else (("ce_correlationid", header),)
    stamp = to_ms(START - timedelta(seconds=age_s))
    return Record(place.topic, place.number, offset, stamp, key, b"", headers)


def only(committed: dict[Partition, int], bounds: dict[Partition, tuple[int, int]], *heads: Record) -> Row:
    kept: dict[Partition, dict[int, Record]] = {}
    for record in heads:
        kept.setdefault(Partition(record.topic, record.partition), {})[record.offset] = record
    [row] = lag.rows({"g": committed}, bounds, kept, START)
    return row


def test_a_partition_behind_tells_its_age_and_case() -> None:
    row = only({P0: 7}, {P0: (0, 10)}, head(P0, 7, age_s=90.5, header=b"birth-7"))
    assert (row.state, row.lag, row.oldest_age_s, row.case) == ("value", 3, 90.5, "birth-7")


def test_the_key_names_the_case_when_no_header_does_and_bytes_are_no_name() -> None:
    assert only({P0: 7}, {P0: (0, 10)}, head(P0, 7, age_s=1)).case == "case-1"
    assert only({P0: 7}, {P0: (0, 10)}, head(P0, 7, age_s=1, key=None)).case is None
    assert only({P0: 7}, {P0: (0, 10)}, head(P0, 7, age_s=1, key=b"\xff")).case is None


def test_a_partition_caught_up_has_lag_zero_and_no_age() -> None:
    row = only({P0: 10}, {P0: (0, 10)}, head(P0, 0, age_s=9))
    assert (row.state, row.lag, row.oldest_age_s, row.case) == ("value", 0, None, None)


def test_a_partition_without_a_commit_is_not_committed_and_has_no_lag() -> None:
    rows = lag.rows({"g": {P0: 1}}, {P0: (0, 1), P1: (0, 50)}, {}, START)
    assert [(r.partition, r.state, r.lag, r.end) for r in rows] == [(0, "value", 0, 1), (1, "not committed", None, 50)]


def test_records_that_retention_deleted_do_not_wait() -> None:
    row = only({P0: 3}, {P0: (8, 10)}, head(P0, 8, age_s=5))
    assert (row.lag, row.oldest_age_s) == (2, 5.0)
    assert only({P0: 3}, {P0: (10, 10)}).lag == 0


def test_a_deleted_topic_is_unknown_not_zero() -> None:
    row = only({P0: 3}, {})
    assert (row.state, row.committed, row.end, row.lag) == ("unknown", 3, None, None)


def test_a_commit_past_the_end_is_unknown_not_negative() -> None:
    row = only({P0: 11}, {P0: (0, 10)})
    assert (row.state, row.lag, row.end) == ("unknown", None, 10)


def test_a_broker_whose_clock_is_ahead_gives_age_zero() -> None:
    assert only({P0: 7}, {P0: (0, 10)}, head(P0, 7, age_s=-3)).oldest_age_s == 0.0


def test_a_group_without_commits_has_no_rows() -> None:
    assert lag.rows({"g": {}}, {P0: (0, 3)}, {}, START) == []


def test_the_document_has_the_words_of_the_contract() -> None:
    found = lag.document([only({P0: 7}, {P0: (0, 10)})], START)
    assert found["at"] == "2026-01-05T08:00:00.000000Z"
    assert list(found["rows"][0]) == [
        "group", "topic", "partition", "committed", "end", "lag", "state", "oldest_age_s", "case"
    ]  # fmt: skip


OFFSETS = st.integers(0, 20)


@given(OFFSETS, st.tuples(OFFSETS, OFFSETS).map(sorted), st.floats(-100, 1e6))
def test_lag_is_never_negative_and_only_a_value_has_one(committed: int, limits: list[int], age: float) -> None:
    start, end = limits
    heads = [head(P0, offset, age_s=age) for offset in range(start, end)]
    row = only({P0: committed}, {P0: (start, end)}, *heads)
    assert (row.lag is not None) == (row.state == "value") == (committed <= end)
    if row.lag is not None:
        assert row.lag == len([offset for offset in range(start, end) if offset >= committed])
        assert (row.oldest_age_s is not None) == (row.lag > 0)

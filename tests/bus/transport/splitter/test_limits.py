"""The limits leave honest traffic alone, and fit together."""

from __future__ import annotations

from bus.transport import rules
from bus.transport.splitter import limits
from schemas.codec import MAX_VALUE


def test_whatever_our_own_producers_may_send_is_within_every_limit() -> None:
    assert rules.BATCH_BYTES <= limits.MOST_RECORD
    assert limits.MOST_RECORD <= limits.MOST_AT_ONCE
    assert limits.MOST_AT_ONCE < limits.MOST_DECOMPRESSED
    assert MAX_VALUE < limits.MOST_RECORD


def test_a_letter_s_headers_are_within_the_limits() -> None:
    assert limits.MOST_HEADERS >= 2 * (10 + 17)
    assert limits.MOST_HEADER_BYTES >= 50 * 500


def test_a_fault_is_looked_at_more_than_once_and_not_so_often_that_readers_stall() -> None:
    assert 2 <= limits.FETCHES <= 5

"""The system's clock."""

from __future__ import annotations

from datetime import UTC, datetime

from bus.clock import SystemClock


def test_the_time_is_the_system_s_aware_and_in_utc() -> None:
    before = datetime.now(UTC)
    told = SystemClock().now()
    assert before <= told <= datetime.now(UTC)
    assert told.tzinfo is UTC

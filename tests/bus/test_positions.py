from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bus.errors import UsageError
from bus.message import Partition
from bus.positions import begin_group, offsets_at, parse_start
from bus.testing import START, ManualClock, memory_cluster, numbered
from bus.transport.memory import MemoryCluster

ONE, TWO = Partition("t", 0), Partition("t", 1)


@pytest.fixture
def cluster() -> MemoryCluster:
    made = memory_cluster("t", partitions=2)
    made.store(ONE, numbered(2))
    assert isinstance(made.clock, ManualClock)
    made.clock.advance(hours=1)
    made.store(ONE, numbered(1))
    return made


def test_a_place_is_a_word_or_a_time_with_a_zone() -> None:
    assert parse_start("latest") == "latest"
    assert parse_start("2026-01-05T12:00:00+04:00") == datetime(2026, 1, 5, 8, tzinfo=UTC)
    for wrong in ("", "Earliest", "yesterday", "2026-01-05T12:00:00", "12"):
        with pytest.raises(UsageError, match="earliest, latest or a time"):
            parse_start(wrong)


def test_each_place_has_its_offsets(cluster: MemoryCluster) -> None:
    reader = cluster.reader()
    assert offsets_at(reader, ["t"], "earliest") == {ONE: 0, TWO: 0}
    assert offsets_at(reader, ["t"], "latest") == {ONE: 3, TWO: 0}
    assert offsets_at(reader, ["t"], datetime(2026, 1, 5, 8, 30, tzinfo=UTC)) == {ONE: 2, TWO: 0}
    assert offsets_at(reader, ["t"], START) == {ONE: 0, TWO: 0}


def test_a_new_group_is_placed_and_one_with_commits_is_told_how_to_move(cluster: MemoryCluster) -> None:
    begin_group(cluster.admin(), cluster.reader(), group="g", topics=["t"], start="latest")
    assert cluster.groups["g"].commits == {ONE: 3, TWO: 0}
    with pytest.raises(UsageError, match="agencybus reset t --group g --to earliest"):
        begin_group(cluster.admin(), cluster.reader(), group="g", topics=["t"], start="earliest")
    assert cluster.groups["g"].commits == {ONE: 3, TWO: 0}

"""The lag probe: its order of questions, what it keeps, and what it survives; on memory and on real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest

from bus.clock import SystemClock
from bus.lag_probe import LagProbe
from bus.message import Outgoing, Partition
from bus.ports import Admin, Reader, TopicState
from bus.testing import ManualClock, eventually
from bus.transport.kafka import KafkaTransport
from bus.transport.memory import MemoryAdmin, MemoryCluster, MemoryReader

TOPIC, OTHER = "a.b.c.v1", "d.e.f.v1"
RECORDS = [Outgoing(b"case-%d" % n, b"", (("ce_correlationid", b"case-%d" % n),)) for n in range(5)]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cluster(clock: ManualClock) -> MemoryCluster:
    made = MemoryCluster(clock)
    made.admin().create(TopicState(TOPIC, 2, 1))
    made.admin().create(TopicState(OTHER, 1, 1))
    return made


class Noting:
    """Writes down the order of questions; stands before an admin or a reader."""

    def __init__(self, inner: object, asked: list[str]) -> None:
        self._inner, self._asked = inner, asked

    def __getattr__(self, name: str) -> object:
        self._asked.append(name)
        return getattr(self._inner, name)


def test_a_sample_tells_lag_age_and_case(cluster: MemoryCluster, clock: ManualClock) -> None:
    cluster.store(Partition(TOPIC, 0), RECORDS[:2])
    clock.advance(seconds=60)
    cluster.store(Partition(TOPIC, 0), RECORDS[2:])
    cluster.admin().commit("g", {Partition(TOPIC, 0): 1})
    clock.advance(seconds=30)
    first, second = LagProbe(cluster.admin(), cluster.reader(), clock=clock).sample()
    assert (first.lag, first.oldest_age_s, first.case) == (4, 90.0, "case-1")
    assert (second.partition, second.state, second.lag) == (1, "not committed", None)


def test_commits_are_read_before_ends(cluster: MemoryCluster, clock: ManualClock) -> None:
    asked: list[str] = []
    cluster.admin().commit("g", {Partition(TOPIC, 0): 0})
    admin: Admin = Noting(cluster.admin(), asked)  # type: ignore[assignment]  # passes everything on
    reader: Reader = Noting(cluster.reader(), asked)  # type: ignore[assignment]
    LagProbe(admin, reader, clock=clock).sample()
    assert asked.index("committed") < asked.index("bounds")


def test_a_commit_that_races_with_the_sample_never_gives_negative_lag(
    cluster: MemoryCluster, clock: ManualClock
) -> None:
    place = Partition(TOPIC, 0)
    cluster.store(place, RECORDS)
    cluster.admin().commit("g", {place: 5})

    class Racing(MemoryAdmin):
        def committed(self, groups: Sequence[str]) -> dict[str, dict[Partition, int]]:
            found = super().committed(groups)
            cluster.store(place, RECORDS)
            super().commit("g", {place: 10})
            return found

    [row, _] = LagProbe(Racing(cluster), cluster.reader(), clock=clock).sample()
    assert (row.committed, row.end, row.lag) == (5, 10, 5)


def test_a_deleted_topic_and_an_empty_group_do_not_spoil_the_sample(cluster: MemoryCluster, clock: ManualClock) -> None:
    admin = cluster.admin()
    admin.commit("g", {Partition(TOPIC, 0): 0})
    admin.commit("h", {Partition(OTHER, 0): 3})
    admin.commit("empty", {})
    admin.delete(OTHER)
    rows = LagProbe(admin, cluster.reader(), clock=clock).sample()
    assert {(row.group, row.state) for row in rows} == {("g", "value"), ("g", "not committed"), ("h", "unknown")}


def test_one_group_alone_can_be_asked_for(cluster: MemoryCluster, clock: ManualClock) -> None:
    admin = cluster.admin()
    for group in ("g", "h"):
        admin.commit(group, {Partition(OTHER, 0): 0})
    probe = LagProbe(admin, cluster.reader(), clock=clock)
    assert [row.group for row in probe.sample("h")] == ["h"]
    assert probe.sample("unheard-of") == []


def test_a_head_that_has_not_moved_is_read_once(cluster: MemoryCluster, clock: ManualClock) -> None:
    place = Partition(TOPIC, 0)
    cluster.store(place, RECORDS)
    cluster.admin().commit("g", {place: 1})
    asked: list[str] = []
    reader: Reader = Noting(cluster.reader(), asked)  # type: ignore[assignment]  # passes everything on
    probe = LagProbe(cluster.admin(), reader, clock=clock)
    probe.sample()
    clock.advance(seconds=5)
    assert probe.sample()[0].oldest_age_s == 5.0
    assert asked.count("read") == 1
    cluster.admin().commit("g", {place: 2})
    assert probe.sample()[0].case == "case-2"
    assert asked.count("read") == 2


def test_a_head_that_only_holes_follow_leaves_the_age_unknown(cluster: MemoryCluster, clock: ManualClock) -> None:
    class Holes(MemoryReader):
        def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
            return {place: (start, end + 2) for place, (start, end) in super().bounds(partitions).items()}

    cluster.admin().commit("g", {Partition(OTHER, 0): 0})
    [row] = LagProbe(cluster.admin(), Holes(cluster), clock=clock).sample()
    assert (row.lag, row.oldest_age_s, row.case) == (2, None, None)


@pytest.mark.kafka
def test_on_kafka_a_sample_tells_lag_age_case_and_survives_a_deleted_topic(
    kafka: str, fresh: Callable[[str], str]
) -> None:
    transport = KafkaTransport(bootstrap=kafka)
    topic, group = f"{fresh('t')}.b.c.v1", fresh("g")
    gone = f"{fresh('gone')}.b.c.v1"
    stamped: Mapping[str, str] = {"message.timestamp.type": "LogAppendTime"}
    admin, reader = transport.admin(), transport.reader()
    try:
        admin.create(TopicState(topic, 2, 1, stamped))
        admin.create(TopicState(gone, 1, 1))
        asyncio.run(_append(transport, Partition(topic, 0)))
        eventually(lambda: _committed(admin, group, {Partition(topic, 0): 2, Partition(gone, 0): 0}))
        probe = LagProbe(admin, reader, clock=SystemClock())
        probe.sample(group)
        admin.delete(gone)
        rows = {(row.topic, row.partition): row for row in probe.sample(group)}
    finally:
        admin.close()
        reader.close()
    head, idle = rows[topic, 0], rows[topic, 1]
    assert (head.committed, head.end, head.lag, head.state, head.case) == (2, 5, 3, "value", "case-2")
    assert head.oldest_age_s is not None
    assert 0 <= head.oldest_age_s < 60
    assert (idle.committed, idle.end, idle.lag, idle.state) == (None, 0, None, "not committed")
    assert (gone, 0) not in rows or rows[gone, 0].state == "unknown"


def _committed(admin: Admin, group: str, positions: Mapping[Partition, int]) -> bool:
    """Commit; False while the cluster is still making its topic of commits."""
    from bus.errors import Unreachable

    try:
        admin.commit(group, positions)
    except Unreachable:
        return False
    return True


async def _append(transport: KafkaTransport, place: Partition) -> None:
    producer = transport.producer()
    await producer.start()
    try:
        await producer.append(place, RECORDS)
    finally:
        await producer.stop()

"""The Kafka in memory beside its contract: faults on demand, threads, and what its clock stamps."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from bus.errors import OutcomeUnknown, Refused, Unreachable
from bus.message import Outgoing, Partition
from bus.ports import TopicState
from bus.testing import ManualClock, memory_cluster, numbered, put
from bus.transport.memory import MemoryCluster
from schemas.envelope import to_ms

TOPIC = "portal.a.b.v1"
PLACE = Partition(TOPIC, 0)


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(TOPIC, partitions=1)


def values(cluster: MemoryCluster) -> list[bytes | None]:
    return [record.value for record in cluster.logs[PLACE]]


def test_a_failing_append_stores_nothing_and_the_next_one_stores(cluster: MemoryCluster) -> None:
    cluster.faults.failing_appends = 1
    with pytest.raises(Unreachable):
        put(cluster, PLACE, numbered(1))
    assert values(cluster) == []
    assert put(cluster, PLACE, numbered(1)) == 0


def test_a_lost_acknowledgement_has_stored_the_records(cluster: MemoryCluster) -> None:
    cluster.faults.lost_acks = 1
    with pytest.raises(OutcomeUnknown):
        put(cluster, PLACE, numbered(1))
    assert values(cluster) == [b"0"]
    assert put(cluster, PLACE, numbered(1, start=1)) == 1


def test_a_doubled_poll_gives_its_first_record_twice_and_only_once_so(cluster: MemoryCluster) -> None:
    put(cluster, PLACE, numbered(4))
    cluster.faults.doubled_polls = 1
    consumer = cluster.consumer([TOPIC], group="g")
    assert [r.offset for r in consumer.poll(max_records=2, timeout=0)] == [0, 0, 1]
    assert [r.offset for r in consumer.poll(max_records=2, timeout=0)] == [2, 3]


async def test_a_held_append_stores_only_when_it_is_let_go(cluster: MemoryCluster) -> None:
    cluster.faults.held = asyncio.Event()
    waiting = asyncio.create_task(cluster.producer().append(PLACE, numbered(1)))
    for _ in range(3):
        await asyncio.sleep(0)
    assert values(cluster) == []
    cluster.faults.held.set()
    assert await waiting == 0
    assert values(cluster) == [b"0"]


def test_the_cluster_s_clock_stamps_the_append_time() -> None:
    clock = ManualClock()
    cluster = MemoryCluster(clock)
    cluster.admin().create(TopicState(TOPIC, 1, 1))
    put(cluster, PLACE, numbered(1))
    clock.advance(seconds=5)
    put(cluster, PLACE, numbered(2))
    later = to_ms(clock.now())
    assert [r.timestamp for r in cluster.logs[PLACE]] == [later - 5_000, later, later]
    reader = cluster.reader()
    assert [reader.at_time([PLACE], at)[PLACE] for at in (later - 5_001, later - 4_999, later, later + 1)] == [
        0,
        1,
        1,
        3,
    ]


def test_a_waiting_poll_wakes_when_another_thread_appends(cluster: MemoryCluster) -> None:
    consumer = cluster.consumer([TOPIC], group="g")
    assert consumer.poll(max_records=1, timeout=0) == []
    polling = threading.Event()
    found: list[int] = []

    def wait() -> None:
        polling.set()
        found.extend(r.offset for r in consumer.poll(max_records=1, timeout=20))

    begun = time.monotonic()
    thread = threading.Thread(target=wait)
    thread.start()
    polling.wait()
    put(cluster, PLACE, numbered(1))
    thread.join(20)
    assert found == [0]
    assert time.monotonic() - begun < 10, "it did not wait its time out"


def test_appends_of_many_threads_are_all_stored_once_and_whole(cluster: MemoryCluster) -> None:
    def append(number: int) -> None:
        for i in range(20):
            put(cluster, PLACE, [Outgoing(b"%d" % number, b"%d" % i), Outgoing(b"%d" % number, b"again")])

    threads = [threading.Thread(target=append, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log = cluster.logs[PLACE]
    assert [r.offset for r in log] == list(range(160))
    assert all(one.key == two.key and two.value == b"again" for one, two in zip(log[::2], log[1::2], strict=True))


def test_a_topic_s_partitions_are_seen_by_members_at_their_next_rebalance(cluster: MemoryCluster) -> None:
    cluster.admin().add_partitions(TOPIC, 3)
    consumer = cluster.consumer([TOPIC], group="g")
    consumer.poll(max_records=1, timeout=0)
    assert consumer.assignment() == {Partition(TOPIC, n) for n in range(3)}
    cluster.admin().delete(TOPIC)
    with pytest.raises(Refused):
        consumer.poll(max_records=1, timeout=0)


def test_altering_what_is_not_there_is_refused(cluster: MemoryCluster) -> None:
    admin = cluster.admin()
    with pytest.raises(Refused, match="no topic none"):
        admin.alter("none", {"retention.ms": "1"})
    with pytest.raises(Refused, match="no topic none"):
        admin.add_partitions("none", 3)


def test_a_group_with_neither_commits_nor_members_is_not_listed(cluster: MemoryCluster) -> None:
    consumer = cluster.consumer([TOPIC], group="g")
    assert cluster.admin().groups() == []
    consumer.poll(max_records=1, timeout=0)
    assert cluster.admin().groups() == ["g"]
    consumer.close()
    assert cluster.admin().groups() == []

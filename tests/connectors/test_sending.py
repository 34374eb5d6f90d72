from __future__ import annotations

import pytest

from bus.errors import Refused, Unreachable
from bus.message import Partition, Receipt
from bus.publish import Publication
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from bus.wiring import connect
from connectors import sending
from schemas.requests import RequestCreated

TOPIC = "portal.request.created.v1"


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(TOPIC)


class Time:
    """Seconds that pass only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


def asked(number: int) -> Publication:
    request = RequestCreated(request_id=f"R-{number}", kind="parking_permit", subject=f"SYN-P-{number:04d}")
    return Publication(event=request, case=f"case-{number}")


def send(cluster: MemoryCluster, said: list[Publication], time: Time) -> list[Receipt]:
    receipts: list[Receipt] = []
    with connect(agency="portal", transport=cluster) as bus:
        sending.publish_all(bus, said, stored=receipts.append, sleep=time.sleep, monotonic=lambda: time.now)
    return receipts


def stored(cluster: MemoryCluster) -> list[bytes | None]:
    places = [Partition(TOPIC, number) for number in range(cluster.topics[TOPIC].partitions)]
    return [record.key for place in places for record in cluster.logs[place]]


def test_only_what_was_not_acknowledged_goes_out_again(cluster: MemoryCluster) -> None:
    cluster.faults.failing_appends = 1
    time = Time()
    assert len(send(cluster, [asked(number) for number in range(40)], time)) == 40
    assert sorted(stored(cluster), key=str) == sorted((f"case-{n}".encode() for n in range(40)), key=str)
    assert time.slept == [0.1]


def test_who_waits_for_the_broker_says_so_each_time(cluster: MemoryCluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.faults.failing_appends = 2
    send(cluster, [asked(1)], Time())
    said = [record.getMessage() for record in caplog.records if record.name == sending.__name__]
    assert ["1 of 1 events wait" in line for line in said] == [True, True]


def test_pauses_grow_and_an_outage_of_two_minutes_ends_the_run(cluster: MemoryCluster) -> None:
    cluster.faults.failing_appends = 1_000
    time = Time()
    with pytest.raises(Unreachable):
        send(cluster, [asked(1)], time)
    assert time.slept[:5] == [0.1, 0.5, 2.0, 5.0, 5.0]
    assert sending.GIVE_UP_S < time.now < sending.GIVE_UP_S + 6


def test_a_refusal_is_raised_at_once_also_beside_an_outage(cluster: MemoryCluster) -> None:
    cluster.faults.failing_appends = 1
    wrong = Publication(event=asked(2).event, case="no case id \n")
    time = Time()
    with pytest.raises(Refused):
        send(cluster, [asked(1), wrong, asked(3)], time)
    assert time.slept == []

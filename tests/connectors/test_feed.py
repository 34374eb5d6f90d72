"""A source's events leave at a rate, or as fast as they go, in bounded batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bus.errors import BusError
from bus.publish import Publication
from bus.testing import memory_bus
from bus.transport.memory import MemoryCluster
from connectors.feed import BATCH, Feed
from connectors.simulators.clinic import Clinic
from schemas.birth import BirthNotified
from tests.connectors.offices import NOTIFIED, events, offices_cluster


@pytest.fixture
def cluster() -> MemoryCluster:
    return offices_cluster()


class Time:
    """Seconds that pass only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def never() -> bool:
    return False


def run(
    cluster: MemoryCluster, births: int, *, rate: float | None, stop: Callable[[], bool] = never, time: Time
) -> int:
    with memory_bus(cluster, agency="health") as bus:
        feed = Feed(bus, rate=rate, stop=stop, sleep=time.sleep, monotonic=lambda: time.now)
        return feed.run(Clinic(births=births, seed=1, year=2026, run="t"))


def stored(cluster: MemoryCluster) -> int:
    return len(events(cluster, NOTIFIED, BirthNotified))


@pytest.mark.parametrize(("rate", "seconds"), [(10.0, 4.0), (0.5, 80.0), (1000.0, 0.05)])
def test_a_rate_is_kept(cluster: MemoryCluster, rate: float, seconds: float) -> None:
    time = Time()
    assert run(cluster, 41, rate=rate, time=time) == 41
    assert time.now == pytest.approx(seconds, abs=0.2)


def test_without_a_rate_nothing_waits(cluster: MemoryCluster) -> None:
    time = Time()
    assert run(cluster, 1_100, rate=None, time=time) == 1_100
    assert time.now == 0
    assert stored(cluster) == 1_100


def test_a_stop_ends_after_the_batch_in_hand_and_says_how_many_left(cluster: MemoryCluster) -> None:
    asked = iter([False, True])
    assert run(cluster, 10 * BATCH, rate=None, stop=lambda: next(asked), time=Time()) == BATCH
    assert stored(cluster) == BATCH


def test_only_one_event_more_is_taken_from_the_source_than_is_sent(cluster: MemoryCluster) -> None:
    taken: list[int] = []

    class Endless:
        agency = "health"

        def publications(self) -> Iterator[Publication]:
            for number, said in enumerate(Clinic(births=10**9, seed=1, year=2026, run="t").publications()):
                taken.append(number)
                yield said

    asked = iter([False, False, True])
    with memory_bus(cluster, agency="health") as bus:
        assert Feed(bus, rate=None, stop=lambda: next(asked)).run(Endless()) == 2 * BATCH
    assert len(taken) == 2 * BATCH + 1


def test_an_outage_delays_and_loses_nothing(cluster: MemoryCluster) -> None:
    cluster.faults.failing_appends = 2
    time = Time()
    assert run(cluster, 20, rate=None, time=time) == 20
    assert stored(cluster) == 20
    assert time.now > 0


def test_what_is_refused_ends_the_run_and_says_why(cluster: MemoryCluster) -> None:
    cluster.admin().delete(NOTIFIED)
    with pytest.raises(BusError, match=f"no topic {NOTIFIED}"):
        run(cluster, 3, rate=None, time=Time())

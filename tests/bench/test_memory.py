"""What the memory scenario calls growth."""

from __future__ import annotations

from bus.message import Partition
from tests.bench.consumer_memory import long_at_work
from tests.bench.memory import CONSUMER, PUBLISHER, WORKER, judged, marker_bytes
from tests.bench.recorded import EVENTS_PER_CASE, TOPIC

EARLY = {PUBLISHER: [90.0], CONSUMER: [170.0], WORKER: [200.0]}


def _met(late: dict[str, list[float]]) -> list[bool]:
    _, bars = judged(EARLY, late, closed=30_000, marker=1_000)
    return [bar.holds for bar in bars]


def test_a_worker_may_grow_by_the_markers_of_closed_cases_and_by_no_more_than_the_others() -> None:
    assert _met({**EARLY, WORKER: [249.0]}) == [True, True, True]
    assert _met({**EARLY, WORKER: [251.0]}) == [True, True, False]


def test_nothing_is_taken_off_what_publisher_and_consumer_grow_by() -> None:
    assert _met({**EARLY, PUBLISHER: [100.0], CONSUMER: [188.0]}) == [False, False, True]


def test_a_marker_weighs_its_fingerprints_and_little_more() -> None:
    assert 16 * EVENTS_PER_CASE < marker_bytes() < 1_000


def test_the_consumer_is_measured_with_a_memory_of_events_that_grows_no_more() -> None:
    seen, place = long_at_work(1), Partition(TOPIC, 0)
    known, order = seen._marks[place]
    before = known.__sizeof__(), len(order)
    for event in range(200_000):
        seen.add(place, f"{event}")
        assert (known.__sizeof__(), len(order)) == before

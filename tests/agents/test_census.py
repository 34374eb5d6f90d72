"""How a group's cases stand: by step, by outcome, the oldest; and what archived cases come to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import case_bytes, case_log, census
from agents.case import Active, Case, Mark
from agents.case_log import Marker, Positions, Stored
from agents.census import Census, Summary
from bus.message import Outgoing, Partition
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster

GROUP = "workflow.test"
CASES, ARCHIVE = f"{GROUP}.cases", f"{GROUP}.archive"


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(CASES, ARCHIVE, partitions=2)


def write(cluster: MemoryCluster, number: int, *entries: Stored | Marker, key: str = "") -> None:
    rows = [Outgoing((key or (e.case.id if isinstance(e, Stored) else "")).encode(), case_log.pack(e)) for e in entries]
    cluster.store(Partition(CASES, number), rows)


def waiting(case_id: str, **since: int) -> Stored:
    return Stored(Case(case_id, "g", 0, active={step: Active(at, None, fired=False) for step, at in since.items()}))


def closed(case_id: str, outcome: str = "completed", trail: Sequence[Mark] = ()) -> Case:
    return Case(case_id, "g", 0, outcome=outcome, trail=list(trail))


def test_open_cases_count_by_step_and_once_per_branch(cluster: MemoryCluster) -> None:
    it = Census(cluster.reader(), GROUP)
    write(cluster, 0, waiting("a", registered=5), waiting("b", id_entry=7, assigned=3))
    write(cluster, 1, waiting("c", registered=4))
    look = it.look()
    assert look.by_step == {"registered": 2, "id_entry": 1, "assigned": 1}
    assert look.outcomes == {}
    assert look.oldest == ("b", 3)
    assert look.closed == 0


def test_a_case_moves_on_and_ends_and_is_counted_where_it_is_now(cluster: MemoryCluster) -> None:
    it = Census(cluster.reader(), GROUP)
    write(cluster, 0, waiting("a", registered=5), waiting("b", registered=6))
    assert it.look().by_step == {"registered": 2}
    write(cluster, 0, waiting("a", assigned=9), Stored(closed("b", "stillbirth")))
    write(cluster, 0, Marker("g", (), 5), key="b")
    look = it.look()
    assert (look.by_step, look.outcomes, look.oldest, look.closed) == ({"assigned": 1}, {"stillbirth": 1}, ("a", 9), 1)
    assert it.look() == look


def test_what_stood_there_before_is_not_counted_and_neither_are_the_log_s_own_rows(cluster: MemoryCluster) -> None:
    write(cluster, 0, waiting("old", registered=1))
    it = Census(cluster.reader(), GROUP)
    positions = case_log.pack_positions(Positions({}, 0))
    cluster.store(
        Partition(CASES, 0),
        [
            Outgoing(case_log.BARRIER, b"w"),
            Outgoing(case_log.POSITIONS, positions),
            Outgoing(case_log.PROCESS + b"g", b"{}"),
            Outgoing(b"gone", None),
        ],
    )
    look = it.look()
    assert (look.by_step, look.oldest) == ({}, None)


def test_cases_of_another_run_are_not_counted(cluster: MemoryCluster) -> None:
    it = Census(cluster.reader(), GROUP, prefix="mine-")
    write(cluster, 0, waiting("mine-1", registered=5), waiting("other-1", registered=3))
    write(cluster, 0, Stored(closed("other-2")))
    look = it.look()
    assert (look.by_step, look.closed, look.oldest) == ({"registered": 1}, 0, ("mine-1", 5))


def test_archived_cases_are_those_since_then_and_each_once(cluster: MemoryCluster) -> None:
    def archive(number: int, *found: Case) -> None:
        cluster.store(Partition(ARCHIVE, number), [Outgoing(c.id.encode(), case_bytes.to_bytes(c)) for c in found])

    archive(0, closed("before"))
    since = census.archive_ends(cluster.reader(), GROUP)
    assert since == {Partition(ARCHIVE, 0): 1, Partition(ARCHIVE, 1): 0}
    archive(0, closed("a", "first"), closed("b"), closed("a", "second"))
    archive(1, closed("c"))
    cluster.store(Partition(ARCHIVE, 1), [Outgoing(b"c", None)])
    found = {case.id: case.outcome for case in census.archived(cluster.reader(), since)}
    assert found == {"a": "second", "b": "completed", "c": "completed"}


def test_a_summary_counts_outcomes_events_by_agency_and_papers() -> None:
    summary = Summary()
    trail = [
        Mark("notified", "health.birth.notified.v1", 0, 0, 1_000_000, "", 0),
        Mark("registered", "justice.birth.registered.v1", 0, 0, 3_500_000, "", 1_000_000),
        Mark("ask", "portal.request.created.v1", 0, 0, 3_500_000, "id-1", 0),
        Mark("assigned", "social-fund.benefit.assigned.v1", 0, 0, 9_500_000, "", 3_500_000),
    ]
    replaces: dict[str, tuple[str, ...]] = {"registered": ("certificate",), "ask": ("form",), "assigned": ("copy", "x")}
    summary.add(closed("a", trail=trail), replaces)
    summary.add(closed("b", "stillbirth", trail[:2]), replaces)
    summary.add(Case("c", "g", 0), replaces)
    assert summary.outcomes == {"completed": 1, "stillbirth": 1, "open": 1}
    assert summary.events == {"health": 2, "justice": 2, "portal": 1, "social-fund": 1}
    assert summary.papers == {"certificate": 2, "form": 1, "copy": 1, "x": 1}
    assert summary.waits == {"registered": [2.5, 2.5], "assigned": [6.0]}


@pytest.mark.parametrize(
    ("times", "p50", "p95"),
    [([3], 3, 3), ([2, 1], 1, 2), ([1, 2, 3, 4], 2, 4), (range(1, 21), 10, 19), (range(1, 101), 50, 95)],
)
def test_percentiles_are_the_nearest_rank(times: Sequence[float], p50: float, p95: float) -> None:
    assert Summary(waits={"step": list(times)}).step_times() == {"step": (p50, p95)}


@given(st.lists(st.integers(0, 100), min_size=1), st.sampled_from([50, 95]))
def test_at_least_the_share_waited_no_longer_and_the_next_smaller_wait_would_be_too_few(
    times: list[int], percent: int
) -> None:
    rank = census._rank([float(t) for t in times], percent)
    assert 100 * sum(t <= rank for t in times) >= percent * len(times)
    assert 100 * sum(t < rank for t in times) < percent * len(times)


def test_a_parked_case_is_counted_once_until_its_last_row_is_gone(cluster: MemoryCluster) -> None:
    it = Census(cluster.reader(), GROUP, prefix="birth-")
    rows = [b"!parked/birth-1\0t\x000\x001", b"!parked/birth-1\0t\x000\x002", b"!parked/other\0t\x000\x003"]
    cluster.store(Partition(CASES, 0), [Outgoing(key, b"\x02") for key in rows])
    assert it.look().parked == {"birth-1"}
    cluster.store(Partition(CASES, 0), [Outgoing(rows[0], None)])
    assert it.look().parked == {"birth-1"}
    cluster.store(Partition(CASES, 0), [Outgoing(rows[1], None)])
    assert (it.look().parked, it.look().by_step) == (frozenset(), {})

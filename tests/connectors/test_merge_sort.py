"""The sort on disk: order, ties, missing times, case attributes, bounded memory, and a full disk."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import BusError
from connectors import merge_sort
from connectors.log_event import LogEvent
from connectors.merge_sort import Ordered, Sorter
from connectors.xes import XesLog
from tests.connectors.support import REAL, count, enlarge, real_text

START = datetime(2011, 1, 1, tzinfo=UTC)


def _event(case: str, activity: str, second: int | None, **case_attributes: str) -> LogEvent:
    time = None if second is None else START + timedelta(seconds=second)
    return LogEvent(case=case, activity=activity, time=time, line=1, case_attributes=case_attributes)


def _sorted(events: list[LogEvent], *, run_size: int = 3) -> list[Ordered]:
    with Sorter(run_size=run_size) as sorter:
        sorter.add_all(events)
        return list(sorter.ordered())


_EVENTS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 8)), min_size=1, max_size=60)


@given(_EVENTS, st.integers(1, 70))
def test_the_order_is_that_of_a_stable_sort_whatever_the_run_size(events: list[tuple[str, int]], size: int) -> None:
    given_ = [_event(case, str(place), second) for place, (case, second) in enumerate(events)]
    found = _sorted(given_, run_size=size)
    assert [e.activity for e in found] == [e.activity for e in sorted(given_, key=lambda e: e.time or START)]
    for case in {e.case for e in found}:
        own = [e for e in found if e.case == case]
        assert [e.sequence for e in own] == list(range(1, len(own) + 1))
        assert [e.last for e in own] == [False] * (len(own) - 1) + [True]


def test_many_runs_are_merged_in_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_sort, "MAX_OPEN", 3)
    found = _sorted([_event("a", str(n), 100 - n) for n in range(50)], run_size=2)
    assert [e.activity for e in found] == [str(n) for n in range(49, -1, -1)]


def test_the_first_event_in_time_carries_the_case_wherever_the_file_had_it() -> None:
    events = [_event("a", "late", 9, k="1"), _event("b", "x", 1, k="2"), _event("a", "early", 2, k="other", m="3")]
    found = _sorted(events)
    assert [(e.activity, dict(e.case_attributes)) for e in found] == [
        ("x", {"k": "2"}),
        ("early", {"k": "1", "m": "3"}),
        ("late", {}),
    ]


def test_a_missing_time_is_that_of_the_event_before_it_in_its_case() -> None:
    events = [
        _event("a", "a0", None),
        _event("a", "a1", 5),
        _event("b", "b1", 3),
        _event("a", "a2", None),
        _event("c", "c1", None),
        _event("c", "c2", None),
    ]
    found = _sorted(events)
    assert [(e.activity, (e.time - START).seconds) for e in found] == [
        ("b1", 3),
        ("c1", 3),
        ("c2", 3),
        ("a0", 5),
        ("a1", 5),
        ("a2", 5),
    ]


def test_a_log_without_any_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BusError, match="no event states one"):
        _sorted([_event("a", "x", None)])
    monkeypatch.setattr(merge_sort, "MAX_UNTIMED", 5)
    with pytest.raises(BusError, match="more than 5 events"):
        _sorted([_event("a", "x", None)] * 6)


def test_its_files_are_gone_afterwards_also_after_an_error(tmp_path: Path) -> None:
    sorter = Sorter(run_size=1, folder=tmp_path)
    with suppress(RuntimeError), sorter:
        sorter.add_all([_event("a", "x", 1), _event("a", "y", 2)])
        assert any(tmp_path.iterdir())
        raise RuntimeError
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Sorter, "_write", full)
    with pytest.raises(BusError, match="no space is left") as raised, Sorter(run_size=1, folder=tmp_path) as sorter:
        sorter.add_all([_event("a", "x", 1)])
    assert "TMPDIR" in raised.value.remedy


def test_the_real_log_in_order_agrees_with_the_independent_count() -> None:
    expected = count(real_text())
    with Sorter(run_size=1_000) as sorter:
        sorter.add_all(XesLog(REAL))
        found = list(sorter.ordered())
    assert (sorter.events, sorter.cases) == (expected.events, expected.cases)
    assert [e.time for e in found] == sorted(e.time for e in found)
    assert Counter(e.activity for e in found if e.last) == expected.outcomes


_MEASURE = """
import re, sys, time
from pathlib import Path
from connectors.merge_sort import Sorter
from connectors.xes import XesLog
begun = time.monotonic()
with Sorter() as sorter:
    sorter.add_all(XesLog(Path(sys.argv[1])))
    events = sum(1 for _ in sorter.ordered())
# VmHWM is this program's own; ru_maxrss would start at the size of the test run that forked it
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
print(events, sorter.cases, peak, time.monotonic() - begun)
"""


def test_a_log_thirty_times_larger_is_sorted_in_bounded_memory(tmp_path: Path) -> None:
    path = enlarge(tmp_path / "large.xes", copies=30)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path)], check=True, capture_output=True, text=True, timeout=240
    )
    events, cases, megabytes, seconds = done.stdout.split()
    print(f"{events} events, {cases} cases: {megabytes} MB, {float(seconds):.1f} s")  # noqa: T201
    assert (int(events), int(cases)) == (8_577 * 30, 1_434 * 30)
    assert int(megabytes) < 150

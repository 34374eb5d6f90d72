from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bus.message import Partition
from bus.middleware.dedupe import MemorySeen


def test_a_mark_is_known_on_its_partition_only() -> None:
    seen = MemorySeen()
    seen.add(Partition("t", 0), "a")
    assert seen.has(Partition("t", 0), "a")
    assert not seen.has(Partition("t", 1), "a")
    assert not seen.has(Partition("u", 0), "a")


@given(st.lists(st.integers(0, 30).map(str), max_size=100), st.integers(1, 10))
def test_the_last_marks_are_kept_and_no_more(marks: list[str], window: int) -> None:
    seen = MemorySeen(window=window)
    place = Partition("t", 0)
    kept: list[str] = []
    for mark in marks:
        seen.add(place, mark)
        if mark not in kept:
            kept = [*kept, mark][-window:]
    assert [m for m in dict.fromkeys(marks) if seen.has(place, m)] == [m for m in dict.fromkeys(marks) if m in kept]

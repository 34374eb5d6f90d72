"""One case partition in memory: recovered from any compacted form of its log, its timers in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import case_log, parked, shelf
from agents.case import Active, Case
from agents.case_bytes import Damaged
from agents.case_log import Marker, Positions, Row, Stored
from agents.hot import Hot
from agents.shelf import Shelf
from bus.message import Record
from bus.middleware import parking
from bus.middleware.dead_letter import Failure
from bus.middleware.retry import Kind
from bus.testing import START

IDS = st.sampled_from(["a", "b", "c", "d"])
DUE = st.none() | st.integers(0, 9)
ENTRY = (
    st.none() | st.builds(Marker, st.just("g"), st.just(("f",)), st.integers(0, 9)) | DUE.map(lambda due: of("", due))
)
BATCHES = st.lists(
    st.tuples(st.dictionaries(IDS, ENTRY, max_size=4), st.dictionaries(st.sampled_from("tu"), st.integers(0, 99))),
    max_size=6,
)


def of(case_id: str, due: int | None) -> Stored:
    active = {} if due is None else {"wait": Active(0, due, fired=False)}
    return Stored(Case(case_id, "g", 0, active=active))


def rows_of(batches: list[tuple[dict[str, Stored | Marker | None], dict[str, int]]]) -> list[Row]:
    """Batches as a worker writes them, each under a new owner now and then."""
    rows: list[Row] = []
    for index, (entries, inputs) in enumerate(batches):
        if index % 2 == 0:
            rows.append((case_log.BARRIER, b"worker"))
        for case_id, entry in entries.items():
            kept = (
                of(case_id, entry.case.active["wait"].due if entry.case.active else None)
                if isinstance(entry, Stored)
                else entry
            )
            rows.append((case_id.encode(), None if kept is None else case_log.pack(kept)))
        rows.append((case_log.POSITIONS, case_log.pack_positions(Positions(inputs, len(entries)))))
    return rows


def put(found: Shelf, case_id: str, entry: Stored | Marker | None) -> None:
    found.put(case_id, dict(found.rows(case_id, entry)), entry)


def plain(found: Shelf) -> tuple[object, ...]:
    entries = {case_id: found.get(case_id) for case_id in found.entries}
    return entries, sorted(found.timers), found.positions, set(found.unconfirmed), found.processes


@given(BATCHES, st.data())
def test_rows_that_compaction_took_away_do_not_change_what_is_recovered(
    batches: list[tuple[dict[str, Stored | Marker | None], dict[str, int]]], data: st.DataObject
) -> None:
    rows = [(offset, key, value) for offset, (key, value) in enumerate(rows_of(batches))]
    newest = {key: offset for offset, key, _ in rows}
    kept = [row for row in rows if newest[row[1]] == row[0] or data.draw(st.booleans())]
    assert plain(shelf.recover(kept)) == plain(shelf.recover(rows))


@given(BATCHES.filter(bool))
def test_unconfirmed_are_exactly_the_cases_of_the_last_batch(
    batches: list[tuple[dict[str, Stored | Marker | None], dict[str, int]]],
) -> None:
    found = shelf.recover((offset, key, value) for offset, (key, value) in enumerate(rows_of(batches)))
    last, inputs = batches[-1]
    assert set(found.unconfirmed) == {case_id for case_id, entry in last.items() if entry is not None}
    assert found.positions == inputs


@given(BATCHES)
def test_a_recovered_shelf_has_the_entries_and_timers_of_one_that_was_filled_step_by_step(
    batches: list[tuple[dict[str, Stored | Marker | None], dict[str, int]]],
) -> None:
    rows = rows_of(batches)
    filled = Shelf()
    for key, value in rows:
        if not key.startswith(b"!"):
            filled.put(key.decode(), {key: value}, None if value is None else case_log.unpack(value))
    recovered = shelf.recover((offset, key, value) for offset, (key, value) in enumerate(rows))
    assert plain(recovered)[0] == plain(filled)[0]
    assert list(dict.fromkeys(recovered.due(9))) == list(dict.fromkeys(filled.due(9)))


def test_an_empty_log_gives_an_empty_shelf() -> None:
    assert plain(shelf.recover([])) == ({}, [], {}, set(), set())


def test_due_gives_in_order_of_due_and_case_and_only_what_still_holds() -> None:
    found = Shelf()
    for case_id, due in (("c", 5), ("b", 5), ("a", 7), ("late", 11)):
        put(found, case_id, of(case_id, due))
    put(found, "a", of("a", 3))  # moved forward: the entry for 7 is stale
    put(found, "gone", of("gone", 4))
    put(found, "gone", None)
    assert list(found.due(10)) == [(3, "a"), (5, "b"), (5, "c")]
    assert list(found.due(10)) == []
    found.restore([(5, "b")])
    assert list(found.due(10)) == [(5, "b")]
    assert list(found.due(11)) == [(11, "late")]


def test_a_case_takes_as_much_of_the_room_for_objects_as_its_row_has_bytes() -> None:
    size = len(case_log.pack(of("a", 1)))
    written, read = Hot(room=2 * size), Hot(room=2 * size)
    filled = Shelf(hot=written)
    for case_id in "abc":
        put(filled, case_id, of(case_id, 1))
    found = shelf.recover([(n, i.encode(), case_log.pack(of(i, 1))) for n, i in enumerate("abc")], hot=read)
    for case_id in "abc":
        found.get(case_id)
    for hot in (written, read):
        assert [case_id for case_id in "abc" if hot.get(case_id) is not None] == ["b", "c"]
    for case_id in "abc":
        assert filled.get(case_id) == found.get(case_id) == of(case_id, 1)


def test_an_entry_is_decoded_once_and_on_its_first_touch() -> None:
    found = shelf.recover([(0, b"a", case_log.pack(of("a", 1)))])
    assert isinstance(found.entries["a"], bytes)
    assert list(found.due(0)) == []
    assert found.get("a") is found.get("a")
    assert found.get("b") is None


def test_a_case_that_has_closed_is_kept_in_half_the_bytes_and_expires_as_it_would() -> None:
    found = Shelf()
    put(found, "a", of("a", 1))
    marker = Marker("0a" * 32, tuple(f"{number:016x}" for number in range(20)), 9)
    put(found, "a", marker)
    assert 2 * len(found.entries["a"]) < len(case_log.pack(marker))
    assert found.get("a") == marker
    assert list(found.due(9)) == [(9, "a")]


def test_a_unit_under_way_sees_its_own_changes_first() -> None:
    found = Shelf()
    put(found, "a", of("a", 1))
    assert shelf.merged(found, {}, "a") == of("a", 1)
    assert shelf.merged(found, {"a": of("a", 2)}, "a") == of("a", 2)
    assert shelf.merged(found, {"a": None}, "a") is None


@pytest.mark.parametrize(
    "row", [(b"a", b""), (b"a", b"\x01"), (b"\xff", case_log.pack(of("a", 1))), (case_log.POSITIONS, b"{}")]
)
def test_a_row_that_cannot_be_read_stops_the_recovery(row: tuple[bytes, bytes]) -> None:
    with pytest.raises(Damaged):
        shelf.recover([(0, *row)])


def parked_row(case_id: str, moment: int) -> Row:
    failure = Failure(stage="step", kind=Kind.BUG, error="E", attempt=1, first=START, last=START)
    record = Record("t", 0, moment, moment, case_id.encode(), b"v", ())
    return parked.waiting(case_id, parking.Entry(record=record, failure=failure)).row()


def test_queues_are_rebuilt_in_order_whatever_row_was_written_last() -> None:
    rows = [parked_row("a", 3), parked_row("a", 1), parked_row("b", 2), parked_row("a", 2), parked_row("a", 3)]
    rows.append((rows[1][0], None))
    found = shelf.recover((offset, *row) for offset, row in enumerate(rows))
    assert {c: [w.entry.record.offset for w in q] for c, q in found.parked.items()} == {"a": [2, 3], "b": [2]}
    assert not found.entries


def test_the_timer_of_a_parked_case_is_set_again_with_the_end_of_its_queue() -> None:
    found = Shelf()
    put(found, "a", of("a", 3))
    found.queue("a", [parked.read(*parked_row("a", 1))])  # type: ignore[arg-type]
    assert list(found.due(5)) == [(3, "a")]
    assert list(found.due(5)) == []
    found.queue("a", [])
    assert list(found.due(5)) == [(3, "a")]
    found.queue("a", [])
    assert list(found.due(5)) == []

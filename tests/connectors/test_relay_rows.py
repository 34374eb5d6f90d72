"""The relay's rows: every committed one is read, in order; one relay at a time; refused ones hold back their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from bus.errors import Unreachable
from bus.testing import eventually
from connectors.relay_rows import RelayRows
from tests.bus.support import NoteWritten
from tests.connectors.sql import Notes, notes_on
from tests.postgres import Postgres, broken_connections


@pytest.fixture
def notes(database: str) -> Iterator[Notes]:
    with notes_on(database) as made:
        yield made


@pytest.fixture
def rows(notes: Notes) -> Iterator[RelayRows]:
    made = RelayRows(notes.engine, notes.outbox.table)
    assert made.acquire()
    yield made
    made.release()


def read(rows: RelayRows, limit: int = 100, *, now_ms: int = 0) -> list[str]:
    return [row.id for row in rows.read(limit, now_ms=now_ms)]


def test_rows_are_read_in_order_and_no_more_than_asked_for(notes: Notes, rows: RelayRows) -> None:
    notes.add("c", "a", "b")
    assert read(rows, 2) == ["c", "a"]


def test_what_is_settled_as_sent_is_gone(notes: Notes, rows: RelayRows) -> None:
    notes.add("a", "b")
    first, _ = rows.read(2, now_ms=0)
    rows.settle([first.seq], refused={}, retry_ms=0)
    assert read(rows) == ["b"] == notes.rows()


def test_a_refused_row_waits_with_all_behind_it_of_its_case_and_nobody_else(notes: Notes, rows: RelayRows) -> None:
    notes.add("a", "b")
    notes.add("other", case="case-2")
    (first, *_) = rows.read(1, now_ms=0)
    rows.settle([], refused={first.seq: "MessageSizeTooLarge"}, retry_ms=5_000)
    assert read(rows, now_ms=4_999) == ["other"]
    assert read(rows, now_ms=5_000) == ["a", "b", "other"]


def test_a_second_relay_waits_until_the_first_has_ended(notes: Notes, rows: RelayRows) -> None:
    second = RelayRows(notes.engine, notes.outbox.table)
    assert not second.acquire()
    assert rows.acquire(), "asking again is no harm"
    rows.release()
    rows.release()
    assert second.acquire()
    second.release()


def test_a_lock_that_cannot_be_had_for_want_of_rights_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "agency.db-outbox-relay").mkdir()  # as little a file to open as one without rights, for anybody
    with notes_on(f"sqlite:///{tmp_path / 'agency.db'}") as notes:
        rows = RelayRows(notes.engine, notes.outbox.table)
        with pytest.raises(Unreachable, match="right to write into the folder"):
            rows.acquire()
        rows.release()


def test_a_relay_killed_with_its_process_leaves_no_lock(database: str) -> None:
    with notes_on(database) as notes:
        holder = """
import sys
from tests.connectors.sql import Notes
from connectors.relay_rows import RelayRows
notes = Notes(sys.argv[1])
rows = RelayRows(notes.engine, notes.outbox.table)
print(rows.acquire(), flush=True)
sys.stdin.read()
"""
        child = subprocess.Popen(
            [sys.executable, "-c", holder, database],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == b"True\n"
        mine = RelayRows(notes.engine, notes.outbox.table)
        assert not mine.acquire()
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
        eventually(mine.acquire)
        mine.release()


def test_a_row_of_a_slower_transaction_with_a_lower_place_is_not_lost(postgres: Postgres) -> None:
    """The order trap, with its negative control: whoever goes on after the highest number read loses the row."""
    with notes_on(postgres.fresh()) as notes:
        rows = RelayRows(notes.engine, notes.outbox.table)
        assert rows.acquire()
        naive: list[str] = []
        highest = 0

        def naive_read() -> int:
            with notes.engine.connect() as connection:
                table = notes.outbox.table
                found = connection.execute(table.select().where(table.c.seq > highest).order_by(table.c.seq)).all()
            naive.extend(row.id for row in found)
            return max([highest, *(int(row.seq) for row in found)])

        published: list[str] = []
        with notes.engine.connect() as slow:
            notes.outbox.add(slow, NoteWritten(text="slow"), case="case-1", id="slow")
            notes.add("quick", case="case-2")
            highest = naive_read()
            published += _take(rows)
            slow.commit()
        highest = naive_read()
        published += _take(rows)
        assert naive == ["quick"], "the control must lose the slow row"
        assert published == ["quick", "slow"]
        rows.release()


def _take(rows: RelayRows) -> list[str]:
    found = rows.read(100, now_ms=0)
    rows.settle([row.seq for row in found], refused={}, retry_ms=0)
    return [row.id for row in found]


def test_a_relay_whose_session_was_cut_can_settle_nothing_and_begins_again(postgres: Postgres) -> None:
    with broken_connections(), notes_on(postgres.fresh()) as notes:
        notes.add("a")
        rows, second = RelayRows(notes.engine, notes.outbox.table), RelayRows(notes.engine, notes.outbox.table)
        assert rows.acquire()
        (row,) = rows.read(1, now_ms=0)
        with notes.engine.connect() as other:
            mine = text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": other.execute(mine).scalar_one()})
        eventually(second.acquire)
        with pytest.raises(Unreachable):
            rows.settle([row.seq], refused={}, retry_ms=0)
        rows.release()
        assert not rows.acquire()
        assert notes.rows() == ["a"]
        second.release()

"""The outbox: a fact and its event in one transaction, wrong events refused there, places in the order of commits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData, func, select, text

from bus.compose import Composer, Publication, content_id
from bus.errors import Refused
from bus.testing import ManualClock, eventually
from connectors.outbox import MAX_ID, Outbox, outbox_table, record_of, row_of
from schemas.envelope import Envelope
from tests.bus.support import CATALOGUE, TOPIC, NoteWritten, PlainCodec
from tests.connectors.sql import Notes, notes_on
from tests.postgres import Postgres

CAUSE = Envelope(
    id="e1", source="/agencies/health", type="t", time=datetime(2026, 1, 5, tzinfo=UTC), correlationid="case-9"
)


@pytest.fixture
def notes(database: str) -> Iterator[Notes]:
    with notes_on(database) as made:
        yield made


def test_an_event_waits_once_the_agency_s_transaction_is_committed(notes: Notes) -> None:
    notes.add("a", "b")
    assert notes.rows() == ["a", "b"]


def test_a_transaction_that_is_rolled_back_leaves_no_event(notes: Notes) -> None:
    with notes.engine.connect() as connection:
        notes.outbox.add(connection, NoteWritten(text="a"), case="c", id="a")
        connection.rollback()
    assert notes.rows() == []


def test_the_columns_are_debezium_s_and_hold_what_the_router_needs(notes: Notes) -> None:
    with notes.engine.begin() as connection:
        notes.outbox.add(connection, NoteWritten(text="a"), caused_by=CAUSE, key="person-1", purpose="audit")
        (row,) = connection.execute(notes.outbox.table.select()).all()
    assert (row.aggregatetype, row.type, row.aggregateid) == (TOPIC, TOPIC, "person-1")
    assert row.id == content_id(TOPIC, "person-1", None, row.payload)
    assert (row.source, row.correlationid, row.causationid) == ("/agencies/portal", "case-9", "e1")
    assert (row.purpose, row.partitionkey, row.retry_at, row.refusal) == ("audit", "person-1", None, None)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"case": "!x"}, "case"),
        ({}, "case"),
        ({"case": "c", "id": "i" * (MAX_ID + 1)}, "id"),
        ({"case": "c", "time": datetime(2026, 1, 5)}, "time"),
        ({"case": "c", "purpose": "p" * 5_000}, "purpose"),
    ],
)
def test_a_wrong_event_is_refused_in_the_agency_s_transaction(notes: Notes, said: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refused, notes.engine.begin() as connection:
        notes.outbox.add(connection, NoteWritten(text="a"), **said)
    assert refused.value.field == field
    assert notes.rows() == []


def test_an_event_too_large_for_the_bus_is_refused_in_the_agency_s_transaction(notes: Notes) -> None:
    with pytest.raises(Refused, match="send a reference instead"), notes.engine.begin() as connection:
        notes.outbox.add(connection, NoteWritten(text="x" * 1_000_000), case="c")


def test_the_same_event_twice_waits_once_and_another_content_under_its_id_is_refused(notes: Notes) -> None:
    notes.add("a")
    notes.add("a")
    assert notes.rows() == ["a"]
    with pytest.raises(Refused, match="another event waits under the id a"), notes.engine.begin() as connection:
        notes.outbox.add(connection, NoteWritten(text="other"), case="case-1", id="a")
    assert notes.rows() == ["a"]


def test_several_publications_keep_the_order_given(notes: Notes) -> None:
    said = [Publication(event=NoteWritten(text=t), case=c, id=t) for t, c in (("z", "2"), ("a", "1"), ("m", "2"))]
    with notes.engine.begin() as connection:
        assert notes.outbox.add_all(connection, said) == ["z", "a", "m"]
    assert notes.rows() == ["z", "a", "m"]


def test_an_emptied_table_does_not_give_a_place_twice(notes: Notes) -> None:
    place = select(func.max(notes.outbox.table.c.seq))
    notes.add("a")
    with notes.engine.begin() as connection:
        first = connection.execute(place).scalar_one()
        connection.execute(notes.outbox.table.delete())
    notes.add("b")
    with notes.engine.connect() as connection:
        assert connection.execute(place).scalar_one() > first


def test_two_transactions_on_one_case_take_their_places_in_the_order_of_their_commits(postgres: Postgres) -> None:
    """Without the lock the second would be numbered before the first has committed, and could overtake it."""
    with notes_on(postgres.fresh()) as notes:
        second = threading.Thread(target=notes.add, args=("second",))
        with notes.engine.connect() as first:
            notes.outbox.add(first, NoteWritten(text="first"), case="case-1", id="first")
            second.start()
            eventually(lambda: _waiting_for_locks(notes) == 1)
            notes.add("other", case="case-2")  # other cases go on
            first.commit()
        second.join(30)
        assert notes.rows() == ["first", "other", "second"]


def _waiting_for_locks(notes: Notes) -> int:
    with notes.engine.connect() as connection:
        asked = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return int(connection.execute(asked).scalar_one())


def test_a_table_may_have_another_name() -> None:
    metadata = MetaData()
    assert Outbox(metadata, agency="portal", name="outgoing", catalogue=CATALOGUE).table.name == "outgoing"
    assert set(outbox_table(MetaData()).c.keys()) == set(metadata.tables["outgoing"].c.keys())


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


class _Row:
    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__ = values


@settings(max_examples=100)
@given(said=WORDS, purpose=st.none() | WORDS, key=st.none() | WORDS, time=st.datetimes(timezones=st.just(UTC)))
def test_a_row_gives_back_the_record_byte_for_byte(
    said: str, purpose: str | None, key: str | None, time: datetime
) -> None:
    composer = Composer(PlainCodec(), CATALOGUE, agency="portal", clock=ManualClock())
    event = Publication(event=NoteWritten(text=said), case="c-1", key=key, purpose=purpose, id=said, time=time)
    topic, record_key, _, record = composer.compose(event)
    assert record_of(_Row(row_of(topic, record_key, record))) == record


def test_a_row_someone_else_wrote_wrongly_says_so() -> None:
    _, _, _, record = Composer(PlainCodec(), CATALOGUE, agency="portal", clock=ManualClock()).compose(
        Publication(event=NoteWritten(text="a"), case="c")
    )
    row = row_of(TOPIC, b"c", record)
    with pytest.raises(ValueError, match="yesterday"):
        record_of(_Row({**row, "time": "yesterday"}))
    assert record_of(_Row(row)) == record

"""The relay: everything committed is published, in order per topic and case, through refusals and outages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bus.errors import OutcomeUnknown, Refused, Unreachable
from bus.message import Outgoing, Partition
from bus.ports import TopicState
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster, MemoryProducer
from connectors.relay import RETRY_MS, Counts
from connectors.relay_rows import RelayRows
from schemas.envelope import from_headers
from tests.bus.support import TOPIC, NoteWritten
from tests.connectors.sql import Notes, ids, notes_on, relay_of


@pytest.fixture
def notes(database: str) -> Iterator[Notes]:
    with notes_on(database) as made:
        yield made


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(TOPIC)


def test_what_is_committed_is_published_as_it_was_composed_and_taken_away(notes: Notes, cluster: MemoryCluster) -> None:
    notes.add("a", "b")
    assert notes.relay(cluster) == Counts(sent=2)
    assert (ids(cluster, TOPIC), notes.rows()) == (["a", "b"], [])
    (record, _) = next(log for log in cluster.logs.values() if log)
    envelope = from_headers(record.headers)
    assert (record.key, envelope.source, envelope.time) == (b"case-1", "/agencies/portal", notes.clock.now())


def test_more_rows_than_a_batch_go_in_several_rounds(
    notes: Notes, cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.relay.BATCH", 3)
    said = [f"n{number:02d}" for number in range(10)]
    notes.add(*said)
    assert notes.relay(cluster).sent == 10
    assert ids(cluster, TOPIC) == said


class Picky(MemoryProducer):
    """A broker that refuses records of some ids, as one does that are too large for the topic."""

    def __init__(self, cluster: MemoryCluster, *refused: str) -> None:
        super().__init__(cluster)
        self.refused = set(refused)

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        if {(dict(r.headers)["ce_id"] or b"").decode() for r in records} & self.refused:
            raise Refused("too large", field="record")
        return await super().append(partition, records)


def test_a_refused_row_holds_back_its_case_only_and_goes_first_when_it_may(
    notes: Notes, cluster: MemoryCluster
) -> None:
    notes.add("a1", "a2", case="a")
    notes.add("b1", case="b")
    notes.add("a3", case="a")
    picky = Picky(cluster, "a2")
    assert notes.relay(cluster, producer=picky) == Counts(sent=2, refused=1)
    assert (sorted(ids(cluster, TOPIC)), notes.rows()) == (["a1", "b1"], ["a2", "a3"])
    with notes.engine.connect() as connection:
        assert connection.execute(text("SELECT refusal FROM outbox WHERE id = 'a2'")).scalar_one() == "Refused"
    picky.refused.clear()
    assert notes.relay(cluster, producer=picky).sent == 0, "it waits until its time"
    notes.clock.advance(milliseconds=RETRY_MS)
    assert notes.relay(cluster, producer=picky).sent == 2
    assert [i for i in ids(cluster, TOPIC) if i.startswith("a")] == ["a1", "a2", "a3"]


def test_a_topic_that_is_not_there_holds_back_its_rows_and_no_others(notes: Notes, cluster: MemoryCluster) -> None:
    notes.add("a", "b")
    cluster.admin().delete(TOPIC)
    assert notes.relay(cluster) == Counts(refused=1)
    cluster.admin().create(TopicState(TOPIC, 3, 1))
    notes.clock.advance(minutes=1)
    assert notes.relay(cluster).sent == 2
    assert ids(cluster, TOPIC) == ["a", "b"]


def test_a_row_spoilt_by_hand_is_refused_and_says_why(notes: Notes, cluster: MemoryCluster) -> None:
    notes.add("a")
    with notes.engine.begin() as connection:
        connection.execute(text("UPDATE outbox SET time = 'yesterday'"))
    assert notes.relay(cluster) == Counts(refused=1)


def test_an_outage_of_the_broker_loses_nothing_and_changes_no_order(notes: Notes, cluster: MemoryCluster) -> None:
    said = [f"n{number}" for number in range(6)]
    notes.add(*said)
    cluster.faults.failing_appends = 2
    assert notes.relay(cluster).sent == 6
    assert ids(cluster, TOPIC) == said


def test_a_lost_acknowledgement_sends_the_same_ids_again(notes: Notes, cluster: MemoryCluster) -> None:
    notes.add("a", "b")
    cluster.faults.lost_acks = 1
    assert notes.relay(cluster).sent == 2
    assert ids(cluster, TOPIC) == ["a", "b", "a", "b"]


class Breaking(MemoryProducer):
    """The second of the single appends after a refusal finds no broker."""

    broken = False

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        named = [(dict(r.headers)["ce_id"] or b"").decode() for r in records]
        if len(named) > 1 and not self.broken:
            raise Refused("one of them", field="record")
        if named == ["b"] and not self.broken:
            self.broken = True
            raise Unreachable("gone")
        return await super().append(partition, records)


def test_after_a_row_that_stayed_out_no_later_one_of_its_partition_is_sent(
    notes: Notes, cluster: MemoryCluster
) -> None:
    notes.add("a", "b", "c")
    assert notes.relay(cluster, producer=Breaking(cluster)).sent == 3
    assert ids(cluster, TOPIC) == ["a", "b", "c"]


def test_two_relays_without_a_lock_repeat_but_never_put_a_first_copy_out_of_order(
    notes: Notes, cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RelayRows, "_lock", lambda *_: True)
    both_have_read = threading.Barrier(2)
    waited: set[RelayRows] = set()
    read = RelayRows.read

    def meeting(self: RelayRows, limit: int, *, now_ms: int) -> Sequence[Any]:
        found = read(self, limit, now_ms=now_ms)
        if self not in waited:
            waited.add(self)
            both_have_read.wait(30)
        return found

    monkeypatch.setattr(RelayRows, "read", meeting)
    monkeypatch.setattr("connectors.relay.BATCH", 4)
    said = [f"n{number:02d}" for number in range(40)]
    for one in said:
        notes.add(one)

    async def both() -> None:
        relays = [relay_of(notes, cluster) for _ in range(2)]
        await asyncio.gather(*(relay.serve(idle_s=0) for relay in relays))

    asyncio.run(both())
    published = ids(cluster, TOPIC)
    assert list(dict.fromkeys(published)) == said
    assert len(published) > len(said), "without the lock both send"


def test_a_stop_ends_the_relay_and_frees_the_lock(notes: Notes, cluster: MemoryCluster) -> None:
    notes.add("a")
    asked = iter([False, False, True, True, True])
    asyncio.run(relay_of(notes, cluster, stop=lambda: next(asked)).serve())
    assert ids(cluster, TOPIC) == ["a"]
    rows = RelayRows(notes.engine, notes.outbox.table)
    assert rows.acquire()
    rows.release()


def test_a_relay_in_waiting_takes_over(notes: Notes, cluster: MemoryCluster) -> None:
    first = RelayRows(notes.engine, notes.outbox.table)
    assert first.acquire()
    notes.add("a")
    turns = 0

    def stop() -> bool:
        nonlocal turns
        turns += 1
        if turns == 3:
            assert ids(cluster, TOPIC) == []
            first.release()
        return bool(ids(cluster, TOPIC))

    asyncio.run(relay_of(notes, cluster, stop=stop).serve())
    assert ids(cluster, TOPIC) == ["a"]


def test_a_database_that_fails_for_a_while_makes_the_relay_wait(
    notes: Notes, cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.add("a", "b")
    faults = [Unreachable("the database is away"), OutcomeUnknown("so it is", event_id="")]
    settle = RelayRows.settle

    def failing(self: RelayRows, *said: Any, **more: Any) -> None:
        if faults:
            raise faults.pop()
        settle(self, *said, **more)

    monkeypatch.setattr(RelayRows, "settle", failing)
    assert notes.relay(cluster).sent == 2
    assert ids(cluster, TOPIC) == ["a", "b"] * 3


def test_a_database_without_an_outbox_ends_the_relay(notes: Notes, cluster: MemoryCluster) -> None:
    notes.metadata.drop_all(notes.engine)
    with pytest.raises(DBAPIError):
        notes.relay(cluster)


def test_rows_added_while_it_runs_are_published(notes: Notes, cluster: MemoryCluster) -> None:
    def stop() -> bool:
        with notes.engine.begin() as connection:
            notes.outbox.add(connection, NoteWritten(text="late"), case="c", id="late")
        return len(ids(cluster, TOPIC)) > 1

    asyncio.run(relay_of(notes, cluster, stop=stop).serve())
    assert set(ids(cluster, TOPIC)) == {"late"}

"""The inbox: an effect once per event, in one transaction with its memory, acknowledged after the commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, func, select, text

from bus.errors import Refused, Unreachable
from bus.message import Message, Partition, Record
from bus.middleware.retry import Policy, RetryPolicy
from bus.ports import TopicState
from bus.testing import START, ManualClock, memory_bus, memory_cluster
from bus.transport.memory import MemoryCluster, MemoryConsumer
from bus.wiring import Bus
from connectors.database import open_database, transaction
from connectors.inbox import Inbox, horizon_of, inbox_table
from schemas.envelope import Envelope, fingerprint
from schemas.requests import RequestCreated

ASKED = "portal.request.created.v1"
GROUP = "social-fund.benefits"
DAY = timedelta(days=1)
QUICK = Policy(retry=RetryPolicy(base_s=0.001))


class Fund:
    """A database with an inbox and a table that counts effects."""

    def __init__(self, url: str) -> None:
        self.engine = open_database(url)
        metadata = MetaData()
        self.clock = ManualClock()
        self.inbox = Inbox(metadata, consumer=GROUP, clock=self.clock)
        self.other = Inbox(metadata, consumer="another", clock=self.clock)
        self.effects = Table(
            "effect", metadata, Column("n", Integer, primary_key=True), Column("event", String(40), nullable=False)
        )
        metadata.create_all(self.engine)

    def apply(self, connection: Connection, event: RequestCreated) -> None:
        connection.execute(self.effects.insert().values(event=event.request_id))

    def applied(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(self.effects.c.event).order_by(self.effects.c.n)).scalars())


@pytest.fixture
def fund(database: str) -> Iterator[Fund]:
    made = Fund(database)
    yield made
    made.engine.dispose()


def message(event_id: str, source: str = "/agencies/portal") -> Message:
    event = RequestCreated(request_id="R-1", kind="birth_benefit", subject="SYN-P-0001")
    envelope = Envelope(id=event_id, source=source, type=ASKED, time=START, correlationid="case-1")
    return Message(event, envelope, Record(ASKED, 0, 0, 0, b"case-1", b"", ()))


def ask(bus: Bus, *numbers: int) -> None:
    for number in numbers:
        request = RequestCreated(request_id=f"R-{number}", kind="birth_benefit", subject=f"SYN-P-{number:04d}")
        bus.publish(request, case=f"case-{number}", id=f"ask-{number}")


def asked(*numbers: int) -> MemoryCluster:
    """A cluster on which so many requests stand, on one partition."""
    cluster = memory_cluster(ASKED, partitions=1)
    with memory_bus(cluster, agency="portal") as bus:
        ask(bus, *numbers)
    return cluster


class Drained(Exception):
    """Nothing is left to read."""


class Draining(MemoryConsumer):
    """Ends the loop of a subscription when all is read and committed."""

    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        found = super().poll(max_records=max_records, timeout=min(timeout, 0.01))
        owned = self.assignment()
        ends = {place: len(self._cluster.logs[place]) for place in owned}
        if owned and self._cluster.groups[GROUP].commits == ends:
            raise Drained
        return found


Handler = Callable[[Connection, RequestCreated], None]


def loop(fund: Fund, bus: Bus, handler: Handler, **more: Any) -> Iterator[str]:
    """What an agency's program looks like; the ids of what was handed out."""
    subscription = bus.subscribe(RequestCreated, group=GROUP, publishers=["portal"], **more)
    for delivery in fund.inbox.deliveries(subscription, fund.engine):
        yield delivery.message.envelope.id
        with delivery as (connection, event):
            handler(connection, event)


def handle(fund: Fund, cluster: MemoryCluster, handler: Handler | None = None, **more: Any) -> list[str]:
    """Let the fund take all there is; the ids of what was handed out."""
    taken: list[str] = []
    draining = patch("bus.transport.memory.MemoryConsumer", Draining)
    with memory_bus(cluster) as bus, draining, patch("bus.member._COMMIT_S", 0.0), pytest.raises(Drained):
        taken.extend(loop(fund, bus, handler or fund.apply, policy=QUICK, **more))
    return taken


def test_an_event_is_fresh_once(fund: Fund) -> None:
    for wanted in (True, False, False):
        with transaction(fund.engine) as connection:
            assert fund.inbox.fresh(connection, message("a")) is wanted


def test_source_id_and_consumer_tell_events_apart(fund: Fund) -> None:
    with transaction(fund.engine) as connection:
        assert fund.inbox.fresh(connection, message("a"))
        assert fund.inbox.fresh(connection, message("b"))
        assert fund.inbox.fresh(connection, message("a", "/agencies/health"))
        assert fund.other.fresh(connection, message("a"))
        assert not fund.inbox.fresh(connection, message("a"))


def test_an_event_with_the_longest_id_and_source_is_taken(fund: Fund) -> None:
    with transaction(fund.engine) as connection:
        assert fund.inbox.fresh(connection, message("é" * 2_048, "/agencies/" + "x" * 4_000))


def test_an_event_whose_transaction_was_rolled_back_is_fresh_again(fund: Fund) -> None:
    with fund.engine.connect() as connection:
        assert fund.inbox.fresh(connection, message("a"))
        connection.rollback()
        assert fund.inbox.fresh(connection, message("a"))
        connection.rollback()


def test_deliveries_have_their_effect_and_are_acknowledged(fund: Fund) -> None:
    cluster = asked(1, 2, 3)
    assert handle(fund, cluster) == ["ask-1", "ask-2", "ask-3"]
    assert fund.applied() == ["R-1", "R-2", "R-3"]
    assert cluster.groups[GROUP].commits == {Partition(ASKED, 0): 3}


def test_repetitions_are_acknowledged_without_being_handed_out(fund: Fund) -> None:
    handle(fund, asked(1, 2))
    again = asked(2, 1, 3, 3)
    assert handle(fund, again) == ["ask-3"]
    assert fund.applied() == ["R-1", "R-2", "R-3"]
    assert again.groups[GROUP].commits == {Partition(ASKED, 0): 4}


def test_the_database_commits_before_the_bus_is_told(fund: Fund) -> None:
    """Negative control: tests/torture/test_sql.py, an acknowledgement before the commit loses effects."""
    seen: list[int] = []
    committed: list[int] = []

    class Watching(Draining):
        def commit(self, positions: Mapping[Partition, int]) -> None:
            seen.append(len(fund.applied()))
            committed.append(positions[Partition(ASKED, 0)])
            super().commit(positions)

    with patch("tests.connectors.test_inbox.Draining", Watching):
        handle(fund, asked(1, 2))
    assert seen[-1] == 2
    assert [told for told, there in zip(committed, seen, strict=True) if told > there] == []


def test_a_failing_handler_leaves_nothing_and_is_tried_again(fund: Fund) -> None:
    failures = [ValueError("a bug"), Unreachable("a register is away")]

    def failing(connection: Connection, event: RequestCreated) -> None:
        fund.apply(connection, event)
        if failures:
            raise failures.pop()

    assert handle(fund, asked(1, 2), failing) == ["ask-1"] * 3 + ["ask-2"]
    assert fund.applied() == ["R-1", "R-2"]


def test_a_refused_event_leaves_no_trace_in_the_database(fund: Fund) -> None:
    def refusing(connection: Connection, event: RequestCreated) -> None:
        fund.apply(connection, event)
        if event.request_id == "R-1":
            raise Refused("no such person")

    handle(fund, asked(1, 2), refusing)
    assert fund.applied() == ["R-2"]
    with transaction(fund.engine) as connection:
        assert fund.inbox.fresh(connection, message("ask-1")), "redriven, it may have its effect"


def test_a_commit_whose_answer_was_lost_has_its_effect_once(fund: Fund) -> None:
    lost = [True]
    commit = Connection.commit

    def losing(self: Connection) -> None:
        commit(self)
        if lost:
            lost.pop()
            raise Unreachable("no answer")

    with patch.object(Connection, "commit", losing):
        handle(fund, asked(1, 2))
    assert fund.applied() == ["R-1", "R-2"]


def test_a_database_that_is_away_for_a_while_costs_no_event(fund: Fund) -> None:
    away = [Unreachable("the database is away")] * 2
    fresh = Inbox.fresh

    def failing(self: Inbox, connection: Connection, said: Message) -> bool:
        if away:
            raise away.pop()
        return fresh(self, connection, said)

    with patch.object(Inbox, "fresh", failing):
        handle(fund, asked(1))
    assert fund.applied() == ["R-1"]


def test_a_database_error_in_the_handler_is_told_apart(fund: Fund) -> None:
    """A table that is missing is a bug, tried a few times and then put aside; the transaction is rolled back."""

    def wrong(connection: Connection, _: RequestCreated) -> None:
        connection.execute(text("SELECT * FROM nowhere"))

    assert len(handle(fund, asked(1), wrong)) > 1
    assert fund.applied() == []


def test_a_loop_that_is_left_early_keeps_no_transaction_open(fund: Fund) -> None:
    with memory_bus(asked(1)) as bus:
        deliveries = fund.inbox.deliveries(
            bus.subscribe(RequestCreated, group=GROUP, publishers=["portal"]), fund.engine
        )
        next(deliveries)
        deliveries.close()  # type: ignore[attr-defined]  # it is a generator
    with transaction(fund.engine) as connection:
        assert fund.inbox.fresh(connection, message("ask-1"))


def test_the_inbox_is_a_memory_of_the_bus_that_outlives_the_process(fund: Fund) -> None:
    handle(fund, asked(1), seen=fund.inbox.seen(fund.engine))
    assert fund.applied() == ["R-1"]
    seen = fund.inbox.seen(fund.engine)
    place = Partition(ASKED, 5)
    mark, other = fingerprint("/agencies/portal", "ask-1"), fingerprint("/agencies/portal", "ask-2")
    assert seen.has(place, mark)
    assert not seen.has(place, other)
    seen.add(place, other)
    assert not seen.has(place, other), "only the transaction of an effect notes an event"
    assert not fund.other.seen(fund.engine).has(place, mark)


def test_a_purge_forgets_what_is_older_than_the_horizon_and_only_its_own(fund: Fund) -> None:
    topic = TopicState(ASKED, 1, 1, {"retention.ms": "86400000", "segment.ms": "86400000"})
    with transaction(fund.engine) as connection:
        for event in ("a", "b"):
            fund.inbox.fresh(connection, message(event))
        fund.other.fresh(connection, message("a"))
    fund.clock.advance(days=3)
    with transaction(fund.engine) as connection:
        fund.inbox.fresh(connection, message("c"))
        assert fund.inbox.purge(connection, horizon=2 * DAY, topics=[topic], now=fund.clock.now()) == 2
        assert connection.execute(select(func.count()).select_from(fund.inbox.table)).scalar_one() == 2


@pytest.mark.parametrize(
    ("config", "needed"),
    [
        ({}, None),  # the broker's own, which may be for ever
        ({"retention.ms": "86400000"}, 8 * DAY),
        ({"retention.ms": "86400000", "segment.ms": "3600000"}, DAY + timedelta(hours=1)),
        ({"retention.ms": "-1"}, None),
        ({"cleanup.policy": "compact"}, None),
        ({"cleanup.policy": "compact,delete"}, None),
    ],
)
def test_the_horizon_covers_the_retention_and_the_last_segment(
    config: dict[str, str], needed: timedelta | None
) -> None:
    assert horizon_of(TopicState(ASKED, 1, 1, config)) == needed


@pytest.mark.parametrize("config", [{"retention.ms": "-1"}, {"retention.ms": "2592000000"}, {}])
def test_a_purge_that_forgets_what_the_bus_still_keeps_is_refused(fund: Fund, config: dict[str, str]) -> None:
    with transaction(fund.engine) as connection:
        fund.inbox.fresh(connection, message("a"))
    fund.clock.advance(days=400)
    topics = [TopicState(ASKED, 1, 1, config)]
    with pytest.raises(Refused, match="act twice"), transaction(fund.engine) as connection:
        fund.inbox.purge(connection, horizon=13 * DAY, topics=topics, now=fund.clock.now())
    with transaction(fund.engine) as connection:
        assert not fund.inbox.fresh(connection, message("a"))


def test_several_consumers_share_one_table() -> None:
    metadata = MetaData()
    assert inbox_table(metadata) is inbox_table(metadata)
    assert Inbox(metadata, consumer="a").table is Inbox(metadata, consumer="b").table

"""The fund on its own database: books, inbox and outbox in one transaction; hypothesis walks through its crashes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import Connection, text

from bus.errors import Unreachable
from bus.message import Message
from bus.ports import TopicState
from bus.transport.memory import MemoryCluster
from connectors.database import open_database
from connectors.inbox import Inbox
from connectors.outbox import Outbox
from connectors.relay import Relay
from connectors.relay_rows import RelayRows
from connectors.simulators.fund_database import FundDatabase, Totals
from schemas.birth import BenefitAssigned
from schemas.requests import RequestCreated
from tests.connectors.offices import ASKED, ASSIGNED, NOW, ask, events, message, offices_cluster, portal_on, serve

NONE = Totals(0, Decimal(0), Decimal(0))


@pytest.fixture
def fund(database: str) -> Iterator[FundDatabase]:
    engine = open_database(database)
    made = FundDatabase(engine)
    made.create()
    yield made
    engine.dispose()


def request(number: int, *, event_id: str | None = None, kind: str = "birth_benefit") -> Message:
    event = RequestCreated(request_id=f"R-{number}", kind=kind, subject=f"SYN-P-{number:04d}")
    return message(event, topic=ASKED, event_id=event_id or f"ask-{number}")


def waiting(fund: FundDatabase) -> list[str]:
    with fund._engine.connect() as connection:
        return [row.id for row in connection.execute(fund.outbox.table.select())]


def relay(fund: FundDatabase, cluster: MemoryCluster) -> None:
    rows = RelayRows(fund._engine, fund.outbox.table)
    asyncio.run(Relay(cluster.producer(), rows, clock=cluster.clock, stop=lambda: False).serve(idle_s=0))


def test_a_request_is_assigned_booked_and_answered_once(fund: FundDatabase) -> None:
    for _ in range(2):
        assert fund.react(request(1), now=NOW) == ()
    fund.react(request(2), now=NOW)
    assert fund.totals() == Totals(2, Decimal(1450), Decimal(1450))
    assert len(set(waiting(fund))) == 2


def test_the_same_person_may_ask_for_two_things(fund: FundDatabase) -> None:
    fund.react(request(1), now=NOW)
    fund.react(request(1, event_id="another"), now=NOW)
    assert fund.totals() == Totals(2, Decimal(1450), Decimal(1450))


def test_a_request_of_another_kind_is_noted_and_changes_no_book(fund: FundDatabase) -> None:
    fund.react(request(1, kind="school_place"), now=NOW)
    assert (fund.totals(), waiting(fund)) == (NONE, [])


def test_a_failure_at_the_answer_takes_everything_back(fund: FundDatabase) -> None:
    with patch.object(Outbox, "add_all", side_effect=Unreachable("gone")), pytest.raises(Unreachable):
        fund.react(request(1), now=NOW)
    assert (fund.totals(), waiting(fund)) == (NONE, [])
    fund.react(request(1), now=NOW)
    assert fund.totals().benefits == 1


def test_the_books_answer_the_bus_as_the_fund_without_a_database_does(fund: FundDatabase) -> None:
    """The same ids: whoever has had the one's answers recognises the other's."""
    from connectors.simulators.social_fund import SocialFund

    cluster = offices_cluster()
    with portal_on(cluster) as bus:
        ask(bus, range(5))
    serve(cluster, fund)
    relay(fund, cluster)
    plain = offices_cluster()
    with portal_on(plain) as bus:
        ask(bus, range(5))
    serve(plain, SocialFund())
    wanted = {
        (case, event_id, replace_date(event)) for case, event_id, event in events(plain, ASSIGNED, BenefitAssigned)
    }
    assert {(c, i, replace_date(e)) for c, i, e in events(cluster, ASSIGNED, BenefitAssigned)} == wanted
    assert waiting(fund) == []


def replace_date(event: BenefitAssigned) -> BenefitAssigned:
    return event.model_copy(update={"assigned_on": NOW.date()})


def test_only_what_the_bus_cannot_deliver_again_is_forgotten(fund: FundDatabase) -> None:
    fund.react(request(1), now=NOW)
    topic = TopicState(ASKED, 1, 1, {"retention.ms": "86400000"})
    for kept in (topic, replace(topic, config={"retention.ms": "-1"})):
        assert fund.forget(kept, now=NOW) == 0
    with fund._engine.begin() as connection:
        connection.execute(text("UPDATE inbox SET received = 0"))
    assert fund.forget(replace(topic, config={"retention.ms": "-1"}), now=NOW) == 0
    assert fund.forget(topic, now=NOW) == 1


class Crash(BaseException):
    """The process ends here."""


class FundMachine(RuleBasedStateMachine):
    """Outbox -> topic -> inbox with a crash at every step: portal and fund, each with its database."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.engine = open_database(f"sqlite:///{Path(self.folder.name) / 'fund.db'}")
        self.fund = FundDatabase(self.engine)
        self.fund.create()
        self.cluster = offices_cluster()
        self.delivered: list[Message] = []
        self.asked = 0

    def teardown(self) -> None:
        while self.delivered:
            self.deliver(None)
        relay(self.fund, self.cluster)
        assert self.fund.totals() == Totals(self.asked, Decimal(725 * self.asked), Decimal(725 * self.asked))
        published = [event.request_id for _, _, event in events(self.cluster, ASSIGNED, BenefitAssigned)]
        first_copies = list(dict.fromkeys(published))
        assert sorted(first_copies) == sorted(f"R-{n}" for n in range(self.asked)), "nothing lost, nothing invented"
        for place, log in self.cluster.logs.items():
            if place.topic == ASSIGNED:
                ids = list(dict.fromkeys(dict(record.headers)["ce_id"] for record in log))
                assert ids == sorted(ids, key=self.order().index), "in the order of the commits"
        self.engine.dispose()
        self.folder.cleanup()

    def order(self) -> list[bytes | None]:
        with self.engine.connect() as connection:
            rows = connection.execute(self.fund.benefits.select().order_by(self.fund.benefits.c.number)).all()
        by_request = {e.request_id: i for _, i, e in events(self.cluster, ASSIGNED, BenefitAssigned)}
        return [by_request[row.request].encode() for row in rows]

    @rule()
    def someone_asks(self) -> None:
        self.delivered.append(request(self.asked))
        self.asked += 1

    @rule(times=st.integers(1, 3))
    def the_bus_delivers_again(self, times: int) -> None:
        self.delivered += [request(n) for n in range(max(0, self.asked - times), self.asked)]

    @rule(crash=st.sampled_from([None, "fresh", "add_all", "commit before", "commit after"]))
    def deliver(self, crash: str | None) -> None:
        """Handle the first message; it is acknowledged (taken away) only when the handler is through."""
        if not self.delivered:
            return
        try:
            with _crashing(crash):
                self.fund.react(self.delivered[0], now=NOW)
        except Crash:
            return
        self.delivered.pop(0)

    @rule(crash=st.sampled_from([None, "read", "settle before", "settle after", "append", "lost ack"]))
    def the_relay_runs(self, crash: str | None) -> None:
        self.cluster.faults.failing_appends = int(crash == "append")
        self.cluster.faults.lost_acks = int(crash == "lost ack")
        try:
            with _crashing(crash):
                relay(self.fund, self.cluster)
        except Crash:
            return

    @invariant()
    def books_and_accounts_agree(self) -> None:
        books = self.fund.totals()
        assert books.assigned == books.accounts
        assert books.benefits <= self.asked


def _crashing(point: str | None) -> Any:
    """End the process at a point: before or after the named step has reached the database."""
    if point in (None, "append", "lost ack"):
        return nullcontext()
    name, _, when = point.partition(" ")
    owner: Any = {"fresh": Inbox, "add_all": Outbox, "commit": Connection, "read": RelayRows, "settle": RelayRows}[name]
    if name == "commit":
        name = "_commit_impl"
    whole = getattr(owner, name)

    def crashing(self: Any, *said: Any, **more: Any) -> Any:
        if when != "before":
            whole(self, *said, **more)
        raise Crash

    return patch.object(owner, name, crashing)


TestFundMachine = FundMachine.TestCase
TestFundMachine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_an_uncertain_commit_is_tried_again_and_changes_nothing(fund: FundDatabase) -> None:
    with _crashing("commit after"), pytest.raises(Crash):
        fund.react(request(1), now=NOW)
    fund.react(request(1), now=NOW)
    assert fund.totals().benefits == 1

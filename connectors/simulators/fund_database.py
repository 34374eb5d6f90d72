"""The social fund on a database of its own: the worked example of inbox, effect and outbox in one transaction.

Run by ``agencybus connector run social-fund --database URL``. A request is noted in the inbox, the benefit is written,
the person's account grows, and the answer goes into the outbox: all of it or nothing. The relay publishes. The trap it
avoids: a benefit that is paid and never told of, or told of and never paid, because two systems were written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Column, Connection, Date, Engine, Integer, MetaData, String, Table, func, select, update

from bus.message import Message
from bus.ports import TopicState
from bus.publish import Publication
from connectors.database import READING, insert_new, reaching, transaction
from connectors.inbox import Inbox, horizon_of
from connectors.outbox import Outbox
from connectors.simulators.social_fund import SocialFund
from schemas.birth import BenefitAssigned


@dataclass(frozen=True, slots=True)
class Totals:
    """What stands in the fund's books: benefits, their sum, and the sum of all accounts, which must be the same."""

    benefits: int
    assigned: Decimal
    accounts: Decimal


class FundDatabase:
    """A `connectors.ports.Target` that answers through its outbox; what is assigned is decided as by `SocialFund`.

    Args:
        engine: the fund's database. Its tables are made by `create`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rules = SocialFund()
        self.agency, self.name, self.listens = self._rules.agency, self._rules.name, self._rules.listens
        self._metadata = MetaData()
        self.inbox = Inbox(self._metadata, consumer=f"{self.agency}.{self.name}")
        self.outbox = Outbox(self._metadata, agency=self.agency)
        self.benefits = Table(
            "benefit",
            self._metadata,
            Column("number", Integer, primary_key=True),
            Column("case", String(200), nullable=False),
            Column("person", String(64), nullable=False),
            Column("request", String(64), nullable=False),
            Column("cents", Integer, nullable=False),  # whole hundredths: SQLite has no exact fractions
            Column("assigned_on", Date, nullable=False),
        )
        self.accounts = Table(
            "account",
            self._metadata,
            Column("person", String(64), primary_key=True),
            Column("cents", Integer, nullable=False),
        )

    def create(self) -> None:
        """Make the tables that are missing. An agency in earnest does this by its migrations. Raises Unreachable."""
        with reaching(self._engine):
            self._metadata.create_all(self._engine)

    def react(self, message: Message, *, now: datetime) -> Sequence[Publication]:
        """Assign the benefit that `message` asks for, once; nothing is left for the office to publish.

        Args:
            message: a request.
            now: aware.

        Raises:
            Unreachable: the database does not answer, or its commit is uncertain; called again, nothing happens twice.
        """
        with transaction(self._engine) as connection:
            if self.inbox.fresh(connection, message):
                for answer in self._rules.react(message, now=now):
                    self._assign(connection, answer)
        return ()

    def _assign(self, connection: Connection, answer: Publication) -> None:
        benefit = answer.event
        assert isinstance(benefit, BenefitAssigned)
        cents = int(benefit.amount * 100)
        account, person = self.accounts, benefit.person
        insert_new(connection, account, {"person": person, "cents": 0}, unique=["person"])
        more = update(account).where(account.c.person == person).values(cents=account.c.cents + cents)
        connection.execute(more)
        cause = answer.caused_by
        assert isinstance(cause, Message)
        row = {"case": cause.case, "person": person, "request": benefit.request_id, "cents": cents}
        connection.execute(self.benefits.insert().values(**row, assigned_on=benefit.assigned_on))
        self.outbox.add_all(connection, [answer])

    def forget(self, topic: TopicState, *, now: datetime) -> int:
        """Purge the inbox of events that the bus cannot deliver again; how many. Raises Unreachable.

        Args:
            topic: the requests', as the cluster has it.
            now: aware.
        """
        horizon = horizon_of(topic)
        if horizon is None:
            return 0
        with transaction(self._engine) as connection:
            return self.inbox.purge(connection, horizon=horizon, topics=[topic], now=now)

    def totals(self) -> Totals:
        """What stands in the books. Raises Unreachable."""
        with reaching(self._engine), self._engine.connect() as connection:
            reading = connection.execution_options(**READING)
            count, cents = reading.execute(select(func.count(), func.sum(self.benefits.c.cents))).one()
            held = reading.execute(select(func.sum(self.accounts.c.cents))).scalar_one()
        return Totals(count, Decimal(cents or 0) / 100, Decimal(held or 0) / 100)

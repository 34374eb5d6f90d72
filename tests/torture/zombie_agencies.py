"""Agencies' programs that stop themselves at a named moment: a subscription, an inbox, the relay of an outbox.

Forked by `tests.torture.zygote` for `test_zombie_agencies`; see `tests.torture.zombies`. `fenced` and `unique` take
a guard out for the negative controls.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy.dialects.postgresql.pg8000  # noqa: F401  # else each actor on PostgreSQL would import it
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table

import connectors.inbox
import connectors.relay
from bus.consume import Delivery, Subscription
from bus.errors import Refused
from bus.member import Member
from bus.message import Outgoing, Partition
from bus.middleware.dead_letter import DeadLetters
from bus.middleware.parking import Entry
from bus.middleware.retry import Policy, RetryPolicy
from bus.parked_store import ParkedStore
from bus.settings import Settings
from bus.transport.kafka_consumer import KafkaConsumer
from bus.transport.kafka_producer import KafkaProducer
from bus.wiring import connect, connect_async
from connectors.database import open_database
from connectors.inbox import Inbox
from connectors.outbox import Outbox
from connectors.relay import Relay
from connectors.relay_rows import RelayRows
from schemas.recorded import ActivityRecorded
from tests.torture.zombies import SESSION_MS, Stop, armed

HANDLING = (  # the life of a subscription's event, in order
    "handling", "committing", "parking", "burying",
)  # fmt: skip
RELAYING = ("read", "sent")  # a batch of the relay: before it is sent, and before it is deleted
_BATCH = 7  # rows of it
_FAILURES: Mapping[str, type[Exception]] = {"bug": ZeroDivisionError, "refused": Refused}
NOTING = ("taken", "noted")  # the same with an inbox: before its transaction, and inside it


def subscriber(
    *,
    actor: str,
    folder: str,
    bootstrap: str,
    group: str,
    first: bool = False,
    at: str = "",
    fails: str = "",
    database: str = "",
    fenced: bool = True,
    unique: bool = True,
) -> None:
    """Subscribe and have each event's effect until SIGINT.

    Args:
        actor: this process. folder: of the run. bootstrap: the cluster.
        group: consumer group; the cases that count begin with its name.
        first: whether it is the group's first, which begins at the end of the topic.
        at: the moment of `HANDLING` or `NOTING` at which it stops.
        fails: how its handler fails once, at the first event after it was armed: "bug" or "refused".
        database: where inbox and effects are; empty: no inbox, and effects are lines of a file.
        fenced: whether it commits before it sets a record aside. unique: whether the inbox has its unique key.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.basicConfig(level=logging.WARNING)
    here = Path(folder)
    stop = Stop(here, actor, at)
    _stop_in_setting_aside(stop)
    if not fenced:
        Member._fence = lambda self, partition: None  # type: ignore[method-assign]
    if not unique:
        _take_out_the_key()
    settings = Settings(bootstrap=bootstrap, session_timeout_ms=SESSION_MS)
    policy = Policy(retry=RetryPolicy(attempts=1))
    with suppress(KeyboardInterrupt), connect(settings=settings) as bus:
        begin = "latest" if first else None
        subscription = bus.subscribe(ActivityRecorded, group=group, policy=policy, from_=begin)
        (here / f"{actor}.ready").touch()
        if database:
            _with_inbox(Books(database, group), subscription, stop, actor)
        else:
            for delivery in subscription:
                with delivery as event:
                    case = delivery.message.case or ""
                    if not case.startswith(f"{group}-"):
                        continue
                    stop("handling")
                    if fails and armed(here, actor).exists():
                        kind, fails = _FAILURES[fails], ""
                        raise kind("once")
                    with effects(here, group).open("a") as file:
                        file.write(f"{actor} {case} {event.sequence}\n")


def effects(folder: Path, group: str) -> Path:
    """The file of a group's effects: actor, case and number of each."""
    return folder / f"{group}.effects"


def _stop_in_setting_aside(stop: Stop) -> None:
    """Put the moments around commits, parked rows and dead letters: behind the commit that fences them."""
    commit, write, bury = KafkaConsumer.commit, ParkedStore.write, DeadLetters.write

    def committing(self: KafkaConsumer, positions: Mapping[Partition, int]) -> None:
        stop("committing")
        commit(self, positions)

    def writing(self: ParkedStore, entries: Sequence[Entry]) -> None:
        stop("parking")
        write(self, entries)

    def burying(self: DeadLetters, *record: Any, **said: Any) -> Partition:
        stop("burying")
        return bury(self, *record, **said)

    KafkaConsumer.commit = committing  # type: ignore[method-assign]
    ParkedStore.write = writing  # type: ignore[method-assign]
    DeadLetters.write = burying  # type: ignore[method-assign]


class Books:
    """An agency's tables: effects, one row each, beside the inbox.

    Args:
        url: the database. group: whose effects these are.
    """

    def __init__(self, url: str, group: str) -> None:
        self.engine: Engine = open_database(url)
        self.group = group
        self.metadata = MetaData()
        self.inbox = Inbox(self.metadata, consumer=group)
        self.outbox = Outbox(self.metadata, agency="replay")
        self.effects = Table(
            "effect",
            self.metadata,
            Column("place", Integer, primary_key=True),
            Column("actor", String(80), nullable=False),
            Column("case", String(80), nullable=False),
            Column("n", Integer, nullable=False),
        )

    def enter(self, connection: Connection, actor: str, case: str, n: int) -> None:
        """Have the effect of an event; a second one of it would show."""
        connection.execute(self.effects.insert().values(actor=actor, case=case, n=n))


def _take_out_the_key() -> None:
    """Let the inbox take every event for a new one, as a table without its key would."""

    def insert(connection: Connection, table: Table, values: Mapping[str, Any], *, unique: Sequence[str]) -> bool:
        connection.execute(table.insert().values({**values, "event": uuid.uuid4().hex}))
        return True

    vars(connectors.inbox)["insert_new"] = insert


def _with_inbox(books: Books, subscription: Subscription[ActivityRecorded], stop: Stop, actor: str) -> None:
    begin = Inbox._begin

    def taking(self: Inbox, delivery: Delivery[Any], engine: Engine) -> Any:
        if (delivery.message.case or "").startswith(f"{books.group}-"):
            stop("taken")
        return begin(self, delivery, engine)

    Inbox._begin = taking  # type: ignore[method-assign]
    for delivery in books.inbox.deliveries(subscription, books.engine):
        with delivery as (connection, event):
            case = delivery.message.case or ""
            if case.startswith(f"{books.group}-"):
                stop("noted")
                books.enter(connection, actor, case, event.sequence)


def relay(*, actor: str, folder: str, bootstrap: str, group: str, database: str, at: str = "") -> None:
    """Relay what waits in the outbox of a database, in small batches, until SIGINT.

    Args:
        actor: this process. folder: of the run. bootstrap: the cluster.
        group: whose outbox it is. database: where it is. at: the moment of `RELAYING` at which it stops.
    """
    asked = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: asked.set())
    logging.basicConfig(level=logging.WARNING)
    connectors.relay.BATCH = _BATCH
    stop = Stop(Path(folder), actor, at)
    append = KafkaProducer.append

    async def appending(self: KafkaProducer, partition: Partition, records: Sequence[Outgoing]) -> int:
        stop("read")
        first = await append(self, partition, records)
        stop("sent")
        return first

    KafkaProducer.append = appending  # type: ignore[method-assign]
    books = Books(database, group)

    async def serve() -> None:
        async with connect_async(settings=Settings(bootstrap=bootstrap)) as bus:
            rows = RelayRows(books.engine, books.outbox.table)
            await Relay(bus.core.producer, rows, clock=bus.core.clock, stop=asked.is_set).serve()

    asyncio.run(serve())

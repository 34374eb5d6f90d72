"""The inbox: which events an agency's database has had, kept in the transaction of their effect.

Called by agencies' programs and the example agency. The bus delivers at least once; a row per consumer and event,
inserted in the same transaction as the effect, makes the effect exactly once. Order: the database commits, then the
bus is told. The traps it avoids: a memory in another transaction than the effect (a crash between the two doubles or
loses it), an acknowledgement before the commit (a crash loses it), and a purge that forgets an event which the bus may
still deliver again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from types import TracebackType
from typing import Generic, TypeVar

from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, String, Table, Text, delete, select
from sqlalchemy.exc import DBAPIError

from bus.clock import SystemClock
from bus.consume import Delivery
from bus.errors import Refused
from bus.message import Message, Partition
from bus.ports import Clock, TopicState
from connectors.database import READING, insert_new, reaching, told
from schemas.envelope import to_ms
from schemas.event import Event

E = TypeVar("E", bound=Event)
_SEGMENT_MS = 7 * 86_400_000  # Kafka's default of segment.ms


def inbox_table(metadata: MetaData, *, name: str = "inbox") -> Table:
    """The inbox in `metadata`; several consumers may share it.

    Args:
        metadata: the agency's.
        name: of the table.
    """
    there = metadata.tables.get(name)
    if there is not None:
        return there
    return Table(
        name,
        metadata,
        Column("consumer", String(255), primary_key=True),
        # SHA-256 of source, NUL, id: both may be longer than an index entry. It begins with the bus's fingerprint.
        Column("event", String(64), primary_key=True),
        Column("source", Text, nullable=False),
        Column("id", Text, nullable=False),
        Column("received", BigInteger, nullable=False),  # milliseconds since 1970
    )


class Inbox:
    """The inbox table of a database, for one consumer. Safe for several threads.

    Args:
        metadata: the agency's; gets the table (several consumers may share it).
        consumer: whose effects these are; the consumer group is a good name.
        name: of the table.
        clock: gives the time a purge goes by; default the system's.
    """

    def __init__(self, metadata: MetaData, *, consumer: str, name: str = "inbox", clock: Clock | None = None) -> None:
        self.consumer = consumer
        self._clock = clock or SystemClock()
        self.table = inbox_table(metadata, name=name)

    def fresh(self, connection: Connection, message: Message) -> bool:
        """Whether `message` has had no effect yet; notes it. True means: have the effect now, in this transaction.

        Another transaction that is just taking the same event is waited for. After a rollback the event is fresh again.

        Args:
            connection: inside the transaction of the effect.
            message: as the bus delivered it.

        Raises:
            DBAPIError: the database's own.
        """
        envelope = message.envelope
        row = {
            "consumer": self.consumer,
            "event": sha256(f"{envelope.source}\0{envelope.id}".encode()).hexdigest(),
            "source": envelope.source,
            "id": envelope.id,
            "received": to_ms(self._clock.now()),
        }
        return insert_new(connection, self.table, row, unique=["consumer", "event"])

    def deliveries(self, subscription: Iterable[Delivery[E]], engine: Engine) -> Iterator[SqlDelivery[E]]:
        """The fresh ones of `subscription`, each in a database transaction of its own.

        Repetitions are acknowledged without being handed out. Write ``with delivery as (connection, event): ...``.

        Args:
            subscription: of `bus.wiring.Bus.subscribe`.
            engine: the database of table and effects.

        Raises:
            BusError: what the subscription raises.
        """
        for delivery in subscription:
            opened = self._begin(delivery, engine)
            if opened is not None:
                try:
                    yield opened
                finally:
                    opened.close()

    def _begin(self, delivery: Delivery[E], engine: Engine) -> SqlDelivery[E] | None:
        """Begin a transaction and note the event in it; None when the delivery is settled already."""
        connection: Connection | None = None
        try:
            with reaching(engine):
                connection = engine.connect()
                if self.fresh(connection, delivery.message):
                    return SqlDelivery(delivery, connection, engine)
        except Exception as error:  # noqa: BLE001  # the bus's pipeline says what a failure means
            _quit(connection)
            delivery.__exit__(type(error), error, error.__traceback__)
            return None
        _quit(connection)
        with delivery:
            pass  # a repetition is acknowledged
        return None

    def seen(self, engine: Engine) -> InboxSeen:
        """The table as a memory of the bus (`bus.middleware.dedupe.Seen`): repetitions are dropped before a handler."""
        return InboxSeen(engine, self)

    def holds(self, connection: Connection, mark: str) -> bool:
        """Whether an event with the fingerprint `mark` (16 hex digits, `schemas.envelope.fingerprint`) was noted."""
        there = self.table.c
        found = select(there.event).where(
            there.consumer == self.consumer,
            there.event >= mark,
            there.event < mark + "g",  # "g" follows every hex digit
        )
        return connection.execute(found.limit(1)).first() is not None

    def purge(self, connection: Connection, *, horizon: timedelta, topics: Iterable[TopicState], now: datetime) -> int:
        """Forget events noted longer ago than `horizon`; how many.

        Args:
            connection: inside a transaction.
            horizon: how long an event is remembered.
            topics: what this consumer reads, as the cluster has it (`bus.ports.Admin.topics`).
            now: aware.

        Raises:
            Refused: a topic keeps events longer than `horizon`; a reset of the group would deliver them again, and each
                would have its effect a second time.
        """
        for topic in topics:
            needed = horizon_of(topic)
            if needed is None or needed > horizon:
                kept = (
                    "for ever, or for as long as its brokers please"
                    if needed is None
                    else f"up to {needed.total_seconds() / 86_400:.1f} days"
                )
                raise Refused(
                    f"{topic.name} keeps events {kept}; an inbox that forgets them sooner would let them act twice.",
                    field="horizon",
                    remedy="Remember longer, or set the topic's own retention.ms, and shorter.",
                )
        there = self.table.c
        old = there.received < to_ms(now - horizon)
        return connection.execute(delete(self.table).where(there.consumer == self.consumer, old)).rowcount


def horizon_of(topic: TopicState) -> timedelta | None:
    """How long the broker may keep an event of `topic`; None is for ever, or not known.

    Kafka drops whole segments, by the age of their newest record: an old record stays until its segment is closed
    (`segment.ms`) and that long again. A topic without a retention of its own has the broker's, which may be any.
    """
    kept = int(topic.config.get("retention.ms", -1))
    if kept < 0 or "compact" in topic.config.get("cleanup.policy", "delete"):
        return None
    return timedelta(milliseconds=kept + int(topic.config.get("segment.ms", _SEGMENT_MS)))


class InboxSeen:
    """A `bus.middleware.dedupe.Seen` that is the inbox: it outlives the process and moves with the database.

    Args:
        engine: the database.
        inbox: whose rows it reads; they are written with the effects, not by `add`.
    """

    def __init__(self, engine: Engine, inbox: Inbox) -> None:
        self._engine = engine
        self._inbox = inbox

    def has(self, partition: Partition, mark: str) -> bool:  # noqa: ARG002  # an event is one on any partition
        """Whether the event had its effect. Raises Unreachable."""
        with reaching(self._engine), self._engine.connect() as connection:
            return self._inbox.holds(connection.execution_options(**READING), mark)

    def add(self, partition: Partition, mark: str) -> None:
        """Nothing: `Inbox.fresh` has noted the event in the transaction of its effect."""


class SqlDelivery(Generic[E]):
    """One fresh event and the transaction of its effect; leaving it commits the database, then tells the bus.

    Args:
        delivery: the bus's.
        connection: has begun, and noted the event.
        engine: the database, for its name in errors.
    """

    def __init__(self, delivery: Delivery[E], connection: Connection, engine: Engine) -> None:
        self._delivery = delivery
        self._connection = connection
        self._engine = engine

    @property
    def message(self) -> Message:
        """The event with its envelope and place."""
        return self._delivery.message

    def __enter__(self) -> tuple[Connection, E]:
        return self._connection, self._delivery.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Commit and acknowledge; or roll back and let the bus classify the error."""
        if error is None:
            try:
                with reaching(self._engine):
                    self._connection.commit()
            except Exception as failed:  # noqa: BLE001  # a commit without an answer is tried again and found noted
                error = failed
        elif isinstance(error, DBAPIError):
            error = told(error, self._engine)
        self.close()
        return self._delivery.__exit__(type(error) if error else None, error, trace)

    def close(self) -> None:
        """Roll back what was not committed and give the connection back. Safe to call twice."""
        _quit(self._connection)


def _quit(connection: Connection | None) -> None:
    if connection is not None:
        with suppress(DBAPIError):  # it may be broken; then the database rolls back by itself
            connection.close()

"""One life of an agency's program on its own database, ended by SIGKILL at a named point or from outside.

Forked by `tests.torture.zygote` for `test_sql`. The program is an ordinary one: `bus.subscribe`, `Inbox.deliveries`, an
effect, `Outbox.add`; or the relay. Kafka is a twin whose topic, committed offsets and stored answers stand in files, so
that they outlive the process and a life takes milliseconds. The points are put around the program (events of
SQLAlchemy, wrapped ports); the program itself knows nothing of them. `broken` builds a program with its guard removed.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, event, select, update

import bus.member
from bus.consume import Delivery
from bus.message import Outgoing, Partition, Record
from bus.testing import memory_bus, memory_cluster
from bus.transport.memory import MemoryCluster, MemoryConsumer, MemoryProducer
from bus.transport.memory_groups import Group
from connectors.database import insert_new, open_database, transaction
from connectors.inbox import Inbox
from connectors.outbox import Outbox
from connectors.relay import Relay
from connectors.relay_rows import RelayRows
from schemas.birth import BenefitAssigned
from schemas.requests import RequestCreated

ASKED, ASSIGNED = "portal.request.created.v1", "social-fund.benefit.assigned.v1"
GROUP = "social-fund.benefits"
PARTITIONS = 4
TAKING = (  # the life of an event, in order
    "polled", "begun", "noting", "noted", "paying", "paid", "entering", "entered", "answering", "answered",
    "committing", "committed", "acknowledged", "storing offsets", "stored offsets",
)  # fmt: skip
RELAYING = ("read", "sending", "stored", "sent", "deleting", "deleted", "settling", "settled")
_STATEMENTS = {
    "INSERT INTO inbox": ("noting", "noted"),
    "UPDATE account": ("paying", "paid"),
    "INSERT INTO ledger": ("entering", "entered"),
    "INSERT INTO outbox": ("answering", "answered"),
    "DELETE FROM outbox": ("deleting", "deleted"),
}


class Point:
    """Ends the process at the `hits`-th time the program comes by `name`; None never does."""

    def __init__(self, name: str | None, hits: int) -> None:
        self._name = name
        self._left = hits

    def __call__(self, name: str) -> None:
        if name == self._name:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Drained(BaseException):
    """All that stands on the topic is taken and its offsets are stored."""


class Books:
    """The agency's tables: what each person has, and which events led to it. Nothing here is unique but the inbox."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = open_database(url)
        metadata = MetaData()
        self.inbox = Inbox(metadata, consumer=GROUP)
        self.outbox = Outbox(metadata, agency="social-fund")
        self.accounts = Table(
            "account",
            metadata,
            Column("person", String(40), primary_key=True),
            Column("cents", Integer, nullable=False),
        )
        self.ledger = Table(
            "ledger",
            metadata,
            Column("n", Integer, primary_key=True),
            Column("event", String(40), nullable=False),
            Column("person", String(40), nullable=False),
        )
        self.metadata = metadata

    def apply(self, connection: Connection, asked: RequestCreated, case: str) -> None:
        """The effect: it adds up, so that having it twice shows."""
        account, cents = self.accounts, cents_of(asked.request_id)
        insert_new(connection, account, {"person": asked.subject, "cents": 0}, unique=["person"])
        more = update(account).where(account.c.person == asked.subject).values(cents=account.c.cents + cents)
        connection.execute(more)
        connection.execute(self.ledger.insert().values(event=asked.request_id, person=asked.subject))
        self.outbox.add(connection, answer(asked), case=case, id=f"answer-{asked.request_id}")


def answer(asked: RequestCreated) -> BenefitAssigned:
    """What the agency says to a request."""
    return BenefitAssigned(
        person=asked.subject,
        request_id=asked.request_id,
        kind="birth_benefit",
        amount=Decimal(cents_of(asked.request_id)) / 100,
        currency="AZN",
        assigned_on=date(2026, 1, 5),
    )


def cents_of(request: str) -> int:
    """What a request is worth."""
    return int(request.removeprefix("R-")) * 37 % 1_000 + 1


class Topic(MemoryCluster):
    """The twin whose records, offsets and stored answers stand in `folder`."""

    def __init__(self, folder: Path, point: Point) -> None:
        made = memory_cluster(ASKED, ASSIGNED, partitions=PARTITIONS)
        super().__init__(made.clock, topics=made.topics, logs=made.logs)
        self.folder, self.point = folder, point
        for record in pickle.loads((folder / "topic").read_bytes()):
            self.logs[Partition(ASKED, record.partition)].append(record)
        group = self.groups[GROUP] = Group(GROUP)
        self.offsets = os.open(folder / "offsets", os.O_RDWR | os.O_CREAT, 0o600)
        stored = os.pread(self.offsets, 8 * PARTITIONS, 0).ljust(8 * PARTITIONS, b"\0")
        for number in range(PARTITIONS):
            group.commits[Partition(ASKED, number)] = int.from_bytes(stored[8 * number : 8 * number + 8], "big")
        self.answers = os.open(folder / "answers", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def close(self) -> None:
        """Close the files."""
        os.close(self.offsets)
        os.close(self.answers)

    def consumer(self, topics: Sequence[str], *, group: str) -> MemoryConsumer:
        return _Consumer(self, tuple(topics), group)

    def producer(self) -> MemoryProducer:
        return _Producer(self)


class _Consumer(MemoryConsumer):
    _cluster: Topic

    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        found = super().poll(max_records=min(max_records, 20), timeout=min(timeout, 0.002))
        if found:
            self._cluster.point("polled")
        elif (owned := self.assignment()) and all(
            self._group.commits[place] == len(self._cluster.logs[place]) for place in owned
        ):
            raise Drained
        return found

    def commit(self, positions: Mapping[Partition, int]) -> None:
        self._cluster.point("storing offsets")
        super().commit(positions)
        for place, offset in positions.items():
            os.pwrite(self._cluster.offsets, offset.to_bytes(8, "big"), 8 * place.number)
        self._cluster.point("stored offsets")


class _Producer(MemoryProducer):
    _cluster: Topic

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        self._cluster.point("sending")
        lines = [
            json.dumps([partition.number, (r.key or b"").decode(), (dict(r.headers)["ce_id"] or b"").decode()])
            for r in records
        ]
        os.write(self._cluster.answers, ("\n".join(lines) + "\n").encode())
        self._cluster.point("stored")
        await asyncio.sleep(0)
        self._cluster.point("sent")
        return 0


def _watch(engine: Engine, point: Point, *, committing: str, committed: str) -> None:
    """Put the points around every statement and commit of `engine`."""

    @event.listens_for(engine, "begin")
    def _begun(_: Connection) -> None:
        point("begun")

    @event.listens_for(engine, "before_cursor_execute")
    def _before(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        for words, points in _STATEMENTS.items():
            if statement.startswith(words):
                point(points[0])

    @event.listens_for(engine, "after_cursor_execute")
    def _after(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        for words, points in _STATEMENTS.items():
            if statement.startswith(words):
                point(points[1])

    @event.listens_for(engine, "commit")
    def _committing(_: Connection) -> None:
        point(committing)

    commit: Callable[[Any], None] = engine.dialect.do_commit

    def do_commit(raw: Any) -> None:
        commit(raw)
        point(committed)

    vars(engine.dialect)["do_commit"] = do_commit  # this engine's own dialect


def take(*, url: str, folder: str, point: str | None = None, hits: int = 1, broken: str | None = None) -> int:
    """Take what stands on the topic until nothing is left (0) or the end comes."""
    bus.member._COMMIT_S = 0.02
    books, here = Books(url), Point(point, hits)
    _watch(books.engine, here, committing="committing", committed="committed")
    leave = Delivery.__exit__

    def left(self: Delivery[Any], *said: Any) -> bool:
        answer = leave(self, *said)
        here("acknowledged")
        return answer

    Delivery.__exit__ = left  # type: ignore[method-assign]
    with closing(Topic(Path(folder), here)) as topic, memory_bus(topic) as connected:
        subscription = connected.subscribe(RequestCreated, group=GROUP, publishers=["portal"])
        program = {None: _right, "effect first": _effect_first, "note first": _note_first, "told first": _told_first}
        try:
            program[broken](books, subscription)
        except Drained:
            books.engine.dispose()
            return 0
    return 1


def _right(books: Books, subscription: Iterable[Delivery[RequestCreated]]) -> None:
    """The program as an agency writes it."""
    for delivery in books.inbox.deliveries(subscription, books.engine):
        with delivery as (connection, asked):
            books.apply(connection, asked, delivery.message.case or "")


def _effect_first(books: Books, subscription: Iterable[Delivery[RequestCreated]]) -> None:
    """The note in another transaction, after the effect: between the two an effect can happen twice."""
    for delivery in subscription:
        with delivery as asked:
            with transaction(books.engine) as connection:
                known = select(books.inbox.table.c.id).where(books.inbox.table.c.id == delivery.message.envelope.id)
                if connection.execute(known).first() is None:
                    books.apply(connection, asked, delivery.message.case or "")
            with transaction(books.engine) as connection:
                books.inbox.fresh(connection, delivery.message)


def _note_first(books: Books, subscription: Iterable[Delivery[RequestCreated]]) -> None:
    """The note in another transaction, before the effect: between the two an effect can get lost."""
    for delivery in subscription:
        with delivery as asked:
            with transaction(books.engine) as connection:
                fresh = books.inbox.fresh(connection, delivery.message)
            if fresh:
                with transaction(books.engine) as connection:
                    books.apply(connection, asked, delivery.message.case or "")


def _told_first(books: Books, subscription: Iterable[Delivery[RequestCreated]]) -> None:
    """The bus is told before the database commits: an effect can get lost."""
    bus.member._COMMIT_S = 0.0
    earlier: Delivery[RequestCreated] | None = None
    for delivery in subscription:  # coming back here has committed the offset of `earlier`
        if earlier is not None:
            with transaction(books.engine) as connection:
                if books.inbox.fresh(connection, earlier.message):
                    books.apply(connection, earlier.message.event, earlier.message.case or "")  # type: ignore[arg-type]
        with delivery:
            earlier = delivery


def relay(*, url: str, folder: str, point: str | None = None, hits: int = 1, batch: int = 5) -> int:
    """Relay what waits until nothing is left (0) or the end comes."""
    import connectors.relay as module

    module.BATCH = batch
    books, here = Books(url), Point(point, hits)
    _watch(books.engine, here, committing="settling", committed="settled")
    rows = RelayRows(books.engine, books.outbox.table)
    read = rows.read

    def reading(limit: int, *, now_ms: int) -> Sequence[Any]:
        found = read(limit, now_ms=now_ms)
        here("read")
        return found

    rows.read = reading  # type: ignore[method-assign]
    with closing(Topic(Path(folder), here)) as topic:
        asyncio.run(Relay(topic.producer(), rows, clock=topic.clock, stop=lambda: False).serve(idle_s=0))
    books.engine.dispose()
    return 0


def relay_to_kafka(*, url: str, bootstrap: str) -> int:
    """Relay what waits to a real broker, as `agencybus connector run outbox-relay` does, until the end comes."""
    from bus.settings import Settings
    from bus.wiring import connect_async

    books = Books(url)

    async def serve() -> None:
        async with connect_async(settings=Settings(bootstrap=bootstrap)) as connected:
            rows = RelayRows(books.engine, books.outbox.table)
            core = connected.core
            await Relay(core.producer, rows, clock=core.clock, stop=lambda: False).serve()

    asyncio.run(serve())
    return 0

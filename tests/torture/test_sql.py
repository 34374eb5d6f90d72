"""SQL inbox, outbox and relay under SIGKILL: every balance equals the model, nothing twice, nothing lost, in order."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from bus.core import transport_of
from bus.message import Partition, Record
from bus.ports import TopicState, Transport
from bus.settings import Settings
from bus.testing import START, eventually, memory_bus, memory_cluster
from connectors.database import READING
from schemas.requests import RequestCreated
from tests.torture import bars
from tests.torture.killer import Zygote
from tests.torture.sql_life import ASKED, ASSIGNED, PARTITIONS, RELAYING, TAKING, Books, answer, cents_of

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3_600)]  # all kills of a bar are one test

PEOPLE = 40
EACH, RANDOM = bars.sized(50, 1), bars.sized(500, 5)
RELAY_EACH, RELAY_RANDOM = bars.sized(15, 1), bars.sized(60, 2)
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote(["tests.torture.sql_warm"], os.environ) as made:
        yield made


class World:
    """One agency's database and the files of its twin of Kafka, with the model of what must come of it."""

    def __init__(self, url: str, folder: Path, zygote: Zygote, seed: int) -> None:
        self.url, self.folder, self._zygote = url, folder, zygote
        self.chance = random.Random(seed)
        self._records: list[Record] = []
        self._lives = 0
        self.events = 0
        self.publish(200)
        with books_of(self) as books:
            books.metadata.create_all(books.engine)

    def publish(self, count: int) -> None:
        """Put `count` more requests on the topic; every fifth comes twice, as after a lost acknowledgement."""
        cluster = memory_cluster(ASKED, partitions=PARTITIONS)
        with memory_bus(cluster, agency="portal") as bus:
            for number in range(self.events, self.events + count):
                person = self.chance.randrange(PEOPLE)
                asked = RequestCreated(request_id=f"R-{number}", kind="birth_benefit", subject=f"SYN-P-{person:04d}")
                for _ in range(1 + (number % 5 == 0)):
                    bus.publish(asked, case=f"case-{person}", id=f"ask-{number}", time=START)
        self.events += count
        for place in sorted(cluster.logs):
            known = sum(record.partition == place.number for record in self._records)
            for offset, r in enumerate(cluster.logs[place], known):
                again = Record(ASKED, place.number, offset, r.timestamp, r.key, r.value, r.headers)
                self._records.append(again)
        (self.folder / "topic").write_bytes(pickle.dumps(self._records))

    def live(
        self, actor: str, more: Mapping[str, Any] | None = None, *, kill_after_s: float | None = None, **arguments: int
    ) -> int:
        """One life; its exit code."""
        self._lives += 1
        given = {"url": self.url, "folder": str(self.folder), **(more or {}), **arguments}
        child = self._zygote.start(
            f"{self.folder.name}-{self._lives}", f"tests.torture.sql_life:{actor}", given, self.folder / "log"
        )
        if kill_after_s is not None:
            time.sleep(kill_after_s)  # the random moment of a kill; real time is the subject here
            self._zygote.signal(child, signal.SIGKILL)
        eventually(lambda: child.code is not None, within_s=120)
        assert child.code is not None
        assert child.code in (0, KILLED), (self.folder / "log").read_text()[-3_000:]
        return child.code

    def kill(self, actor: str, *, point: str, broken: str | None = None, hits: int | None = None) -> None:
        """Let a life end at `point`; when there is too little left to do, there is more."""
        given = {"point": point, "broken": broken} if broken else {"point": point}
        while self.live(actor, given, hits=hits or self.chance.randint(1, 4)) != KILLED:
            self.more(actor)

    def more(self, actor: str) -> None:
        """Something to do for the next life."""
        self.publish(100)
        if actor == "relay":
            assert self.live("take") == 0

    def finish(self, *, broken: str | None = None) -> None:
        """Let everything be taken and relayed by lives that nobody ends."""
        assert self.live("take", {"broken": broken}) == 0
        assert self.live("relay", batch=500) == 0

    def wrong(self) -> Counter[str]:
        """What differs from the model: lost and double effects, balances, answers that are lost or out of order."""
        with books_of(self) as books, books.engine.connect() as connection:
            reading = connection.execution_options(**READING)
            ledger = reading.execute(select(books.ledger).order_by(books.ledger.c.n)).all()
            accounts = {row.person: row.cents for row in reading.execute(select(books.accounts))}
            noted = reading.execute(select(func.count()).select_from(books.inbox.table)).scalar_one()
            left = reading.execute(select(func.count()).select_from(books.outbox.table)).scalar_one()
        effects = Counter(row.event for row in ledger)
        model, owner = self._model()
        found: Counter[str] = Counter()
        found["lost"] = sum(f"R-{n}" not in effects for n in range(self.events))
        found["twice"] = sum(count - 1 for count in effects.values())
        found["balances"] = sum(accounts.get(person) != cents for person, cents in model.items())
        found["notes"] = abs(noted - self.events)
        answers = self._answers()
        found["answers lost"] = sum(f"answer-R-{n}" not in {a for _, a in answers} for n in range(self.events)) + left
        for person in model:
            case = f"case-{int(person.removeprefix('SYN-P-'))}"
            first_copies = list(dict.fromkeys(a for c, a in answers if c == case))
            in_order = list(dict.fromkeys(f"answer-{row.event}" for row in ledger if owner[row.event] == person))
            found["order"] += first_copies != in_order
        return +found

    def _model(self) -> tuple[Counter[str], dict[str, str]]:
        with memory_bus(memory_cluster(ASKED)) as bus:
            asked = [bus.core.codec.decode(record.value, RequestCreated) for record in self._records]
        owner = {one.request_id: one.subject for one in asked}
        balances: Counter[str] = Counter()
        for request, person in owner.items():
            balances[person] += cents_of(request)
        return balances, owner

    def _answers(self) -> list[tuple[str, str]]:
        lines = (self.folder / "answers").read_text().splitlines()
        return [(case, event) for _, case, event in map(json.loads, lines)]

    def repeated(self) -> int:
        """How many answers stand on the topic more than once; readers drop them by their ids."""
        answers = self._answers()
        return len(answers) - len(set(answers))


@contextmanager
def books_of(world: World) -> Iterator[Books]:
    """The world's tables, read by the test itself."""
    books = Books(world.url)
    try:
        yield books
    finally:
        books.engine.dispose()


@pytest.fixture
def world(database: str, zygote: Zygote) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="agencybus-sql-") as folder:
        yield World(database, Path(folder), zygote, bars.SEED)


def kind_of(world: World) -> str:
    return "PostgreSQL" if world.url.startswith("postgresql") else "SQLite"


def test_kills_at_every_named_point_and_at_random_leave_the_books_as_the_model(
    world: World, bar: Callable[..., None]
) -> None:
    begun = time.monotonic()
    for point in TAKING:
        for _ in range(EACH):
            world.kill("take", point=point)
    random_kills = 0
    while random_kills < RANDOM:
        if world.live("take", kill_after_s=world.chance.uniform(0.0, 0.3)) == KILLED:
            random_kills += 1
        else:
            world.more("take")
    world.finish()
    wrong = world.wrong()
    named = len(TAKING) * EACH
    bar(
        f"Kills on the SQL inbox, {kind_of(world)}",
        demanded=f"{len(TAKING)} points x {EACH} + {RANDOM} random: balances equal the model",
        measured=f"{named} + {random_kills} kills, {world.events:,} events: {sum(wrong.values())} wrong",
        ok=not wrong,
        wrong=dict(wrong),
        seconds=round(time.monotonic() - begun),
    )


def test_kills_of_the_relay_lose_no_answer_and_keep_the_order(world: World, bar: Callable[..., None]) -> None:
    begun = time.monotonic()
    assert world.live("take") == 0
    for point in RELAYING:
        for _ in range(RELAY_EACH):
            world.kill("relay", point=point)
    random_kills = 0
    while random_kills < RELAY_RANDOM:
        if world.live("relay", kill_after_s=world.chance.uniform(0.0, 0.2)) == KILLED:
            random_kills += 1
        else:
            world.more("relay")
    world.finish()
    wrong, kills = world.wrong(), len(RELAYING) * RELAY_EACH + random_kills
    bar(
        f"Kills of the outbox relay, {kind_of(world)}",
        demanded=f"{len(RELAYING)} points x {RELAY_EACH} + {RELAY_RANDOM} random: lost 0, in order",
        measured=f"{kills} kills, {world.events:,} events: {sum(wrong.values())} wrong, {world.repeated()} repeated",
        ok=not wrong,
        wrong=dict(wrong),
        seconds=round(time.monotonic() - begun),
    )


@pytest.mark.kafka
def test_a_relay_killed_while_it_publishes_to_kafka_loses_nothing(
    kafka: str, database: str, zygote: Zygote, tmp_path: Path, bar: Callable[..., None]
) -> None:
    begun, chance, mark = time.monotonic(), random.Random(bars.SEED), f"row-{uuid.uuid4().hex[:8]}"
    kills, cases = bars.sized(50, 3), 20
    transport = transport_of(Settings(bootstrap=kafka))
    admin = transport.admin()
    if ASSIGNED not in admin.topics():
        admin.create(TopicState(ASSIGNED, PARTITIONS, 1))
    admin.close()
    books = Books(database)
    books.metadata.create_all(books.engine)
    written: list[tuple[str, str]] = []
    for life in range(kills + 1):
        for _ in range(30):
            case = f"case-{chance.randrange(cases)}"
            with books.engine.begin() as connection:
                number = len(written)
                asked = RequestCreated(request_id=f"R-{number}", kind="birth_benefit", subject="SYN-P-0001")
                written.append((case, books.outbox.add(connection, answer(asked), case=case, id=f"{mark}-{number}")))
        given = {"url": database, "bootstrap": kafka}
        child = zygote.start(f"{mark}-{life}", "tests.torture.sql_life:relay_to_kafka", given, tmp_path / "log")
        if life < kills:
            _first_sign(books, chance)
        else:
            eventually(lambda: _waiting(books) == 0, within_s=120)
        zygote.signal(child, signal.SIGKILL)
        eventually(lambda child=child: child.code is not None)  # type: ignore[misc]  # bound to this life's
        assert child.code == KILLED, (tmp_path / "log").read_text()[-3_000:]
    books.engine.dispose()
    stored = _stored(transport, mark)
    lost = len({event for _, event in written} - {event for _, event in stored})
    disorder = sum(
        list(dict.fromkeys(e for c, e in stored if c == f"case-{n}")) != [e for c, e in written if c == f"case-{n}"]
        for n in range(cases)
    )
    bar(
        f"Kills of the relay on Kafka, {'SQLite' if database.startswith('sqlite') else 'PostgreSQL'}",
        demanded=f"{kills} kills: lost 0, in order",
        measured=f"{kills} kills, {len(written):,} events: {lost} lost, {disorder} cases out of order",
        ok=not lost and not disorder,
        repeated=len(stored) - len(set(stored)),
        seconds=round(time.monotonic() - begun),
    )


def _waiting(books: Books) -> int:
    with books.engine.connect() as connection:
        counting = select(func.count()).select_from(books.outbox.table)
        return int(connection.execution_options(**READING).execute(counting).scalar_one())


def _first_sign(books: Books, chance: random.Random) -> None:
    """Let the relay begin to take rows away, or kill it before: every third life ends at a random moment."""
    if chance.random() < 1 / 3:
        time.sleep(chance.uniform(0.0, 0.5))  # the random moment of a kill; real time is the subject here
    else:
        before = _waiting(books)
        eventually(lambda: _waiting(books) < before, within_s=120)


def _stored(transport: Transport, mark: str) -> list[tuple[str, str]]:
    """(case, event id) of each record of this run, partition by partition."""
    reader = transport.reader()
    places = [Partition(ASSIGNED, n) for n in range(reader.partitions(ASSIGNED))]
    found = []
    for place, (first, end) in reader.bounds(places).items():
        for record in reader.read(place, first, end):
            event = (dict(record.headers).get("ce_id") or b"").decode()
            if event.startswith(mark):
                found.append(((record.key or b"").decode(), event))
    reader.close()
    return found


@pytest.mark.parametrize(
    ("broken", "point", "wrong"),
    [
        ("effect first", "committed", "twice"),
        ("note first", "committed", "lost"),
        ("told first", "stored offsets", "lost"),
    ],
)
def test_with_a_guard_removed_the_same_kills_are_found_out(world: World, broken: str, point: str, wrong: str) -> None:
    """Negative controls: another transaction for the memory, or the acknowledgement before the commit."""
    for number in range(3):
        world.kill("take", point=point, broken=broken, hits=number % 3 + 1)
    world.finish(broken=broken)
    found = world.wrong()
    assert found[wrong] > 0, found
    assert found["balances"] > 0, found

"""SQL inbox, outbox and relay under SIGKILL: every balance equals the model, nothing twice, nothing lost, in order."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from bus.message import Record
from bus.testing import START, eventually, memory_bus, memory_cluster
from connectors.database import READING
from schemas.requests import RequestCreated
from tests.torture import bars
from tests.torture.killer import Zygote
from tests.torture.sql_life import ASKED, PARTITIONS, RELAYING, TAKING, Books, cents_of

pytestmark = pytest.mark.torture

PEOPLE = 40
EACH, RANDOM = bars.sized(50, 1), bars.sized(500, 10)
RELAY_EACH, RELAY_RANDOM = bars.sized(15, 1), bars.sized(60, 4)
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
    for number in range(4):
        world.kill("take", point=point, broken=broken, hits=number % 3 + 1)
    world.finish(broken=broken)
    found = world.wrong()
    assert found[wrong] > 0, found
    assert found["balances"] > 0, found

"""The actors of the kill run, each one real process: publishers, clerks with an outbox, relays, workers, consumers.

Forked by `tests.torture.zygote`. They use the bus as an agency's own programs would: `connect`, `publish_all`,
`Outbox.add_all`, `subscribe`, `agencybus worker run`, `agencybus connector run outbox-relay`. What the run must not
lose they keep themselves: a publisher a journal of what was acknowledged, a consumer its effects and the ids behind
them in one SQLite transaction. Each guard of the consumer can be left out by name, for the negative controls. The
consumer's SQLite does not sync: a killed process loses nothing it has written.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select

from bus.compose import Publication
from bus.core import transport_of
from bus.errors import Unreachable
from bus.message import Message, Partition, Receipt, Record
from bus.settings import Settings
from bus.wiring import connect
from connectors.database import open_database
from connectors.outbox import Outbox
from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.torture.history import Place, Recorder

RECORDED, FOLLOWED = "replay.activity.recorded.v1", "replay.activity.followed.v1"
SESSION_MS = 6_000
_BURST = 5  # events of one case in a row: several of a key are under way at once
_CHUNK = 200
_START = datetime(2026, 1, 5, 8, tzinfo=UTC)
_PAUSE_S = 0.05


def plan(name: str, *, seed: int, keys: int, each: int) -> list[tuple[str, int]]:
    """The events of one publisher in the order it tells them: (case, n), n from 1 for each case.

    Args:
        name: of the publisher; its cases are its own. seed: of the order. keys: cases. each: events of a case.
    """
    chance = random.Random(f"{seed} {name}")
    left = {f"{name}-{number}": 1 for number in range(keys)}
    told: list[tuple[str, int]] = []
    cases = list(left)
    while cases:
        index = chance.randrange(len(cases))
        case = cases[index]
        first = left[case]
        last = min(each, first + chance.randrange(_BURST))
        told += [(case, n) for n in range(first, last + 1)]
        left[case] = last + 1
        if last == each:
            cases[index] = cases[-1]
            cases.pop()
    return told


class Pace:
    """The time of the run, in seconds, told by its director and read by its actors: it waits for a slow machine.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "pace", os.O_RDWR | os.O_CREAT, 0o600)

    def tell(self, seconds: float) -> None:
        """The director's."""
        os.pwrite(self._file, struct.pack("d", seconds), 0)

    def read(self) -> float:
        """What was told last; 0 before."""
        raw = os.pread(self._file, 8, 0)
        return float(struct.unpack("d", raw)[0]) if len(raw) == 8 else 0.0


def _publication(case: str, n: int, *, each: int) -> Publication:
    event = ActivityRecorded(run="torture", activity="step", sequence=n, last=n == each)
    return Publication(event=event, case=case, id=f"{case}-{n}", time=_START + timedelta(seconds=n))


def publisher(
    *,
    actor: str,
    folder: str,
    bootstrap: str,
    cases: str,
    seed: int,
    keys: int,
    each: int,
    per_s: float,
    deadline_s: float,
) -> None:
    """Publish the plan of `cases`, `per_s` events a second of the run's own time; go on where the journal ends.

    Args:
        actor: this incarnation. folder: of the run. bootstrap: the cluster.
        cases: name of the plan. seed, keys, each: as `plan`.
        per_s: events a second of `Pace`. deadline_s: of one publish.
    """
    recorder = Recorder(Path(folder), actor)
    pace = Pace(Path(folder))
    journal = Path(folder) / f"{cases}.acked"
    acked = set(journal.read_text().split("\n")) if journal.exists() else set()
    left = [event for event in plan(cases, seed=seed, keys=keys, each=each) if f"{event[0]}-{event[1]}" not in acked]
    told = keys * each - len(left)
    settings = Settings(bootstrap=bootstrap, publish_deadline_s=deadline_s)
    with connect(agency="replay", settings=settings) as bus, journal.open("a", buffering=1) as file:
        while left:
            due = int(pace.read() * per_s) - told
            chunk, later = left[: min(due, _CHUNK)], left[max(0, min(due, _CHUNK)) :]
            if due <= 0:
                time.sleep(_PAUSE_S)
                continue
            recorder.note("called", [_nowhere(event) for event in chunk])
            results = bus.publish_all([_publication(case, n, each=each) for case, n in chunk])
            stored = [(event, r) for event, r in zip(chunk, results, strict=True) if isinstance(r, Receipt)]
            recorder.note("acked", [(RECORDED, r.partition, r.offset, *event) for event, r in stored])
            file.write("".join(f"{r.id}\n" for _, r in stored))
            told += len(stored)
            again = [(event, r) for event, r in zip(chunk, results, strict=True) if not isinstance(r, Receipt)]
            recorder.note("failed", [_nowhere(event) for event, r in again if isinstance(r, Unreachable)])
            recorder.note("unknown", [_nowhere(event) for event, r in again if not isinstance(r, Unreachable)])
            left = [event for event, _ in again] + later


def _nowhere(event: tuple[str, int]) -> Place:
    return (RECORDED, -1, -1, *event)


def clerk(*, actor: str, folder: str, cases: str, seed: int, keys: int, each: int, per_s: float) -> None:
    """Write the plan of `cases` into an outbox, with the note that it was written in the same transaction.

    Args:
        actor: this incarnation. folder: of the run.
        cases: name of the plan. seed, keys, each: as `plan`.
        per_s: events a second of `Pace`.
    """
    recorder = Recorder(Path(folder), actor)
    pace = Pace(Path(folder))
    metadata = MetaData()
    outbox = Outbox(metadata, agency="replay")
    written = Table(
        "written", metadata, Column("place", Integer, primary_key=True), Column("key", Text), Column("n", Integer)
    )
    engine = open_database(outbox_url(folder))
    metadata.create_all(engine)
    with engine.connect() as connection:
        before = [(row.key, row.n) for row in connection.execute(select(written).order_by(written.c.place))]
    recorder.note("acked", [_nowhere(event) for event in before[-_CHUNK:]])  # its kill may have come before the note
    had = set(before)
    left = [event for event in plan(cases, seed=seed, keys=keys, each=each) if event not in had]
    told = len(had)
    while left:
        due = int(pace.read() * per_s) - told
        if due <= 0:
            time.sleep(_PAUSE_S)
            continue
        chunk, left = left[: min(due, _CHUNK)], left[min(due, _CHUNK) :]
        recorder.note("called", [_nowhere(event) for event in chunk])
        with engine.begin() as connection:
            outbox.add_all(connection, [_publication(case, n, each=each) for case, n in chunk])
            connection.execute(insert(written), [{"key": case, "n": n} for case, n in chunk])
        recorder.note("acked", [_nowhere(event) for event in chunk])
        told += len(chunk)


def outbox_url(folder: str) -> str:
    """The clerk's database."""
    return f"sqlite:///{folder}/outbox.db"


def relay(*, actor: str, bootstrap: str, folder: str) -> None:
    """``agencybus connector run outbox-relay`` on the clerk's database.

    Args:
        actor: this incarnation. bootstrap: the cluster. folder: of the run.
    """
    del actor
    _command(bootstrap, "connector", "run", "outbox-relay", "--database", outbox_url(folder))


def worker(*, actor: str, bootstrap: str, process: str, host: str, instance: str) -> None:
    """``agencybus worker run``, without the supervisor above it: the run is its supervisor.

    Args:
        actor: this incarnation. bootstrap: the cluster. process: its name. host: faust or aiokafka.
        instance: static member name; empty for a dynamic member.
    """
    del actor
    os.environ["AGENCYBUS_WORKER_CHILD"] = str(os.getppid())
    static = ["--instance", instance] if instance else []
    _command(bootstrap, "worker", "run", process, "--host", host, *static)


def _command(bootstrap: str, *words: str) -> None:
    """Become this command."""
    os.environ["AGENCYBUS__BOOTSTRAP"] = bootstrap
    os.environ["AGENCYBUS__SESSION_TIMEOUT_MS"] = str(SESSION_MS)
    sys.argv = ["agencybus", *words]
    from bus.cli.main import run

    run()


class _RecordingTransport:
    """The transport, with what its consumers are given written down."""

    def __init__(self, inner: Any, recorder: Recorder, *, commit_first: bool) -> None:
        self._inner = inner
        self._recorder = recorder
        self._commit_first = commit_first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def consumer(self, *given: Any, **named: Any) -> Any:
        inner = self._inner.consumer(*given, **named)
        return _RecordingConsumer(inner, self._recorder, commit_first=self._commit_first)


class _RecordingConsumer:
    """The `Consumer` port. A session ends with the group's generation and with each seek: then offsets may go back."""

    def __init__(self, inner: Any, recorder: Recorder, *, commit_first: bool) -> None:
        self._inner = inner
        self._recorder = recorder
        self._codec = Codec(standard())
        self._commit_first = commit_first
        self._seeks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def poll(self, **given: Any) -> list[Record]:
        records: list[Record] = self._inner.poll(**given)
        generation = self._inner._consumer._coordinator._generation.generation_id
        places = [self._place(record) for record in records if record.topic == FOLLOWED]
        self._recorder.note("polled", places, actor=f"{self._recorder.actor}/{generation}.{self._seeks}")
        if self._commit_first and records:
            self.commit({Partition(r.topic, r.partition): r.offset + 1 for r in records})
        return records

    def commit(self, positions: Mapping[Partition, int]) -> None:
        called = time.monotonic_ns()
        self._inner.commit(positions)
        places: list[Place] = [(p.topic, p.number, at, "", -1) for p, at in positions.items()]
        self._recorder.note("committed", places, t=called)

    def seek(self, positions: Mapping[Partition, int]) -> None:
        self._seeks += 1
        self._inner.seek(positions)

    def _place(self, record: Record) -> Place:
        event = self._codec.decode(record.value or b"", ActivityFollowed, record.headers)
        return record.topic, record.partition, record.offset, (record.key or b"").decode(), event.sequence


class _NeverSeen:
    """A memory that forgets at once (negative control)."""

    def has(self, partition: Partition, mark: str) -> bool:
        return False

    def add(self, partition: Partition, mark: str) -> None:
        return


class Books:
    """The consumer's own database: each effect with the id that had it, in one transaction.

    Args:
        path: of the file. dedupe: whether an id that had its effect is refused.
    """

    def __init__(self, path: Path, *, dedupe: bool) -> None:
        self._dedupe = dedupe
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("CREATE TABLE IF NOT EXISTS inbox (source TEXT, id TEXT, PRIMARY KEY (source, id))")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS effects (seq INTEGER PRIMARY KEY, t INTEGER, actor TEXT, key TEXT, n INTEGER)"
        )

    def enter(self, message: Message, event: ActivityFollowed, actor: str) -> None:
        """Have the effect of an event, unless its id had it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            mark = (message.envelope.source, message.envelope.id)
            new = self._db.execute("INSERT OR IGNORE INTO inbox VALUES (?, ?)", mark).rowcount
            if new or not self._dedupe:
                key = (message.record.key or b"").decode()
                effect = (time.monotonic_ns(), actor, key, event.sequence)
                self._db.execute("INSERT INTO effects (t, actor, key, n) VALUES (?, ?, ?, ?)", effect)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def count(self) -> int:
        """How many effects there are."""
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM effects").fetchone()[0])

    def effects(self) -> Iterator[tuple[int, str, str, int]]:
        """Every effect in its order: when, by whom, of which event."""
        yield from self._db.execute("SELECT t, actor, key, n FROM effects ORDER BY seq")

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def consumer(
    *,
    actor: str,
    folder: str,
    bootstrap: str,
    group: str,
    dedupe: bool = True,
    commit_first: bool = False,
    dies_at: int | None = None,
) -> None:
    """Subscribe to what the workflow says and have its effects, for ever.

    Args:
        actor: this incarnation. folder: of the run. bootstrap: the cluster. group: consumer group.
        dedupe: refuse ids that had their effect. commit_first: commit before the effect.
        dies_at: how many effects the books hold when it kills itself, once, between an effect and its commit, or
            between a commit and its effect.
    """
    recorder = Recorder(Path(folder), actor)
    settings = Settings(bootstrap=bootstrap, session_timeout_ms=SESSION_MS)
    transport = _RecordingTransport(transport_of(settings), recorder, commit_first=commit_first)
    seen = None if dedupe else _NeverSeen()
    books = Books(Path(folder) / "books.db", dedupe=dedupe)
    died = Path(folder) / "died"
    with closing(books), connect(settings=settings, transport=transport) as bus:
        for delivery in bus.subscribe(ActivityFollowed, group=group, seen=seen):
            with delivery as event:
                # A kill from outside may fall between two polls, where commit and effects agree even without a guard.
                dying = dies_at is not None and books.count() >= dies_at and not died.exists()
                if not (dying and commit_first):
                    books.enter(delivery.message, event, actor)
                if dying:
                    died.touch()
                    os.kill(os.getpid(), signal.SIGKILL)


PRELOAD: Sequence[str] = (
    "tests.torture.actors",
    "bus.cli.main",
    "agents.faust_host",
    "agents.aiokafka_host",
    "connectors.cli_database",
    "kafka",
)

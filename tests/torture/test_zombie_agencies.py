"""Zombies among agencies' programs: subscriptions, inboxes and relays that are stopped, overtaken and resumed.

As in `test_zombies`, each stops itself at a named moment, and all of a test sleep at the same time.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from bus.compose import Publication
from bus.message import Partition, Receipt, Record
from bus.middleware.parking import Entry, is_command, unpack
from bus.wiring import connect
from connectors.database import READING, open_database
from schemas.envelope import from_headers
from schemas.recorded import ActivityRecorded
from tests.bus.offices import Capture, Desk
from tests.postgres import Postgres
from tests.torture import bars
from tests.torture.zombie_agencies import Books, effects
from tests.torture.zombies import RECORDED, Actor, World, armed, until

pytestmark = [pytest.mark.kafka, pytest.mark.torture, pytest.mark.timeout(1_800)]

ACTED = "bus.operator.acted.v1"
CASES = 12
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
SAID = "has given this member's partitions away"


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("zombies")
    with World.on(kafka, folder, [RECORDED, ACTED], "tests.torture.zombie_agencies") as found:
        yield found


@dataclass
class Scene:
    """A subscription that becomes a zombie, its successor, and what their group's events had for effects.

    Args:
        world: where. group: its name; its cases begin with it. at, fails, database, fenced, unique: see `subscriber`.
    """

    world: World
    group: str
    at: str
    fails: str = ""
    database: str = ""
    fenced: bool = True
    unique: bool = True
    actors: list[Actor] = field(default_factory=list)
    before: dict[Partition, int] = field(default_factory=dict)
    after: dict[Partition, int] = field(default_factory=dict)

    def create(self) -> None:
        """Make its tables."""
        books = Books(self.database, self.group)
        books.metadata.create_all(books.engine)
        books.engine.dispose()

    def start(self, name: str, **more: object) -> Actor:
        """Start a subscription."""
        target, tag = "tests.torture.zombie_agencies:subscriber", f"{self.group}.{name}"
        own = {"group": self.group, "database": self.database, "fenced": self.fenced, "unique": self.unique}
        actor = Actor(self.world, tag, target, **own, **more)
        self.actors.append(actor)
        return actor

    @property
    def zombie(self) -> Actor:
        """The one that is stopped."""
        return self.actors[0]

    @property
    def successor(self) -> Actor:
        """The one that overtakes it."""
        return self.actors[1]

    @property
    def cases(self) -> list[str]:
        """Its cases."""
        return [f"{self.group}-{index}" for index in range(CASES)]

    def effects(self) -> list[tuple[str, str, int]]:
        """Actor, case and number of each effect, in their order."""
        if not self.database:
            file = effects(self.world.folder, self.group)
            lines = file.read_text().splitlines() if file.exists() else []
            return [(actor, case, int(n)) for actor, case, n in map(str.split, lines)]
        books = Books(self.database, self.group)
        with books.engine.connect() as connection:
            mine = select(books.effects).where(books.effects.c.case.startswith(f"{self.group}-"))
            rows = connection.execution_options(**READING).execute(mine.order_by(books.effects.c.place)).all()
        books.engine.dispose()
        return [(row.actor, row.case, row.n) for row in rows]

    def had(self, *numbers: int, but: str = "") -> bool:
        """Whether these events of all cases but one had their effects."""
        there = {(case, n) for _, case, n in self.effects()}
        return {(case, n) for case in self.cases for n in numbers if case != but} <= there

    def twice(self) -> list[tuple[str, int]]:
        """Events that had their effect more than once."""
        counts = Counter((case, n) for _, case, n in self.effects())
        return sorted(event for event, count in counts.items() if count > 1)

    def disorder(self) -> list[str]:
        """Cases whose first effects are not in the order of their events."""
        firsts: dict[str, list[int]] = {}
        for _, case, n in self.effects():
            if n not in firsts.setdefault(case, []):
                firsts[case].append(n)
        return [case for case, found in firsts.items() if found != sorted(found)]

    @property
    def quiet(self) -> bool:
        """Whether the group has committed all there is: then nothing is delivered again when its members change."""
        return self.world.committed(self.group).items() >= self.world.ends(RECORDED).items()

    def aside(self) -> dict[str, list[Entry]]:
        """What is parked, by case."""
        rows = {(r.partition, r.key or b""): r.value for r in self.world.read(f"{self.group}.parked")}
        entries = [unpack(value) for (_, key), value in rows.items() if value is not None and not is_command(key)]
        found: dict[str, list[Entry]] = {}
        for entry in entries:
            found.setdefault((entry.record.key or b"").decode(), []).append(entry)
        return found

    def letters(self) -> list[str]:
        """The cases of its dead letters."""
        return [(r.key or b"").decode() for r in self.world.read(f"{self.group}.dead")]


def publish(world: World, scenes: Sequence[Scene], *numbers: int) -> None:
    """Publish these events of all cases of all scenes."""
    told = [
        Publication(
            event=ActivityRecorded(run="zombies", activity="step", sequence=n, last=False),
            case=case,
            id=f"{case}-{n}",
            time=START + timedelta(seconds=n),
        )
        for n in numbers
        for scene in scenes
        for case in scene.cases
    ]
    with connect(agency="replay", bootstrap=world.bootstrap) as bus:
        results = bus.publish_all(told)
    assert all(isinstance(result, Receipt) for result in results), results


def fall_asleep(world: World, scenes: Sequence[Scene]) -> list[Actor]:
    """Let every scene's subscription stop at its moment, with event 3 of a case in hand."""
    everyone = [scene.start("zombie", first=True, at=scene.at, fails=scene.fails) for scene in scenes]
    until(lambda: all(actor.ready for actor in everyone), "ready", everyone)
    publish(world, scenes, 1, 2)
    until(lambda: all(scene.had(1, 2) for scene in scenes), "the first effects", everyone)
    until(lambda: all(scene.quiet for scene in scenes), "committed", everyone)
    for actor in everyone:
        actor.arm()
    publish(world, scenes, 3)
    until(lambda: all(actor.asleep for actor in everyone), "all asleep", everyone)
    return everyone


def be_overtaken(world: World, scenes: Sequence[Scene]) -> None:
    """Let the successors take over, and event 4 come."""
    for scene in scenes:
        scene.start("successor")
    until(lambda: all(world.settled(s.group) == 1 for s in scenes), "overtaken", [s.successor for s in scenes])
    publish(world, scenes, 4)


def wake(world: World, scenes: Sequence[Scene]) -> None:
    """Let the zombies go on, until they work as members of their groups again."""
    for scene in scenes:
        scene.before = world.committed(scene.group)
        scene.zombie.signal(signal.SIGCONT)
    everyone = [actor for scene in scenes for actor in scene.actors]
    until(lambda: all(world.settled(scene.group) == 2 for scene in scenes), "they share", everyone)
    for scene in scenes:
        scene.after = world.committed(scene.group)


def end(actors: Sequence[Actor]) -> None:
    """SIGINT; each leaves its group and ends well."""
    for actor in actors:
        actor.signal(signal.SIGINT)
    until(lambda: all(actor.code is not None for actor in actors), "ended", actors)
    assert [actor.code for actor in actors] == [0] * len(actors)


def back(world: World, scene: Scene) -> list[str]:
    """Where the group's commits went back."""
    steps = [scene.before, scene.after, world.committed(scene.group)]
    return [
        f"{scene.group}: the commit of {p} goes back from {at} to {later.get(p)}"
        for earlier, later in pairwise(steps)
        for p, at in earlier.items()
        if later.get(p, 0) < at
    ]


@pytest.fixture(scope="module")
def awake(world: World, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Subscriptions without and with an inbox, with and without their guards, all of which have become zombies."""
    plain = [("handling", ""), ("handling", "bug"), ("parking", "bug"), ("burying", "refused")]
    noting = [("sqlite", "taken", True), ("postgresql", "noted", True), ("sqlite", "taken", False)]
    if bars.FULL:
        plain += [("handling", "refused"), ("committing", "")]
        noting += [("postgresql", "taken", True), ("sqlite", "noted", True), ("postgresql", "taken", False)]
    scenes = [Scene(world, f"{world.mark}-{at}-{fails or 'well'}", at, fails) for at, fails in plain]
    scenes.append(Scene(world, f"{world.mark}-bare", "handling", "bug", fenced=False))
    folder = tmp_path_factory.mktemp("books")
    for n, (name, at, unique) in enumerate(noting):
        url = f"sqlite:///{folder}/{n}.db" if name == "sqlite" else postgres.fresh()
        group = f"{world.mark}-{name}-{at}-{'key' if unique else 'bare'}"
        scenes.append(Scene(world, group, at, database=url, unique=unique))
        scenes[-1].create()
    fall_asleep(world, scenes)
    be_overtaken(world, scenes)
    for scene in scenes:
        if scene.at == "noted" and scene.database.startswith("postgresql"):
            cut(scene.database, "state = 'idle in transaction'")
    # On SQLite nobody can write until the zombie's transaction has ended.
    free = [s for s in scenes if s.at != "noted" or not s.database.startswith("sqlite")]
    until(lambda: all(s.had(3, 4) and s.quiet for s in free), "they went further", [s.successor for s in free])
    wake(world, scenes)
    until(lambda: all(s.had(3, 4) for s in scenes), "so did the others", [a for s in scenes for a in s.actors])
    publish(world, scenes, 5)
    return scenes


def test_a_subscription_that_wakes_up_after_its_session_changes_nothing(
    world: World, awake: list[Scene], capsys: Capture, bar: Callable[..., None]
) -> None:
    """What remains is seen too: one copy, stored after the commit that would have fenced it an instant later."""
    scenes = [scene for scene in awake if not scene.database and scene.fenced]
    successors = [scene.successor for scene in scenes]
    stored = {scene.group: (scene.aside(), scene.letters()) for scene in scenes}
    parked = {group: next(iter(aside), "") for group, (aside, _) in stored.items()}
    until(lambda: all(s.had(5, but=parked[s.group]) and s.quiet for s in scenes), "they share the work", successors)
    end([scene.zombie for scene in scenes])
    for scene in scenes:
        if case := parked[scene.group]:
            Desk(world.bootstrap, scene.group, capsys).run("parked", "release", "--case", case, "--wait", "30")
    until(lambda: all(s.had(5) and not s.aside() for s in scenes), "released", successors)
    end(successors)
    found = [what for scene in scenes for what in (*wrong(scene, *stored[scene.group]), *back(world, scene))]
    bar(
        "Zombie subscriptions",
        demanded=f"{len(scenes)} stopped and overtaken: no event passed over, no late commit, letter or parked row",
        measured=f"{len(scenes)} stopped: {len(found)} anomalies",
        ok=not found,
        twice={scene.group: len(scene.twice()) for scene in scenes},
        anomalies=found,
    )


def test_without_the_commit_before_it_a_zombie_parks_what_its_successor_has_handled(awake: list[Scene]) -> None:
    (bare,) = (scene for scene in awake if not scene.fenced)
    assert bare.aside()


def wrong(scene: Scene, aside: Mapping[str, Sequence[Entry]], letters: Sequence[str]) -> Iterator[str]:
    """What a zombie's late words did that bus/DESIGN.md does not say, in words.

    Args:
        scene: over. aside, letters: what was parked and buried when the zombie had spoken.
    """
    late = {(case, 3) for actor, case, n in scene.effects() if actor == scene.zombie.name and n == 3}
    # Without an inbox: what it has in hand when it wakes, or what it had not committed when it fell asleep.
    if {*scene.twice()} != (late if scene.at in {"handling", "committing"} else set()):
        yield f"{scene.group}: twice {scene.twice()}, of the zombie's {late}"
    if not scene.fails and SAID not in scene.zombie.log():
        yield f"{scene.group}: the zombie did not say that it was overtaken"
    if sum(not entry.queued for entries in aside.values() for entry in entries) != (scene.at == "parking"):
        yield f"{scene.group}: parked {aside}"
    if len(letters) != (scene.at == "burying"):
        yield f"{scene.group}: letters {letters}"
    yield from (f"{case}: out of order" for case in scene.disorder())


def test_an_inbox_refuses_the_effect_of_a_transaction_that_comes_late(
    world: World, awake: list[Scene], bar: Callable[..., None]
) -> None:
    scenes = [scene for scene in awake if scene.database and scene.unique]
    everyone = [actor for scene in scenes for actor in scene.actors]
    until(lambda: all(s.had(5) and s.quiet for s in scenes), "they share the work", everyone)
    end(everyone)
    found = [f"{s.group}: twice {s.twice()}" for s in scenes if s.twice()]
    found += [what for s in scenes for what in (*back(world, s), *(f"{case}: out of order" for case in s.disorder()))]
    bar(
        "Zombie inboxes, both databases",
        demanded=f"{len(scenes)} stopped and overtaken: each effect once, none lost, in order",
        measured=f"{len(scenes)} stopped: {len(found)} anomalies",
        ok=not found,
        anomalies=found,
    )


def test_without_its_unique_key_an_inbox_takes_the_late_effect_for_a_new_one(awake: list[Scene]) -> None:
    bare = [scene for scene in awake if not scene.unique]
    assert bare
    assert all(any(n == 3 for _, n in scene.twice()) for scene in bare)


def cut(database: str, which: str) -> None:
    """End sessions of a database, as its own timeouts or a failover would."""
    engine = open_database(database)
    with engine.connect() as connection:
        connection.execute(
            text(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND {which}"
            )
        )
    engine.dispose()


def test_a_subscription_whose_group_has_lost_its_commits_begins_again_and_passes_over_nothing(
    world: World, fresh: Callable[[str], str], tmp_path: Path, bar: Callable[..., None]
) -> None:
    """Beside an inbox nothing happens twice; without one everything that is stored comes again."""
    plain = Scene(world, f"{fresh('f')}-plain", "")
    kept = Scene(world, f"{fresh('f')}-inbox", "", database=f"sqlite:///{tmp_path}/books.db")
    kept.create()
    scenes = [plain, kept]
    for scene in scenes:
        scene.start("before", first=True)
    everyone = [scene.actors[0] for scene in scenes]
    until(lambda: all(actor.ready for actor in everyone), "ready", everyone)
    publish(world, scenes, 1, 2)
    until(lambda: all(scene.had(1, 2) for scene in scenes), "the first effects", everyone)
    refusals = {error for scene in scenes for error in world.forget_commits(scene.group, RECORDED)}
    end(everyone)
    for scene in scenes:
        world.forget_group(scene.group)
    publish(world, scenes, 3)
    everyone = [scene.start("after") for scene in scenes]
    publish(world, scenes, 4)
    until(lambda: all(scene.had(3, 4) and scene.quiet for scene in scenes), "they began again", everyone)
    end(everyone)
    again = sorted((case, n) for case in plain.cases for n in (1, 2))
    found = [f"{case}: out of order" for scene in scenes for case in scene.disorder()]
    bar(
        "Subscriptions whose group lost its commits",
        demanded="passed over 0; twice 0 beside an inbox, without one all that came before",
        measured=f"{len(found)} out of order; twice {len(kept.twice())} beside an inbox, {len(plain.twice())} without",
        ok=not found and not kept.twice() and plain.twice() == again and refusals == {"GroupSubscribedToTopicError"},
        refused_while_it_works=sorted(refusals),
        anomalies=found,
    )


# -- the relay of an outbox -------------------------------------------------------------------------------------------


@dataclass
class Outboxes:
    """An outbox, the relays of it, and what was written into it.

    Args:
        world: where. group: its name; its cases begin with it. at: see `relay`. database: where the outbox is.
    """

    world: World
    group: str
    at: str
    database: str
    actors: list[Actor] = field(default_factory=list)
    written: dict[str, list[str]] = field(default_factory=dict)

    def write(self, each: int) -> None:
        """Add so many events to each of its cases, in one transaction each, turn about."""
        books = Books(self.database, self.group)
        books.metadata.create_all(books.engine)
        for _ in range(each):
            for case in (f"{self.group}-{index}" for index in range(CASES)):
                told = self.written.setdefault(case, [])
                n = len(told) + 1
                event = ActivityRecorded(run="zombies", activity="step", sequence=n, last=False)
                with books.engine.begin() as connection:
                    told.append(books.outbox.add(connection, event, case=case, id=f"{case}-{n}"))
        books.engine.dispose()

    @property
    def waiting(self) -> int:
        """How many rows are left."""
        books = Books(self.database, self.group)
        with books.engine.connect() as connection:
            count = select(func.count()).select_from(books.outbox.table)
            found = int(connection.execution_options(**READING).execute(count).scalar_one())
        books.engine.dispose()
        return found

    def start(self, name: str, **more: object) -> Actor:
        """Start a relay."""
        target, tag = "tests.torture.zombie_agencies:relay", f"{self.group}.{name}"
        actor = Actor(self.world, tag, target, group=self.group, database=self.database, **more)
        self.actors.append(actor)
        return actor

    def break_lock(self) -> None:
        """Take the lock from whoever holds it, as a failover of the database or a foreign hand would."""
        if self.database.startswith("postgresql"):
            cut(self.database, "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')")
        else:
            Path(f"{self.database.removeprefix('sqlite:///')}-outbox-relay").unlink()

    def wrong(self, stored: Sequence[Record]) -> Iterator[str]:
        """What was lost, came out of order, or stands for two events."""
        bodies: dict[str, set[tuple[object, ...]]] = {}
        firsts: dict[str, list[str]] = {}
        for r in stored:
            case, event_id = (r.key or b"").decode(), from_headers(r.headers).id
            if case in self.written:
                bodies.setdefault(event_id, set()).add((r.key, r.value, r.headers))
                if event_id not in firsts.setdefault(case, []):
                    firsts[case].append(event_id)
        yield from (
            f"{case}: {firsts.get(case)}, not {ids}" for case, ids in self.written.items() if firsts.get(case) != ids
        )
        yield from (f"id {event_id} stands for two events" for event_id, found in bodies.items() if len(found) > 1)


def test_a_relay_that_was_stopped_and_lost_its_lock_can_only_repeat(
    world: World, fresh: Callable[[str], str], postgres: Postgres, tmp_path: Path, bar: Callable[..., None]
) -> None:
    kinds = [("sqlite", "read"), ("postgresql", "sent")]
    if bars.FULL:
        kinds += [("sqlite", "sent"), ("postgresql", "read")]
    outboxes = [
        Outboxes(
            world,
            f"{fresh('o')}-{name}-{at}",
            at,
            f"sqlite:///{tmp_path}/{n}.db" if name == "sqlite" else postgres.fresh(),
        )
        for n, (name, at) in enumerate(kinds)
    ]
    for outbox in outboxes:
        outbox.write(3)
        armed(world.folder, f"{outbox.group}.zombie").touch()
        outbox.start("zombie", at=outbox.at)
    everyone = [outbox.actors[0] for outbox in outboxes]
    until(lambda: all(actor.asleep for actor in everyone), "asleep", everyone)
    for outbox in outboxes:
        outbox.break_lock()
        everyone.append(outbox.start("successor"))
        outbox.write(2)
    until(lambda: not any(outbox.waiting for outbox in outboxes), "the successors relayed all", everyone)
    for outbox in outboxes:
        outbox.actors[0].signal(signal.SIGCONT)
        outbox.write(3)
    until(lambda: not any(outbox.waiting for outbox in outboxes), "all is relayed", everyone)
    end(everyone)
    stored = world.read(RECORDED)
    found = [what for outbox in outboxes for what in outbox.wrong(stored)]
    copies = Counter(event_id for r in stored for event_id in [from_headers(r.headers).id])
    written = [event_id for outbox in outboxes for ids in outbox.written.values() for event_id in ids]
    repeats = sum(copies[event_id] - 1 for event_id in written)
    bar(
        "Zombie relays, both databases",
        demanded=f"{len(outboxes)} stopped and overtaken, {len(written)} events: lost 0, in order, repeats by id only",
        measured=f"{len(outboxes)} stopped: {len(found)} anomalies, {repeats} repeats",
        ok=not found and repeats > 0,  # without a repetition nothing was overtaken
        anomalies=found,
    )
    for outbox in outboxes:
        if outbox.database.startswith("postgresql"):
            assert "Nothing is lost; the outbox waits." in outbox.actors[0].log()

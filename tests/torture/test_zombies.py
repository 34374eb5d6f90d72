"""Zombies: a process is stopped beyond its session, overtaken and resumed. What it does late must change nothing.

Each zombie stops itself at a named moment (`tests.torture.zombies`), so what it has in hand is known; its successor has
gone further by the time it wakes. All zombies of a test sleep at the same time: a session is waited for once.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from agents import case as cases
from agents import case_log, shelf
from agents.case_log import Marker
from agents.membership import EXIT_MEMBERSHIP_LOST
from bus.broker import launcher
from bus.compose import Publication
from bus.message import Partition, Receipt
from bus.wiring import connect
from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.envelope import from_headers
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.torture import bars
from tests.torture.cluster import make_topics
from tests.torture.zombies import FOLLOWED, RECORDED, WORKING, Actor, World, until

pytestmark = [pytest.mark.kafka, pytest.mark.torture, pytest.mark.timeout(1_800)]

DEADLINES = "bus.deadline.missed.v1"
HOSTS = ("faust", "aiokafka")
CASES = 18
TOGETHER = 8  # scenes that are lived at the same time
CODEC = Codec(standard())
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
SAID = ("the group gave this member's partitions away; ending to start clean", "has another owner")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A broker of this module's own: nobody else publishes on it."""
    folder = Path(tempfile.mkdtemp(prefix="agencybus-zombies-"))
    try:
        bootstrap = launcher.up(folder / "broker", progress=lambda _: None, port=launcher.free_port()).bootstrap
        with World.on(bootstrap, folder) as found:
            make_topics(bootstrap, [RECORDED, FOLLOWED, DEADLINES], groups=[], workflows=[], brokers=1)
            yield found
    finally:
        launcher.down(folder / "broker", progress=lambda _: None)
        shutil.rmtree(folder, ignore_errors=True)


# -- workers --------------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """One zombie worker, its successor, and the cases of their group.

    Of the cases a third end with event 4, which the zombie has in hand when it stops; a third with event 5, which only
    its successor gets; a third with event 6, which comes to whoever works after them.
    """

    world: World
    host: str
    at: str
    round: int = 0
    deaf: bool = False
    fenced: bool = True
    actors: list[Actor] = field(default_factory=list)
    before: dict[Partition, int] = field(default_factory=dict)
    after: dict[Partition, int] = field(default_factory=dict)
    ends: dict[Partition, int] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The group's name, which its cases begin with; none begins with another's."""
        words = ("fenced" if self.fenced else "bare", self.host, self.at, "deaf" if self.deaf else "told")
        return f"{'-'.join(words)}-{self.round}"

    def events(self, *numbers: int) -> list[Publication]:
        """These events of all cases that have them."""
        found = []
        for n in numbers:
            for index in range(CASES):
                last = 4 + index % 3
                if n <= last:
                    event = ActivityRecorded(run="zombies", activity="step", sequence=n, last=n == last)
                    case = f"{self.group}-{index}"
                    found.append(
                        Publication(event=event, case=case, id=f"{case}-{n}", time=START + timedelta(seconds=n))
                    )
        return found

    def start(self, name: str, **more: object) -> Actor:
        """Start a worker."""
        actor = Actor(
            self.world, f"{self.group}.{name}", "tests.torture.zombies:worker", group=self.group, host=self.host, **more
        )
        self.actors.append(actor)
        return actor

    @property
    def lasts(self) -> dict[str, int]:
        """Case -> number of its last event."""
        return {p.case or "": p.event.sequence for p in self.events(4, 5, 6)}  # type: ignore[attr-defined]

    def archived(self) -> dict[str, cases.Case]:
        """The cases that have ended."""
        found = [cases.from_bytes(record.value or b"") for record in self.world.read(f"{self.group}.archive")]
        return {case.id: case for case in found}

    def log(self) -> dict[int, list[tuple[int, bytes, bytes | None]]]:
        """The rows of the case log by partition."""
        found: dict[int, list[tuple[int, bytes, bytes | None]]] = {}
        for record in self.world.read(f"{self.group}.cases"):
            found.setdefault(record.partition, []).append((record.offset, record.key or b"", record.value))
        return found

    @property
    def over(self) -> bool:
        """Whether all cases have ended."""
        return self.archived().keys() == self.lasts.keys()

    @property
    def zombie(self) -> Actor:
        """The one that is stopped."""
        return self.actors[0]

    @property
    def last(self) -> Actor:
        """The one started last."""
        return self.actors[-1]


def publish(world: World, scenes: Sequence[Scene], *numbers: int) -> None:
    """Publish these events of all scenes, in the order of their numbers."""
    with connect(agency="replay", bootstrap=world.bootstrap) as bus:
        results = bus.publish_all([p for number in numbers for scene in scenes for p in scene.events(number)])
    assert all(isinstance(result, Receipt) for result in results), results


class Follow(NamedTuple):
    """One event of the topic of what was followed: the event of the case it follows, its id, and all that it says."""

    number: int
    id: str
    place: tuple[int, int]
    said: tuple[object, ...]


def follows(world: World) -> dict[str, list[Follow]]:
    """What was followed of each case, in the order of its topic."""
    found: dict[str, list[Follow]] = {}
    for r in world.read(FOLLOWED):
        number = CODEC.decode(r.value or b"", ActivityFollowed, r.headers).sequence
        one = Follow(number, from_headers(r.headers).id, (r.partition, r.offset), (r.key, r.value, r.headers))
        found.setdefault((r.key or b"").decode(), []).append(one)
    return found


def all_followed(world: World, scenes: Sequence[Scene], *numbers: int) -> bool:
    """Whether these events of all scenes have been followed."""
    there = {(case, one.number) for case, found in follows(world).items() for one in found}
    return {(p.case, number) for scene in scenes for number in numbers for p in scene.events(number)} <= there


def wrong(scene: Scene, followed: Mapping[str, Sequence[Follow]]) -> list[str]:
    """Everything that is not as it must be, in words."""
    found = (
        *_wrong_ends(scene),
        *_wrong_outputs(scene, followed),
        *_wrong_cases(scene, followed),
        *_wrong_places(scene),
    )
    return [f"{scene.group}: {what}" for what in found]


def _wrong_ends(scene: Scene) -> Iterator[str]:
    """A zombie ends by itself and says why; whoever was told to stop ends well."""
    zombie, *others = scene.actors
    if zombie.code not in {EXIT_MEMBERSHIP_LOST, 1}:
        yield f"the zombie ended with {zombie.code}"
    if not any(said in zombie.log() for said in SAID):
        yield f"the zombie did not say why it ended: {zombie.log()[-300:]!r}"
    yield from (f"{other.name} ended with {other.code}: {other.log()[-300:]!r}" for other in others if other.code)


def _wrong_outputs(scene: Scene, followed: Mapping[str, Sequence[Follow]]) -> Iterator[str]:
    """One event of one id for each event of a case, in order; a second copy says the same."""
    for case, last in scene.lasts.items():
        copies = followed.get(case, ())
        first_copies = list(dict.fromkeys((one.number, one.id) for one in copies))
        if [number for number, _ in first_copies] != list(range(1, last + 1)):
            yield f"{case}: followed {first_copies}, expected each of 1 to {last} once and in order"
        if len({(one.id, one.said) for one in copies}) != len({one.id for one in copies}):
            yield f"{case}: an id stands for two events"
    dead = scene.world.read(f"{scene.group}.dead")
    if dead:
        yield f"{len(dead)} dead letters"


def _wrong_cases(scene: Scene, followed: Mapping[str, Sequence[Follow]]) -> Iterator[str]:
    """The archive and the case log, as whoever takes over next would read it."""
    archived = scene.archived()
    for case_id, last in scene.lasts.items():
        case = archived.get(case_id)
        if case is None or (case.outcome, len(case.applied)) != ("completed", last):
            yield f"{case_id}: ended as {case and (case.outcome, len(case.applied))}, expected {last} events"
            continue
        stands = {one.place: one.id for one in followed[case_id]}
        told = [mark for mark in case.trail if mark.id and mark.offset >= 0]
        yield from (
            f"{case_id}: the trail is wrong at {mark}"
            for mark in told
            if stands.get((mark.partition, mark.offset)) != mark.id
        )
    entries = {}
    for rows in scene.log().values():
        kept = shelf.recover(rows)
        entries.update({case_id: kept.get(case_id) for case_id in kept.entries})
    yield from (f"{case_id} is not closed" for case_id in scene.lasts if not isinstance(entries.get(case_id), Marker))


def _wrong_places(scene: Scene) -> Iterator[str]:
    """Positions in the log and commits of the group never go back, and cover everything at last."""
    for number, rows in scene.log().items():
        told = [case_log.unpack_positions(v or b"").inputs[RECORDED] for _, k, v in rows if k == case_log.POSITIONS]
        yield from (f"positions of {number} go back: {a} to {b}" for a, b in pairwise(told) if b < a)
    steps = [scene.before, scene.after, scene.world.committed(scene.group)]
    for earlier, later in pairwise(steps):
        yield from (f"the commit of {p} goes back from {at}" for p, at in earlier.items() if later.get(p, 0) < at)
    yield from (
        f"{p} is committed up to {steps[-1].get(p)} of {at}"
        for p, at in scene.world.ends(RECORDED).items()
        if steps[-1].get(p) != at
    )


def live(world: World, scenes: Sequence[Scene]) -> None:
    """Let every scene's worker become a zombie, be overtaken, wake and end; then a third one finishes its cases."""
    make_topics(world.bootstrap, [RECORDED], groups=[s.group for s in scenes], workflows=[], brokers=1)
    everyone = [scene.start("zombie", at=scene.at, deaf=scene.deaf, fenced=scene.fenced) for scene in scenes]
    until(lambda: all(actor.ready for actor in everyone), "ready", everyone)
    publish(world, scenes, 1, 2, 3)
    until(lambda: all_followed(world, scenes, 1, 2, 3), "the first events followed", everyone)
    for actor in everyone:
        actor.arm()
    publish(world, scenes, 4)
    until(lambda: all(actor.asleep for actor in everyone), "all asleep", everyone)
    everyone += [scene.start("successor") for scene in scenes]
    until(lambda: all(scene.last.ready for scene in scenes), "overtaken", everyone)
    publish(world, scenes, 5)
    until(lambda: all_followed(world, scenes, 4, 5), "the successors went further", everyone)
    for scene in scenes:
        scene.before = world.committed(scene.group)
        scene.zombie.signal(signal.SIGCONT)
    until(lambda: all(scene.zombie.code is not None for scene in scenes), "the zombies ended", everyone)
    for scene in scenes:
        scene.after = world.committed(scene.group)
        scene.last.signal(signal.SIGTERM)
    until(lambda: all(scene.last.code is not None for scene in scenes), "the successors stopped", everyone)
    everyone = [scene.start("third") for scene in scenes]
    publish(world, scenes, 6)
    # Without the fence events get lost, so there it may never be over.
    until(lambda: all(scene.over for scene in scenes if scene.fenced), "all over", everyone)
    for actor in everyone:
        actor.signal(signal.SIGTERM)
    until(lambda: all(actor.code is not None for actor in everyone), "stopped", everyone)
    for scene in scenes:
        scene.ends = world.ends(RECORDED)


@pytest.fixture(scope="module")
def workers(world: World) -> list[Scene]:
    """Scenes of workers, lived; the last of them without the fence."""
    moments = [(at, deaf) for at in WORKING for deaf in (False, True)]
    if not bars.FULL:
        moments = [("decided", True), ("sending", False)]
    rounds = range(bars.sized(3, 1))
    scenes = [Scene(world, host, at, n, deaf=deaf) for n in rounds for at, deaf in moments for host in HOSTS]
    scenes += [Scene(world, host, "decided", deaf=True, fenced=False) for host in HOSTS]
    for at in range(0, len(scenes), TOGETHER):
        live(world, scenes[at : at + TOGETHER])
    return scenes


def test_a_worker_that_wakes_up_after_its_session_changes_nothing(
    workers: list[Scene], bar: Callable[..., None]
) -> None:
    """Also one that hears late that the group has given it up: there the log alone is the fence."""
    scenes = [scene for scene in workers if scene.fenced]
    followed = follows(scenes[0].world)
    found = [what for scene in scenes for what in wrong(scene, followed)]
    copies = [followed.get(case, ()) for scene in scenes for case in scene.lasts]
    repeats = sum(len(of_one) - len({one.id for one in of_one}) for of_one in copies)
    bar(
        "Zombie workers",
        demanded=f"{len(scenes)} stopped and overtaken: cases as the model, no new id, nothing goes back",
        measured=f"{len(scenes)} stopped: {len(found)} anomalies, {repeats} repeats under their own ids",
        ok=not found,
        ended_because=dict(Counter(said for scene in scenes for said in SAID if said in scene.zombie.log())),
        anomalies=found[:20],
    )


def test_without_the_fence_the_same_checker_sees_what_a_zombie_overwrites(workers: list[Scene]) -> None:
    followed = follows(workers[0].world)
    for scene in workers[-len(HOSTS) :]:
        found = wrong(scene, followed)
        assert any("positions of" in what for what in found), found

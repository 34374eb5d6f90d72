"""Zombies: a process is stopped beyond its session, overtaken and resumed. What it does late must change nothing.

Each zombie stops itself at a named moment (`tests.torture.zombies`), so what it has in hand is known; its successor has
gone further by the time it wakes. All zombies of a test sleep at the same time: a session is waited for once.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import pytest

from agents import case as cases
from agents import case_bytes, case_log, shelf
from agents.case_log import Marker
from agents.membership import EXIT_MEMBERSHIP_LOST
from bus.compose import Publication
from bus.message import Partition, Receipt
from bus.wiring import connect
from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.envelope import from_headers
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.torture import bars
from tests.torture.zombies import FOLLOWED, RECORDED, WORKING, Actor, World, until

pytestmark = [pytest.mark.kafka, pytest.mark.torture, pytest.mark.timeout(1_800)]

DEADLINES = "bus.deadline.missed.v1"
WORKER = "tests.torture.zombies:worker"
PARTITIONS = list(range(6))  # as the standard topology has them
HOSTS = ("faust", "aiokafka")
CASES = 18
TOGETHER = 8  # scenes that are lived at the same time
CODEC = Codec(standard())
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
SAID = ("the group gave this member's partitions away", "the group does not take this member", "has another owner")


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World.on(kafka, tmp_path_factory.mktemp("zombies"), [RECORDED, FOLLOWED, DEADLINES]) as found:
        yield found


def event_of(case: str, n: int, *, last: bool) -> Publication:
    event = ActivityRecorded(run="zombies", activity="step", sequence=n, last=last)
    return Publication(event=event, case=case, id=f"{case}-{n}", time=START + timedelta(seconds=n))


@dataclass
class Scene:
    """One zombie worker, its successor, and the cases of their group.

    Of the cases a third end with event 4, which the zombie has in hand when it stops; a third with event 5, which only
    its successor gets; a third with event 6, which comes to whoever works after them. One event comes too late.
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
    letters: int = 0

    @property
    def group(self) -> str:
        """The group's name, which its cases begin with; none begins with another's."""
        words = (
            self.world.mark,
            "fenced" if self.fenced else "bare",
            self.host,
            self.at,
            "deaf" if self.deaf else "told",
        )
        return f"{'-'.join(words)}-{self.round}"

    def events(self, *numbers: int) -> list[Publication]:
        """These events of all cases that have them."""
        lasts = {f"{self.group}-{index}": 4 + index % 3 for index in range(CASES)}
        return [event_of(case, n, last=n == last) for n in numbers for case, last in lasts.items() if n <= last]

    def late(self) -> Publication:
        """An event of a case that has ended with event 4: a dead letter."""
        self.letters = 1
        return event_of(f"{self.group}-0", 5, last=True)

    def start(self, name: str, **more: object) -> Actor:
        """Start a worker."""
        given = {"group": self.group, "host": self.host, **more}
        actor = Actor(self.world, f"{self.group}.{name}", WORKER, **given)
        self.actors.append(actor)
        return actor

    @property
    def lasts(self) -> dict[str, int]:
        """Case -> number of its last event."""
        return {p.case or "": p.event.sequence for p in self.events(4, 5, 6)}  # type: ignore[attr-defined]

    def archived(self) -> dict[str, cases.Case]:
        """The cases that have ended."""
        found = [case_bytes.from_bytes(record.value or b"") for record in self.world.read(f"{self.group}.archive")]
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
    def zombies(self) -> list[Actor]:
        """Those that must end by themselves: whoever is stopped at a moment."""
        return [self.zombie] if self.at in WORKING else []

    @property
    def last(self) -> Actor:
        """The one started last."""
        return self.actors[-1]


def publish(world: World, publications: Sequence[Publication]) -> None:
    with connect(agency="replay", bootstrap=world.bootstrap) as bus:
        results = bus.publish_all(publications)
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
    for actor in scene.actors:
        if actor not in scene.zombies:
            if actor.code != 0:
                yield f"{actor.name} ended with {actor.code}: {actor.log()[-300:]!r}"
        elif actor.code not in {EXIT_MEMBERSHIP_LOST, 1} or not any(said in actor.log() for said in SAID):
            yield f"the zombie {actor.name} ended with {actor.code} and said {actor.log()[-300:]!r}"


def _wrong_outputs(scene: Scene, followed: Mapping[str, Sequence[Follow]]) -> Iterator[str]:
    """One event of one id for each event of a case, in order; a second copy says the same."""
    for case, last in scene.lasts.items():
        copies = followed.get(case, ())
        first_copies = list(dict.fromkeys((one.number, one.id) for one in copies))
        if [number for number, _ in first_copies] != list(range(1, last + 1)):
            yield f"{case}: followed {first_copies}, expected each of 1 to {last} once and in order"
        if len({(one.id, one.said) for one in copies}) != len({one.id for one in copies}):
            yield f"{case}: an id stands for two events"
    letters = {dict(r.headers)["dead_id"] for r in scene.world.read(f"{scene.group}.dead")}
    if len(letters) != scene.letters:
        yield f"{len(letters)} dead letters, expected {scene.letters}"


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
        f"{p} is committed up to {steps[-1].get(p)} of {at}" for p, at in scene.ends.items() if steps[-1].get(p) != at
    )


def stop(actors: Sequence[Actor]) -> None:
    """SIGTERM, and their end."""
    for actor in actors:
        actor.signal(signal.SIGTERM)
    until(lambda: all(actor.code is not None for actor in actors), "stopped", actors)


def live(world: World, scenes: Sequence[Scene]) -> None:
    """Let every scene's worker become a zombie, be overtaken, wake and end; then a third one finishes its cases."""
    world.make([RECORDED], groups=[s.group for s in scenes])
    everyone = [scene.start("zombie", at=scene.at, deaf=scene.deaf, fenced=scene.fenced) for scene in scenes]
    until(lambda: all(actor.ready for actor in everyone), "ready", everyone)
    publish(world, [p for scene in scenes for p in scene.events(1, 2, 3)])
    until(lambda: all_followed(world, scenes, 1, 2, 3), "the first events followed", everyone)
    for actor in everyone:
        actor.arm()
    publish(world, [p for scene in scenes for p in (*scene.events(4), scene.late())])
    until(lambda: all(actor.asleep for actor in everyone), "all asleep", everyone)
    everyone += [scene.start("successor") for scene in scenes]
    until(lambda: all(scene.last.ready for scene in scenes), "overtaken", everyone)
    publish(world, [p for scene in scenes for p in scene.events(5)])
    until(lambda: all_followed(world, scenes, 4, 5), "the successors went further", everyone)
    for scene in scenes:
        scene.before = world.committed(scene.group)
        scene.zombie.signal(signal.SIGCONT)
    until(lambda: all(scene.zombie.code is not None for scene in scenes), "the zombies ended", everyone)
    for scene in scenes:
        scene.after = world.committed(scene.group)
    stop([scene.last for scene in scenes])
    everyone = [scene.start("third") for scene in scenes]
    publish(world, [p for scene in scenes for p in scene.events(6)])
    # Without the fence events get lost, so there it may never be over.
    until(lambda: all(scene.over for scene in scenes if scene.fenced), "all over", everyone)
    stop(everyone)
    for scene in scenes:
        scene.ends = world.ends(RECORDED)


@pytest.fixture(scope="module")
def workers(world: World) -> list[Scene]:
    """Scenes of workers, lived; the last of them without the fence."""
    kinds = [(host, at, deaf) for at in WORKING for deaf in (False, True) for host in HOSTS]
    if not bars.FULL:
        kinds = [("faust", "decided", True), ("faust", "burying", False), ("aiokafka", "sending", False)]
    scenes = [Scene(world, host, at, n, deaf=deaf) for n in range(bars.sized(3, 1)) for host, at, deaf in kinds]
    bare = HOSTS if bars.FULL else HOSTS[1:]
    scenes += [Scene(world, host, "decided", deaf=True, fenced=False) for host in bare]
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
    for scene in (scene for scene in workers if not scene.fenced):
        found = wrong(scene, followed)
        assert any("positions of" in what for what in found), found


class Twins(Scene):
    """A group of three static members, each of which gets a twin: a process of the same name and supervisor."""

    @property
    def zombies(self) -> list[Actor]:
        """The three that are replaced."""
        return self.actors[:3]

    @property
    def whole(self) -> bool:
        """Whether the three started last own all case partitions, two each."""
        owned = [actor.owned for actor in self.actors[-3:]]
        return all(len(numbers) == 2 for numbers in owned) and sorted(n for found in owned for n in found) == PARTITIONS


def test_of_two_processes_under_one_static_name_one_works_and_the_other_ends(
    world: World, bar: Callable[..., None]
) -> None:
    """Two are replaced while they work, the third while it is stopped; in full, a stranger is never let in."""
    group = Twins(world, "static", "twins")
    world.make([RECORDED], groups=[group.group])
    members = [("w0", "aiokafka"), ("w1", "faust"), ("w2", "aiokafka")]
    old = [group.start(f"{name}.old", host=host, instance=name) for name, host in members]
    until(lambda: group.whole, "three own all", old)
    given = {"group": group.group, "host": "aiokafka", "instance": "w0", "supervised": True}
    strangers = [Actor(world, f"{group.group}.stranger", WORKER, **given)] if bars.FULL else []
    publish(world, group.events(1, 2, 3))
    until(lambda: all_followed(world, [group], 1, 2, 3), "the first events followed", old)
    old[2].signal(signal.SIGSTOP)
    twins = [group.start(f"{name}.new", host=host, instance=name) for name, host in members]
    publish(world, group.events(4))
    until(lambda: group.whole and all_followed(world, [group], 4), "the twins own all", twins)
    publish(world, group.events(5))
    until(lambda: all_followed(world, [group], 5), "the twins went further", twins)
    group.before = world.committed(group.group)
    old[2].signal(signal.SIGCONT)
    until(lambda: all(actor.code is not None for actor in (*old, *strangers)), "they ended", [*old, *strangers])
    group.after = world.committed(group.group)
    publish(world, group.events(6))
    until(lambda: group.over, "all over", twins)
    stop(twins)
    group.ends = world.ends(RECORDED)
    found = wrong(group, follows(world))
    let_in = [s for s in strangers if s.code != 2 or "Another worker runs as --instance w0" not in s.log()]
    ended = sum(actor.code in {EXIT_MEMBERSHIP_LOST, 1} for actor in old)
    bar(
        "Twins under one static name",
        demanded="3 replaced, 1 asleep: the old end, the new own, lost 0, twice 0; no stranger is let in",
        measured=f"{ended} ended, {len(found)} anomalies, {len(let_in)} of {len(strangers)} strangers let in",
        ok=not found and not let_in,
        anomalies=found,
    )


def test_a_worker_that_is_replaced_while_it_joins_ends_and_says_so(world: World) -> None:
    """The group then answers with FENCED_INSTANCE_ID, which the client library does not know."""
    groups = [Scene(world, host, "joining") for host in HOSTS]
    world.make([RECORDED], groups=[scene.group for scene in groups])
    old = [scene.start("old", instance="w", at="joining") for scene in groups]
    until(lambda: all(actor.ready for actor in old), "ready", old)
    for actor in old:
        actor.arm()
    others = [scene.start("other", instance="other") for scene in groups]
    until(lambda: all(actor.asleep for actor in old), "asleep", old)
    others += [scene.start("new", instance="w") for scene in groups]
    until(lambda: all(actor.ready for actor in others), "the twins share with the others", others)
    for actor in old:
        actor.signal(signal.SIGCONT)
    until(lambda: all(actor.code is not None for actor in old), "the old ones ended", old)
    assert [actor.code for actor in old] == [EXIT_MEMBERSHIP_LOST] * len(old)
    assert all("--instance" in actor.log() for actor in old), [actor.log() for actor in old]
    stop(others)


def test_a_worker_whose_group_has_lost_its_commits_goes_on_from_its_own_log(
    world: World, bar: Callable[..., None]
) -> None:
    """While it works the broker refuses to forget them; afterwards they are gone, and so is the group."""
    groups = [Scene(world, host, "forgotten") for host in HOSTS]
    world.make([RECORDED], groups=[s.group for s in groups])
    everyone = [scene.start("before") for scene in groups]
    publish(world, [p for scene in groups for p in scene.events(1, 2, 3)])
    until(lambda: all_followed(world, groups, 1, 2, 3), "the first events followed", everyone)
    refusals = {error for scene in groups for error in world.forget_commits(scene.group, RECORDED)}
    stop(everyone)
    for scene in groups:
        world.forget_group(scene.group)
    publish(world, [p for scene in groups for p in scene.events(4)])
    everyone = [scene.start("after") for scene in groups]
    publish(world, [p for scene in groups for p in scene.events(5, 6)])
    until(lambda: all(scene.over for scene in groups), "all over", everyone)
    stop(everyone)
    followed = follows(world)
    for scene in groups:
        scene.ends = world.ends(RECORDED)
    found = [what for scene in groups for what in wrong(scene, followed)]
    repeats = sum(len(followed[case]) - last for scene in groups for case, last in scene.lasts.items())
    bar(
        "Workers whose group lost its commits",
        demanded=f"{len(groups)} groups: as the model, nothing read again",
        measured=f"{len(groups)} groups: {len(found)} anomalies, {repeats} repeats",
        ok=not found and not repeats and refusals == {"GroupSubscribedToTopicError"},
        refused_while_it_works=sorted(refusals),
        anomalies=found,
    )

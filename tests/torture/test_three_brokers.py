"""Two hundred kills of publishers, workers, consumers and brokers: nothing lost, twice or out of order."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import aiokafka
import pytest

from bus.core import transport_of
from bus.message import Receipt
from bus.partitioner import partition_for
from bus.positions import begin_group
from bus.publish import Publication
from bus.settings import Settings
from bus.transport import kafka_producer
from bus.wiring import connect
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.torture import actors, bars, checker, history
from tests.torture.actors import FOLLOWED, RECORDED, Books
from tests.torture.cluster import BROKERS, Cluster, three_brokers
from tests.torture.history import Place, Recorder
from tests.torture.killer import Member, Share, Zygote
from tests.torture.three_brokers import Outcome, Run, live, prepare, read_back

pytestmark = [pytest.mark.kafka, pytest.mark.torture]

KILLS = {  # in full, in a slice
    "broker": (20, 1),
    "publisher": (50, 2),
    "clerk": (14, 1),
    "relay": (22, 2),
    "worker": (60, 2),
    "consumer": (40, 2),
}
GUARDS: dict[str, dict[str, bool]] = {"all": {}, "no-dedupe": {"dedupe": False}, "early": {"commit_first": True}}


def say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with three_brokers(say) as found:
        prepare(found, groups=list(GUARDS))
        yield found


def shares() -> list[Share]:
    """Kills as in `KILLS`; besides, pauses beyond the session of 6 s, and two brokers down at once for a while."""
    away = {"broker": (0.5, 4.0)}
    kills = [Share(kind, "kill", bars.sized(*times), away.get(kind, (0.0, 0.3))) for kind, times in KILLS.items()]
    if not bars.FULL:
        return [*kills, Share("worker", "pause", 1, (7.0, 8.0))]
    return [
        *kills,
        Share("broker", "pause", bars.sized(3, 0), (7.0, 10.0)),
        Share("broker", "kill", bars.sized(2, 0), (4.0, 8.0), many=2),
        *(Share(kind, "pause", bars.sized(5, 0), (7.0, 10.0)) for kind in ("publisher", "relay", "worker", "consumer")),
    ]


@pytest.mark.timeout(3_600)
def test_three_brokers_and_two_hundred_kills_lose_double_and_reorder_nothing(
    cluster: Cluster, tmp_path: Path, bar: Callable[..., None]
) -> None:
    each = 100 if bars.FULL else 25
    run = Run(
        seed=bars.SEED,
        shares=shares(),
        seconds=480.0 * bars.SCALE if bars.FULL else 25.0,
        keys=-(-bars.sized(100_000, 5_000) // (4 * each)),
        each=each,
    )
    outcome = live(run, cluster, tmp_path, say)
    keep(outcome, tmp_path)
    kills = sum(outcome.kills.values())
    wanted = sum(share.times * share.many for share in run.shares if share.do == "kill")
    done = outcome.figures["events"] == run.events and kills >= wanted and not outcome.deserters
    bar(
        "Three brokers, kills of everyone",
        demanded=f"{run.events:,} events, {wanted} kills: lost 0, twice 0, out of order 0, all seen within 60 s",
        measured=f"{outcome.figures['events']:,.0f} events, {kills} kills: {told(outcome)}",
        ok=done and not outcome.anomalies,
        seed=run.seed,
        kills=dict(outcome.kills),
        pauses=dict(outcome.pauses),
        ended_by_themselves={name: len(codes) for name, codes in outcome.ends.items()},
        deserters=outcome.deserters,
        **outcome.figures,
        anomalies=[f"{a.kind}: {a.what}" for a in outcome.anomalies[:20]],
    )


def told(outcome: Outcome) -> str:
    kinds = outcome.kinds()
    if kinds:
        return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    return f"no anomaly, all seen {outcome.figures['after_healing_s']:.1f} s after healing"


def keep(outcome: Outcome, folder: Path) -> None:
    """Leave the history and the outputs of a run that went wrong where they can be looked at."""
    if outcome.anomalies:
        history.save(folder / "history.jsonl", outcome.ops)
        say(f"the history of this run is in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


# -- negative controls: the same checker, a guard left out ----------------------------------------------------------


def publications(events: Sequence[tuple[str, int]], *, followed: bool = False) -> list[Publication]:
    model = ActivityFollowed if followed else ActivityRecorded
    return [
        Publication(event=model(run="torture", activity="step", sequence=n, last=False), case=case, id=f"{case}-{n}")
        for case, n in events
    ]


def acknowledged(topic: str, events: Sequence[tuple[str, int]], results: Sequence[object]) -> list[Place]:
    pairs = zip(events, results, strict=True)
    return [(topic, r.partition, r.offset, *event) for event, r in pairs if isinstance(r, Receipt)]


def test_the_checker_sees_a_consumer_without_dedupe_and_one_that_commits_before_its_effect(
    cluster: Cluster, tmp_path: Path
) -> None:
    events = [(f"g{case}", n) for n in range(1, 31) for case in range(20)]
    told = Recorder(tmp_path, "told")
    begin_at_end(cluster.bootstrap)
    with connect(agency="replay", bootstrap=cluster.bootstrap) as bus:
        told.note("called", [(FOLLOWED, -1, -1, *event) for event in events])
        told.note("acked", acknowledged(FOLLOWED, events, bus.publish_all(publications(events, followed=True))))
    told.close()
    with Zygote(actors.PRELOAD, os.environ) as zygote:
        members = {}
        for group, guards in GUARDS.items():
            folder = tmp_path / group
            folder.mkdir()
            shutil.copy(tmp_path / "told.ops", folder)
            arguments = {
                "folder": str(folder),
                "bootstrap": cluster.bootstrap,
                "group": group,
                "dies_at": len(events) // 3,
                **guards,
            }
            recorder = Recorder(folder, "director")
            place = "tests.torture.actors:consumer"
            members[group] = Member(group, place, arguments, zygote=zygote, folder=folder, recorder=recorder)
        once_dead(members, tmp_path, events)
    found = {group: check(cluster.bootstrap, tmp_path / group, "g") for group in GUARDS}
    assert found["all"] == set()
    assert found["no-dedupe"] == {"duplicate"}
    assert found["early"] == {"early-commit", "unseen"}


def begin_at_end(bootstrap: str) -> None:
    """Let the groups of the controls begin after what other tests left."""
    transport = transport_of(Settings(bootstrap=bootstrap))
    with closing(transport.admin()) as admin, closing(transport.reader()) as reader:
        for group in GUARDS:
            begin_group(admin, reader, group=group, topics=[FOLLOWED], start="latest")


def once_dead(members: Mapping[str, Member], folder: Path, events: Sequence[tuple[str, int]]) -> None:
    """Run consumers, each of which dies in the midst of these events, and let them end these.

    The one that loses some never ends them: it has had its time when the others have, and goes on no more.
    """
    until = time.monotonic() + 240
    counts = dict.fromkeys(members, 0)
    moved = time.monotonic()
    alive = set(members)
    while alive or time.monotonic() - moved < 3 or min(counts["all"], counts["no-dedupe"]) < len(events):
        for group, member in members.items():
            now = time.monotonic()
            member.tend(now)
            count = entered(folder / group)
            if count != counts[group]:
                counts[group], moved = count, now
            if -signal.SIGKILL in member.ends:
                alive.discard(group)
        assert time.monotonic() < until, counts
        time.sleep(0.02)


def entered(folder: Path) -> int:
    """How many effects of the control's events there are."""
    with closing(Books(folder / "books.db", dedupe=True)) as books:
        return sum(key.startswith("g") for _, _, key, _ in books.effects())


def check(bootstrap: str, folder: Path, prefix: str) -> set[str]:
    """The kinds of anomalies among the events of a control, whose keys begin with `prefix`."""
    recorder = Recorder(folder, "reader")
    recorder.note("healed")
    read_back(bootstrap, folder, recorder)
    ops = history.load(folder)
    return {anomaly.kind for anomaly in checker.check(op for op in ops if not op.key or op.key.startswith(prefix))}


@pytest.mark.parametrize("acks", ["1", pytest.param("all", marks=pytest.mark.skipif(not bars.FULL, reason="slice"))])
def test_the_checker_sees_what_a_dead_leader_alone_had_acknowledged(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acks: str
) -> None:
    """Both followers are paused, the leader acknowledges alone or does not, and dies."""
    cluster.heal()
    leader = cluster.leader(RECORDED, 0)
    others = [node for node in range(1, BROKERS + 1) if node != leader]
    events = [(f"x{acks}{n}", 1) for n in range(400) if partition_for(f"x{acks}{n}".encode(), 6) == 0]
    if acks == "1":
        monkeypatch.setattr(kafka_producer, "refuse_weak_producer", lambda client: None)
        made = aiokafka.AIOKafkaProducer
        monkeypatch.setattr(
            aiokafka, "AIOKafkaProducer", lambda **given: made(**{**given, "acks": 1, "enable_idempotence": False})
        )
    recorder = Recorder(tmp_path, "told")
    settings = Settings(bootstrap=cluster.bootstrap, publish_deadline_s=6)
    with connect(agency="replay", settings=settings) as bus:
        recorder.note("called", [(RECORDED, -1, -1, *event) for event in events])
        while not isinstance(bus.publish_all(publications(events[:1]))[0], Receipt):
            pass  # until it is connected to the leader
        cluster.pause(*others)
        bus.publish_all(publications(events[1:2]))  # answers the fetches that the followers still have under way
        outcomes = bus.publish_all(publications(events[2:]))
        cluster.kill(leader)
        cluster.resume(*others)
    places = acknowledged(RECORDED, events[2:], outcomes)
    recorder.note("acked", places)
    cluster.heal()
    kinds = check(cluster.bootstrap, tmp_path, f"x{acks}") - {"unseen"}  # nobody consumes here
    assert kinds == ({"lost-write"} if acks == "1" else set())
    assert bool(places) == (acks == "1")

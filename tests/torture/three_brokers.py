"""The kill run: a cast of processes and three brokers, struck by a seeded schedule, then healed, read back and checked.

Called by `test_three_brokers`. One loop drives the processes, one thread the brokers; whoever is struck comes back by
itself, as under a supervisor. The trap it avoids: a run that was never in trouble; it counts what was struck.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bus.message import Partition
from bus.transport.kafka_reader import KafkaReader
from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.torture import actors, checker, history
from tests.torture.actors import FOLLOWED, RECORDED, Books, Pace
from tests.torture.checker import Anomaly
from tests.torture.cluster import BROKERS, Cluster, make_topics
from tests.torture.history import Op, Place, Recorder
from tests.torture.killer import Cast, Member, Share, Strike, Zygote, schedule

GROUP, WORKFLOW = "books", "workflow.recorded"
DEADLINE_TOPIC = "bus.deadline.missed.v1"
_COME_UP_S = 5.0
_TURN_S, _TELL_S = 0.02, 15.0
_AHEAD_S = 10.0  # of the schedule: how far strikes may be ahead of what has been seen
_REST_S = 180.0  # waited for the rest after the healing; the bar is 60
_DEADLINES_S = (30.0, 8.0)  # of publishers: one outlives every outage here, one does not


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is to be lived.

    Args:
        seed: of plans and strikes. shares: of strikes. seconds: how long they last.
        keys: cases of each publisher and of the clerk. each: events of a case.
        publishers, hosts, consumers, relays: who is there at a time; one clerk.
    """

    seed: int
    shares: Sequence[Share]
    seconds: float
    keys: int
    each: int
    publishers: int = 3
    hosts: Sequence[str] = ("faust", "aiokafka")
    consumers: int = 2
    relays: int = 2

    @property
    def events(self) -> int:
        """How many are published."""
        return (self.publishers + 1) * self.keys * self.each

    def strikes(self) -> list[Strike]:
        """The schedule."""
        members = {
            "broker": BROKERS,
            "publisher": self.publishers,
            "clerk": 1,
            "relay": self.relays,
            "worker": len(self.hosts),
            "consumer": self.consumers,
        }
        return schedule(self.seed, self.shares, members, seconds=self.seconds)


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Args:
        ops: the history. anomalies: in it. kills, pauses: done, by kind. figures: of the checker.
        ends: exit codes of processes that ended by themselves, by name.
        deserters: relays, workers and consumers that ended as if they had been told to; nobody restarts those.
    """

    ops: list[Op]
    anomalies: list[Anomaly]
    kills: Counter[str] = field(default_factory=Counter)
    pauses: Counter[str] = field(default_factory=Counter)
    ends: dict[str, list[int]] = field(default_factory=dict)
    deserters: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def kinds(self) -> dict[str, int]:
        """How many anomalies of each kind."""
        return dict(Counter(anomaly.kind for anomaly in self.anomalies))


class _Brokers(threading.Thread):
    """Strikes the brokers, one strike after the other: the next waits until all replicas are in sync again."""

    def __init__(
        self, cluster: Cluster, strikes: Sequence[Strike], recorder: Recorder, passed: Callable[[], float]
    ) -> None:
        super().__init__(name="brokers", daemon=True)
        self._cluster, self._strikes, self._recorder, self._passed = cluster, strikes, recorder, passed
        self.struck: Counter[str] = Counter()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            for strike in self._strikes:
                while self._passed() < strike.at:
                    time.sleep(_TURN_S)
                self._strike(strike)
        except Exception as error:  # noqa: BLE001  # the loop raises it
            self.failure = error

    def _strike(self, strike: Strike) -> None:
        nodes = [member + 1 for member in strike.members]
        for node in nodes:
            self._recorder.note("killed" if strike.do == "kill" else "paused", actor=f"broker-{node}")
        self.struck[strike.do] += len(nodes)
        if strike.do == "kill":
            self._cluster.kill(*nodes)
        else:
            self._cluster.pause(*nodes)
        time.sleep(strike.seconds)
        if strike.do == "pause":
            self._cluster.resume(*nodes)
        self._cluster.heal()
        for node in nodes:
            self._recorder.note("resumed", actor=f"broker-{node}")


class _Stage:
    """The cast and the brokers of one run."""

    def __init__(self, run: Run, cluster: Cluster, folder: Path, zygote: Zygote, say: Callable[[str], None]) -> None:
        self._run, self._folder, self._zygote, self._say = run, folder, zygote, say
        self._bootstrap = cluster.bootstrap
        self.recorder = Recorder(folder, "director")
        self.begin = time.monotonic() + _COME_UP_S
        self.members = {
            "publisher": self._publishers(),
            "clerk": [self._member("clerk-0", "clerk", cases="c0", **self._telling())],
            "relay": [self._reaching(f"relay-{n}", "relay", folder=str(folder)) for n in range(run.relays)],
            "worker": self._workers(),
            "consumer": self._consumers(),
        }
        self.books = Books(folder / "books.db", dedupe=True)
        self.passed = 0.0
        self._pace = Pace(folder)
        strikes = run.strikes()
        self.cast = Cast(self.members, [strike for strike in strikes if strike.kind != "broker"])
        ours = [strike for strike in strikes if strike.kind == "broker"]
        self.brokers = _Brokers(cluster, ours, self.recorder, lambda: self.passed)

    def until(self, done: Callable[[], bool], *, limit: float = math.inf) -> None:
        """Turn the cast until `done`, or until `limit` seconds are over: the checker then says what is missing."""
        entered = told = time.monotonic()
        while not done():
            now = time.monotonic()
            # On a slow machine time waits for the work, or there would be nothing but processes that are starting.
            seen = self.books.count() / self._run.events
            self.passed = min(now - self.begin, _AHEAD_S + 1.1 * self._run.seconds * seen)
            self._pace.tell(self.passed)
            self.cast.turn(self.passed, now)
            if self.brokers.failure is not None:
                raise self.brokers.failure
            if now - entered > limit:
                return
            if now - told > _TELL_S:
                told = now
                self.tell()
            time.sleep(_TURN_S)

    def tell(self) -> None:
        """Say how far it is."""
        killed = ", ".join(f"{sum(m.kills for m in found)} {kind}s" for kind, found in self.members.items())
        struck = sum(self.brokers.struck.values())
        passed = time.monotonic() - self.begin
        self._say(f"{passed:4.0f} s: killed {killed}, struck {struck} brokers; {self.books.count()} effects")

    def kills(self) -> Counter[str]:
        """How many of each kind."""
        found = Counter({kind: sum(m.kills for m in members) for kind, members in self.members.items()})
        found["broker"] = self.brokers.struck["kill"]
        return found

    def _member(self, name: str, target: str, **arguments: object) -> Member:
        target = f"tests.torture.actors:{target}"
        return Member(name, target, arguments, zygote=self._zygote, folder=self._folder, recorder=self.recorder)

    def _reaching(self, name: str, target: str, **arguments: object) -> Member:
        """A member that needs the brokers."""
        return self._member(name, target, bootstrap=self._bootstrap, **arguments)

    def _telling(self) -> dict[str, object]:
        run = self._run
        told: dict[str, object] = {"folder": str(self._folder), "seed": run.seed, "keys": run.keys, "each": run.each}
        return told | {"per_s": run.keys * run.each / run.seconds}

    def _publishers(self) -> list[Member]:
        return [
            self._reaching(
                f"publisher-{n}", "publisher", cases=f"p{n}", deadline_s=_DEADLINES_S[n % 2], **self._telling()
            )
            for n in range(self._run.publishers)
        ]

    def _workers(self) -> list[Member]:
        return [
            self._reaching(f"worker-{n}", "worker", process="recorded", host=host, instance=f"w{n}")
            for n, host in enumerate(self._run.hosts)
        ]

    def _consumers(self) -> list[Member]:
        told = {"folder": str(self._folder), "group": GROUP}
        return [self._reaching(f"consumer-{n}", "consumer", **told) for n in range(self._run.consumers)]


def prepare(cluster: Cluster, *, groups: Sequence[str] = ()) -> None:
    """Make the topics of a run, and of more SDK groups."""
    make_topics(cluster.bootstrap, [RECORDED, FOLLOWED, DEADLINE_TOPIC], groups=[GROUP, *groups], workflows=[WORKFLOW])


def live(run: Run, cluster: Cluster, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Live the run, heal, wait for the rest, read everything back, check.

    Args:
        run: what is to be lived. cluster: prepared. folder: for histories, journals, outputs; empty.
        say: called with a sentence for people.
    """
    with Zygote(actors.PRELOAD, os.environ) as zygote:
        stage = _Stage(run, cluster, folder, zygote, say)
        with closing(stage.books):
            stage.brokers.start()
            stage.until(lambda: stage.cast.struck_out and not stage.brokers.is_alive())
            stage.recorder.note("healed")
            stage.tell()
            told = [*stage.members["publisher"], *stage.members["clerk"]]
            stage.until(lambda: all(p.finished for p in told) and stage.books.count() >= run.events, limit=_REST_S)
            stage.tell()
    read_back(cluster.bootstrap, folder, stage.recorder)
    ops = history.load(folder)
    return Outcome(
        ops,
        checker.check(ops),
        kills=stage.kills(),
        pauses=Counter(op.actor.split("-")[0] for op in ops if op.did == "paused"),
        ends={m.name: m.ends for found in stage.members.values() for m in found if m.ends},
        deserters=[m.name for kind in ("relay", "worker", "consumer") for m in stage.members[kind] if m.finished],
        figures=checker.figures(ops),
    )


def read_back(bootstrap: str, folder: Path, recorder: Recorder) -> None:
    """Note every record of both topics and every effect."""
    codec = Codec(standard())
    reader = KafkaReader(bootstrap)
    models: dict[str, type[ActivityRecorded | ActivityFollowed]] = {
        RECORDED: ActivityRecorded,
        FOLLOWED: ActivityFollowed,
    }
    try:
        for topic, model in models.items():
            partitions = [Partition(topic, number) for number in range(reader.partitions(topic))]
            for partition, (start, end) in reader.bounds(partitions).items():
                places: list[Place] = [
                    (topic, r.partition, r.offset, (r.key or b"").decode(), event.sequence)
                    for r in reader.read(partition, start, end)
                    for event in [codec.decode(r.value or b"", model, r.headers)]
                ]
                recorder.note("stored", places)
            recorder.note("read", [(topic, -1, -1, "", -1)])
    finally:
        reader.close()
    with closing(Books(folder / "books.db", dedupe=True)) as books:
        for t, actor, key, n in books.effects():
            recorder.note("applied", [("", -1, -1, key, n)], actor=actor, t=t)

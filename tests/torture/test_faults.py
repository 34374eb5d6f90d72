"""Ten kinds of network fault between everyone and the broker, each healed: nothing lost, twice or out of order, and how
long it took until all was as before.

Publisher, workflow workers and an SDK consumer are processes behind the fault proxy (`proxy`), with the cast and the
books of the kill run. A fault is over when an event acknowledged after its healing, and every event acknowledged
before, has had its effect. The trap it avoids: recovery measured by a count, which grows on other partitions while one
stands still.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from bus.broker import launcher
from tests.torture import actors, bars, checker, history
from tests.torture.actors import FOLLOWED, RECORDED, Books, Pace
from tests.torture.checker import Anomaly
from tests.torture.cluster import make_topics
from tests.torture.history import Op, Recorder
from tests.torture.killer import Cast, Member, Zygote
from tests.torture.proxy import Fault, Kind, Proxies, draw
from tests.torture.three_brokers import DEADLINE_TOPIC, GROUP, WORKFLOW, read_back

pytestmark = [pytest.mark.kafka, pytest.mark.torture]

FAULTS = list(Kind) if bars.FULL else [Kind.HOLD, Kind.RESET, Kind.HALF_DOWN, Kind.DROP]
SEEDS = bars.sized(5, 1)
HOSTS = ("faust", "aiokafka") if bars.FULL else ("aiokafka",)
LASTING_S = (3.0, 12.0) if bars.FULL else (1.5, 2.5)
"""Some longer than a member's session of 6 s, some shorter."""
CALM = 0.25  # of the turns have no fault: what they take is what a recovery is measured against
PER_S = 40
P99_S, PATIENCE_S, COME_UP_S = 30.0, 90.0, 60.0


def say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


@pytest.fixture
def broker() -> Iterator[str]:
    """A broker of this test's own: it reads everything back."""
    folder = Path(tempfile.mkdtemp(prefix="agencybus-torture-"))
    try:
        yield launcher.up(folder / "broker", progress=lambda _: None, port=launcher.free_port()).bootstrap
    finally:
        launcher.down(folder / "broker", progress=lambda _: None)
        shutil.rmtree(folder, ignore_errors=True)


class Stage:
    """The cast behind the proxies, and their books."""

    def __init__(self, bootstrap: str, folder: Path, zygote: Zygote, *, dedupe: bool) -> None:
        self._folder = folder
        self.recorder = Recorder(folder, "director")
        self._pace = Pace(folder)
        self._begin = time.monotonic()
        common = {"bootstrap": bootstrap}
        told = {**common, "folder": str(folder)}
        plan = {"cases": "p0", "seed": bars.SEED, "keys": 4_000, "each": 20, "per_s": PER_S}
        self._publisher = [self._member(zygote, "publisher-0", "publisher", deadline_s=20.0, **plan, **told)]
        workers = [
            self._member(zygote, f"worker-{n}", "worker", process="recorded", host=host, instance=f"w{n}", **common)
            for n, host in enumerate(HOSTS)
        ]
        consumer = [self._member(zygote, "consumer-0", "consumer", group=GROUP, dedupe=dedupe, **told)]
        self.members = {"publisher": self._publisher, "worker": workers, "consumer": consumer}
        self._cast = Cast(self.members, [])
        self._books = Books(folder / "books.db", dedupe=True)

    def close(self) -> None:
        self._books.close()
        self.recorder.close()

    def _member(self, zygote: Zygote, name: str, target: str, **arguments: object) -> Member:
        target = f"tests.torture.actors:{target}"
        return Member(name, target, arguments, zygote=zygote, folder=self._folder, recorder=self.recorder)

    def acked(self) -> set[str]:
        """The ids of the events whose receipts the publisher has kept."""
        journal = self._folder / "p0.acked"
        return set(journal.read_text().split("\n")[:-1]) if journal.exists() else set()

    def unseen(self, ids: set[str]) -> set[str]:
        """Those of them without an effect."""
        return ids - {f"{key}-{n}" for _, _, key, n in self._books.effects()}

    def until(self, done: Callable[[], bool], *, limit: float) -> bool:
        """Turn the cast until `done`; False when it is not after `limit` seconds."""
        began = time.monotonic()
        while not done():
            now = time.monotonic()
            if now - began > limit:
                return False
            self._pace.tell(now - self._begin)
            self._cast.turn(0.0, now)
            time.sleep(0.02)
        return True

    def idle(self, seconds: float) -> None:
        """Let everyone work for so long."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, limit=seconds + 1)

    def recovered_s(self) -> float:
        """Wait until all is as before; how many seconds that took, `PATIENCE_S` when it never was."""
        began, before = time.monotonic(), self.acked()
        if not self.until(lambda: bool(self.acked() - before), limit=PATIENCE_S):
            return PATIENCE_S
        due = self.acked()
        self.until(lambda: not self.unseen(due), limit=PATIENCE_S)
        return time.monotonic() - began

    def finish(self) -> None:
        """End the publisher and wait for the effects of all that was acknowledged."""
        if self._publisher[0].strikable:
            self._publisher[0].kill(away_until=float("inf"))
        self.until(lambda: not self.unseen(self.acked()), limit=PATIENCE_S)


def turns(seed: int) -> list[tuple[Fault | None, float]]:
    """Every fault once per seed, in an order and for times by chance, with calm turns between; None is a calm one."""
    chance = random.Random(seed)
    plan: list[Fault | None] = [draw(kind, seed + number) for kind in FAULTS for number in range(SEEDS)]
    plan += [None] * round(len(plan) * CALM)
    chance.shuffle(plan)
    return [(fault, chance.uniform(*LASTING_S)) for fault in plan]


@dataclass
class Outcome:
    """What came of a run.

    Args:
        took: seconds of each recovery, by kind of fault. anomalies, ops: of its history. ends: exit codes of members
            that ended by themselves.
    """

    took: dict[str, list[float]]
    anomalies: list[Anomaly]
    ops: list[Op]
    ends: dict[str, list[int]]


def live(broker: str, folder: Path, plan: Sequence[tuple[Fault | None, float]], *, dedupe: bool = True) -> Outcome:
    """Live through the faults, each healed and recovered from, and read everything back."""
    make_topics(broker, [RECORDED, FOLLOWED, DEADLINE_TOPIC], groups=[GROUP], workflows=[WORKFLOW], brokers=1)
    took: dict[str, list[float]] = defaultdict(list)
    with (
        Proxies(broker) as proxies,
        Zygote(actors.PRELOAD, os.environ) as zygote,
        closing(Stage(proxies.bootstrap, folder, zygote, dedupe=dedupe)) as stage,
    ):
        assert stage.until(lambda: bool(stage.acked()) and not stage.unseen(stage.acked()), limit=COME_UP_S)
        for fault, seconds in plan:
            if fault is not None:
                proxies.inject(fault)
            stage.idle(seconds)
            proxies.heal()
            stage.recorder.note("healed")
            took["calm" if fault is None else fault.kind.value].append(recovered := stage.recovered_s())
            say(f"{seconds:5.1f} s of {fault or 'calm'}: recovered in {recovered:.2f} s")
        stage.finish()
        ends = {m.name: m.ends for found in stage.members.values() for m in found if m.ends}
    with closing(Recorder(folder, "reader")) as recorder:
        read_back(broker, folder, recorder)
    ops = history.load(folder)
    return Outcome(took, checker.check(ops), ops, ends)


@pytest.mark.timeout(3_600)
def test_every_network_fault_heals_by_itself_and_leaves_no_trace(
    broker: str, tmp_path: Path, bar: Callable[..., None]
) -> None:
    outcome = live(broker, tmp_path, turns(bars.SEED))
    if outcome.anomalies:
        history.save(tmp_path / "history.jsonl", outcome.ops)
        say(f"the history of this run is in {tmp_path}")
    times = sorted(t for kind, found in outcome.took.items() if kind != "calm" for t in found)
    p99 = times[min(len(times) - 1, round(0.99 * len(times)))]
    table = {
        kind: {"times": len(t), "median_s": round(statistics.median(t), 2), "longest_s": round(max(t), 2)}
        for kind, t in sorted(outcome.took.items())
    }
    for kind, row in table.items():
        say(f"  {kind:15} {row['times']:3} times: median {row['median_s']:5.1f} s, longest {row['longest_s']:5.1f} s")
    bar(
        "Network faults",
        demanded=f"{len(FAULTS)} kinds x {SEEDS}: recovery p99 < {P99_S:g} s, no anomaly",
        measured=f"{len(times)} faults, p99 {p99:.1f} s, {len(outcome.anomalies)} anomalies, "
        f"{checker.figures(outcome.ops)['events']:,.0f} events",
        ok=not outcome.anomalies and p99 < P99_S,
        seed=bars.SEED,
        recovery=table,
        ended_by_themselves=outcome.ends,
        anomalies=[f"{a.kind}: {a.what}" for a in outcome.anomalies[:20]],
    )


if bars.FULL:

    def test_without_a_memory_of_ids_a_held_network_leaves_double_effects(broker: str, tmp_path: Path) -> None:
        held = [(Fault(Kind.HOLD, seed), 9.0) for seed in range(3)]  # longer than a session: what was not committed
        outcome = live(broker, tmp_path, held, dedupe=False)
        assert "duplicate" in {anomaly.kind for anomaly in outcome.anomalies}

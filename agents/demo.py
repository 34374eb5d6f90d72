"""The demo: births from the clinic to the benefit, on a real broker, with the commands anyone would use.

Called by `agents.cli_demo`. It starts the broker, applies the topology, then the worker, the offices and the clinic as
child processes, and watches. It imports none of the simulators: workflows and offices meet on topics only. The trap it
avoids: a figure that comes from the simulators' own counting; every number is read back from Kafka.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agents import census, worker
from agents import compile as compiler
from agents.case import Case
from agents.census import Census, Snapshot, Summary
from agents.graph import Graph
from bus import children
from bus.children import Children
from bus.errors import BusError
from bus.message import Partition
from bus.ports import Reader
from bus.settings import Settings
from schemas.catalogue import standard

GROUP = "workflow.birth"
LOOK_EVERY_S = 0.5
STALL_S = 60.0
READY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """What to show: how many births, on which host, from which seed, at how many a second (0: as fast as it goes)."""

    cases: int
    host: str
    seed: int
    rate: float
    run: str

    @property
    def prefix(self) -> str:
        """What the ids of this run's cases begin with."""
        return f"birth-{self.run}-"


@dataclass(frozen=True, slots=True)
class Look:
    """One frame of the live view.

    Args:
        elapsed_s: since the clinic began. expected: births to come in all.
        cases: open by step, closed by outcome. per_second: events over the last frame.
        lag: records the worker has not committed yet.
        oldest_s: how long the oldest open case has waited at its step.
    """

    elapsed_s: float
    expected: int
    cases: Snapshot
    per_second: float
    lag: int
    oldest_s: float


class Demo:
    """One run on a broker that is up and has its topics.

    Args:
        plan: what to show. settings: where. folder: for the children's output.
    """

    def __init__(self, plan: DemoPlan, settings: Settings, folder: Path) -> None:
        from bus.transport.kafka_admin import KafkaAdmin
        from bus.transport.kafka_reader import KafkaReader

        self._plan = plan
        self._graph: Graph = compiler.compile_file(worker.process_file("birth"), standard())
        self._reader: Reader = KafkaReader(settings.bootstrap)
        self._admin = KafkaAdmin(settings.bootstrap)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.children = Children(settings.bootstrap, logs=folder)
        topics = sorted(self._graph.listens | self._graph.emits)
        self._events = [Partition(t, n) for t in topics for n in range(self._reader.partitions(t))]
        self._inputs = [p for p in self._events if p.topic in self._graph.listens]

    def run(self, show: Callable[[Look], None], say: Callable[[str], None]) -> dict[str, object]:
        """Start everything, show it until the last case has ended, and sum it up.

        Raises:
            BusError: a child ended, or nothing moved for a minute; names what to look at.
        """
        archive = census.archive_ends(self._reader, GROUP)
        cases = Census(self._reader, GROUP, prefix=self._plan.prefix)
        say("Starting the workflow worker and the offices.")
        self._start_worker()
        self.children.start("offices", ["connector", "run", "offices"])
        say(f"The clinics report {self._plan.cases} births.")
        self._start_clinic()
        started = time.monotonic()
        self._watch(cases, started, show)
        seconds = time.monotonic() - started
        self._settle(archive)
        return self._summary(archive, seconds)

    def close(self) -> None:
        """Stop the children and disconnect."""
        self.children.stop()
        self.disconnect()

    def disconnect(self) -> None:
        """Disconnect and leave the children running."""
        self._reader.close()
        self._admin.close()

    def _start_worker(self) -> None:
        ready = self._folder / "worker.ready"
        ready.unlink(missing_ok=True)
        arguments = ["worker", "run", "birth", "--host", self._plan.host, "--ready-file", str(ready)]
        self.children.start("worker", arguments)
        deadline = time.monotonic() + READY_S
        while not ready.exists():
            self.children.check()
            if time.monotonic() > deadline:
                raise BusError("The worker is not ready.", remedy=f"Its output: {self.children.log('worker')}.")
            time.sleep(0.1)

    def _start_clinic(self) -> None:
        plan = self._plan
        rate = f"{plan.rate:g}" if plan.rate else "max"
        numbers = ["--births", str(plan.cases), "--seed", str(plan.seed), "--rate", rate, "--run", plan.run]
        self.children.start("clinic", ["connector", "run", "clinic", *numbers], may_end=True)

    def _watch(self, cases: Census, started: float, show: Callable[[Look], None]) -> None:
        before, before_at = self._stored(), time.monotonic()
        last_move = time.monotonic()
        while True:
            self.children.check()
            snapshot = cases.look()
            stored, now = self._stored(), time.monotonic()
            rate = (stored - before) / max(now - before_at, 1e-9)
            lag = self._lag()
            waited = 0.0 if snapshot.oldest is None else time.time() - snapshot.oldest[1] / 1_000_000
            show(Look(now - started, self._plan.cases, snapshot, rate, lag, waited))
            if snapshot.closed >= self._plan.cases and lag == 0:
                return
            if stored != before:
                last_move = now
            if now - last_move > STALL_S:
                missing = self._plan.cases - snapshot.closed
                stand = f", {len(snapshot.parked)} of them parked" if snapshot.parked else ""
                raise BusError(
                    f"{missing} cases are open{stand} and nothing has moved for a minute.", remedy=self._logs()
                )
            before, before_at = stored, now
            time.sleep(LOOK_EVERY_S)

    def _settle(self, archive: Mapping[Partition, int]) -> None:
        """The archive is written after the last outputs are acknowledged: wait for all of it."""
        deadline = time.monotonic() + STALL_S
        while len(self._archived(archive)) < self._plan.cases:
            if time.monotonic() > deadline:
                raise BusError("Closed cases are missing from the archive.", remedy=self._logs())
            time.sleep(LOOK_EVERY_S)

    def _archived(self, since: Mapping[Partition, int]) -> list[Case]:
        return [c for c in census.archived(self._reader, since) if c.id.startswith(self._plan.prefix)]

    def _stored(self) -> int:
        return sum(end for _, end in self._reader.bounds(self._events).values())

    def _lag(self) -> int:
        """Records the worker has not committed; unlike `bus.lag`, a partition without a commit waits as a whole."""
        committed = self._admin.committed([GROUP]).get(GROUP, {})
        bounds = self._reader.bounds(self._inputs)
        return sum(max(0, end - max(start, committed.get(p, 0))) for p, (start, end) in bounds.items())

    def _logs(self) -> str:
        return f"The output of worker, offices and clinic is in {self._folder}."

    def _summary(self, archive: Mapping[Partition, int], seconds: float) -> dict[str, object]:
        replaces = {name: step.replaces for name, step in self._graph.steps.items()}
        summary = Summary()
        for case in self._archived(archive):
            summary.add(case, replaces)
        return {
            "cases": sum(summary.outcomes.values()),
            "outcomes": dict(summary.outcomes),
            "events": dict(summary.events),
            "papers": dict(summary.papers),
            "papers_total": sum(summary.papers.values()),
            "steps": {s: {"p50_s": round(a, 3), "p95_s": round(b, 3)} for s, (a, b) in summary.step_times().items()},
            "host": self._plan.host,
            "seconds": round(seconds, 1),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def apply_topology(bootstrap: str) -> None:
    """Run ``agencybus topics apply``. Raises BusError with what it said when it did not do all of it."""
    command = children.command(["topics", "apply", "--bootstrap", bootstrap])
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise BusError(f"topics apply ended with {done.returncode}.", remedy=(done.stderr or done.stdout).strip())


def fresh_folder(folder: Path) -> None:
    """Empty the demo's own folder, so that each demo begins at the beginning."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)

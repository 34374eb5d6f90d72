"""kill -9 at random moments while births run: nothing lost, nothing twice, every case ends right."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents import trace
from bus.broker import launcher
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_reader import KafkaReader
from tests.torture import births
from tests.torture.bars import SCALE, SEED

pytestmark = [pytest.mark.kafka, pytest.mark.torture]

GROUP = "workflow.birth"
HOSTS = ("faust", "aiokafka")
BIRTHS = int(3_000 * SCALE)
KILLS = int(30 * SCALE)


def say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


@contextmanager
def broker() -> Iterator[tuple[str, Path]]:
    """A cluster of one run's own: it counts everything on it."""
    folder = Path(tempfile.mkdtemp(prefix="agencybus-torture-"))
    try:
        cluster = launcher.up(folder / "broker", progress=say, port=launcher.free_port())
        yield cluster.bootstrap, folder
    finally:
        launcher.down(folder / "broker", progress=say)
        shutil.rmtree(folder, ignore_errors=True)


class Stage:
    """Our commands as processes on one broker; each keeps its output in a file."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._env = {
            **os.environ,
            "AGENCYBUS__BOOTSTRAP": bootstrap,
            "AGENCYBUS__SESSION_TIMEOUT_MS": "6000",
            "AGENCYBUS_WORKER_CHILD": str(os.getpid()),  # the worker itself: this test is its supervisor
        }
        self._folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "bus.cli.main", *arguments],
                env=self._env,
                stdout=log,
                stderr=log,
            )
        self.running.append(process)
        return process

    def worker(self, name: str, *, host: str, instance: str | None) -> tuple[subprocess.Popen[bytes], Path]:
        ready = self._folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        static = ["--instance", instance] if instance else []
        arguments = ["worker", "run", "birth", "--host", host, "--ready-file", str(ready), *static]
        return self.start(name, arguments), ready

    def close(self) -> None:
        """End them all."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()

    def logs(self) -> str:
        return "\n".join(f"== {p.name}\n{p.read_text()[-9_000:]}" for p in sorted(self._folder.glob("*.log")))

    def last_words(self) -> str:
        """The logs, with what each thread of each process was doing: whoever hangs says nothing by itself."""
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGABRT)
                process.wait()
        return self.logs()


@dataclass(frozen=True, slots=True)
class Run:
    """One host's run: how many births (`total`) and kills, what stands on the topics, what is wrong with it."""

    total: int
    kills: int
    history: births.History
    wrong: list[str]
    logs: str


def live(host: str) -> Run:
    """Let births run under this host and kill its worker again and again."""
    share = 1 if host == "faust" else 3  # the plain host gets a third: the runner behind both is the same
    total, kills = BIRTHS // share, KILLS // share
    chance = random.Random(SEED)
    with broker() as (bootstrap, folder), closing(Stage(bootstrap, folder)) as stage:
        done = stage.start("topics", ["topics", "apply"])
        assert done.wait(60) == 0, stage.logs()
        stage.start("offices", ["connector", "run", "offices"])
        worker, ready = stage.worker("worker", host=host, instance="one")
        stage.start(
            "clinic", ["connector", "run", "clinic", "--births", str(total), "--seed", str(SEED), "--rate", "40"]
        )
        second: subprocess.Popen[bytes] | None = None
        for number in range(kills):
            wait_for(ready, worker, stage)
            if number == kills // 3:
                second, _ = stage.worker("second", host=host, instance=None)
            if number == 2 * kills // 3 and second is not None:
                second.send_signal(signal.SIGTERM)
            pause(chance.uniform(0.05, 3.0))
            worker.kill()
            worker.wait()
            worker, ready = stage.worker("worker", host=host, instance="one")
        history = wait_for_all(bootstrap, total, stage)
        wait_for(ready, worker, stage)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, stage.logs()
        wrong = births.anomalies(history) + untraceable(bootstrap, chance.sample(sorted(history.stillborn), 20))
        return Run(total, kills, history, wrong, stage.logs() if wrong else "")


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """Both hosts' runs, lived side by side: most of their time is waiting."""
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        return dict(zip(HOSTS, pool.map(live, HOSTS), strict=True))


@pytest.mark.parametrize("host", HOSTS)
def test_thirty_kills_while_births_run_lose_nothing_and_pay_nothing_twice(
    runs: dict[str, Run], host: str, capsys: pytest.CaptureFixture[str], bar: Callable[..., None]
) -> None:
    run = runs[host]
    counts = run.history.counts()
    with capsys.disabled():
        say(f"\n{host}: {run.kills} kills, seed {SEED}: {counts}; anomalies {len(run.wrong)}")
    bar(
        f"Births and a killed worker, {host}",
        demanded=f"{run.total:,} births, {run.kills} kills: lost 0, paid twice 0, every case ends right",
        measured=f"{len(run.history.stillborn):,} births, {run.kills} kills: {len(run.wrong)} anomalies",
        ok=not run.wrong,
        seed=SEED,
        **counts,
        anomalies=run.wrong[:20],
        logs=run.logs,
    )


def untraceable(bootstrap: str, ids: Sequence[str]) -> list[str]:
    """Those of these cases whose trace cannot name the place of every event, kills or not."""
    reader, admin = KafkaReader(bootstrap), KafkaAdmin(bootstrap)
    try:
        topics = admin.topics()
        found = {c: trace.entries(reader, one) for c in ids for one in trace.find(reader, topics, c)}
    finally:
        reader.close()
        admin.close()
    return [f"{c}: its trace has gaps" for c in ids if not found.get(c) or any(e.offset is None for e in found[c])]


def pause(seconds: float) -> None:
    """The random moment of a kill; real time is the subject here."""
    time.sleep(seconds)


def wait_for(ready: Path, worker: subprocess.Popen[bytes], stage: Stage) -> None:
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert worker.poll() is None, stage.logs()
        assert time.monotonic() < deadline, "the worker is not ready in a minute\n" + stage.logs()
        time.sleep(0.05)


def wait_for_all(bootstrap: str, total: int, stage: Stage) -> births.History:
    reader = KafkaReader(bootstrap)
    deadline = time.monotonic() + 120
    try:
        while True:
            history = births.read(reader, GROUP)
            if len(history.stillborn) == total and len(history.outcomes) == total:
                return history
            if time.monotonic() > deadline:
                pytest.fail(f"{history.counts()}\n{births.anomalies(history)[:10]}\n{stage.last_words()}")
            time.sleep(1.0)
    finally:
        reader.close()

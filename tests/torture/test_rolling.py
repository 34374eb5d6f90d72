"""Workers come and go under load, by rolling restarts, joins and leaves: every birth ends right, none waits long.

What is measured while workers move: the longest pause between two follow-up events of one partition, and, since offices
may pause too, the longest time from an event to what follows from it, both as the broker stamped them. A static worker
that comes back in time moves nothing; the bar is one session.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from bus.broker import launcher
from bus.message import Partition
from bus.transport.kafka_reader import KafkaReader
from schemas.envelope import from_headers
from tests.torture import births

pytestmark = [pytest.mark.kafka, pytest.mark.torture]

GROUP = "workflow.birth"
SCALE = float(os.environ.get("SCALE", "1"))
RATE = 10
ROUNDS = max(1, int(SCALE))
SESSION_S = 10.0
TAKEOVER_S = 5.0  # two shared cores: recovery and start of a process beside everything else
FOLLOW_UP = "portal.request.created.v1"
INPUTS = ("health.birth.notified.v1", "justice.birth.registered.v1", "interior.identity.entered.v1")


class Stage:
    """Our commands on one broker, each under its supervisor as anyone would start it."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._env = {**os.environ, "AGENCYBUS__BOOTSTRAP": bootstrap}
        self._env["AGENCYBUS__SESSION_TIMEOUT_MS"] = str(int(SESSION_S * 1000))
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "bus.cli.main", *words]
            process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)
        self._running.append(process)
        return process

    def worker(self, name: str, *, host: str, static: bool) -> Worker:
        port = launcher.free_port()
        own = ["--instance", name] if static else []
        words = ["worker", "run", "birth", "--host", host, "--health", str(port), *own]
        return Worker(name, self.start(name, words), port)

    def end(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.terminate()
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self) -> str:
        return "\n".join(f"== {p.name}\n{p.read_text()[-3_000:]}" for p in sorted(self._folder.glob("*.log")))


class Worker:
    """A supervised worker."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name, self.process, self._port = name, process, port

    def owned(self) -> list[int]:
        """What it says it owns and works on."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/ready", timeout=2) as answer:
                return list(json.load(answer)["partitions"])
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        return []

    def stop(self) -> float:
        """SIGTERM and its end with 0; the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(25) == 0
        return time.monotonic() - began


@pytest.fixture
def stage() -> Iterator[tuple[str, Stage]]:
    """A cluster of this test's own: it counts everything on it."""
    folder = Path(tempfile.mkdtemp(prefix="agencybus-rolling-"))
    try:
        cluster = launcher.up(folder / "broker", progress=lambda _: None, port=launcher.free_port())
        made = Stage(cluster.bootstrap, folder)
        try:
            assert made.start("topics", ["topics", "apply"]).wait(60) == 0, made.logs()
            yield cluster.bootstrap, made
        finally:
            made.end()
    finally:
        launcher.down(folder / "broker", progress=lambda _: None)
        shutil.rmtree(folder, ignore_errors=True)


def until(holds: Callable[[], bool], what: str, stage: Stage, *, within_s: float = 120.0) -> None:
    give_up = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up, f"{what} did not hold within {within_s:g} s\n{stage.logs()}"
        time.sleep(0.05)


def follow_ups(bootstrap: str) -> dict[int, list[int]]:
    """Append times (ms) of the follow-up events by partition."""
    reader = KafkaReader(bootstrap)
    places = [Partition(FOLLOW_UP, n) for n in range(reader.partitions(FOLLOW_UP))]
    found = {p.number: [r.timestamp for r in reader.read(p, *ends)] for p, ends in reader.bounds(places).items()}
    reader.close()
    return found


def longest_pause(stamps: Mapping[int, Sequence[int]], start_ms: int, end_ms: int) -> float:
    """Seconds of the longest time without a follow-up event on any partition between two moments."""
    longest = 0
    for times in stamps.values():
        marks = [start_ms, *(t for t in times if start_ms <= t <= end_ms), end_ms]
        longest = max(longest, *(b - a for a, b in pairwise(marks)))
    return longest / 1_000


def longest_delay(bootstrap: str, start_ms: int, end_ms: int) -> float:
    """Seconds of the longest time from an event to the one that follows from it, of causes between two moments."""
    reader = KafkaReader(bootstrap)
    stamps: dict[str, int] = {}
    longest = 0
    for topic in (*INPUTS, FOLLOW_UP):
        places = [Partition(topic, n) for n in range(reader.partitions(topic))]
        for place, ends in reader.bounds(places).items():
            for record in reader.read(place, *ends):
                envelope = from_headers(record.headers)
                if topic != FOLLOW_UP:
                    stamps[envelope.id] = record.timestamp
                elif start_ms <= stamps[envelope.causationid or ""] <= end_ms:
                    longest = max(longest, record.timestamp - stamps[envelope.causationid or ""])
    reader.close()
    return longest / 1_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def settle(bootstrap: str, clinic: subprocess.Popen[bytes], stage: Stage) -> births.History:
    """Stop the clinic and wait until every birth it told of has ended."""
    clinic.send_signal(signal.SIGTERM)
    clinic.wait(20)
    reader = KafkaReader(bootstrap)
    give_up = time.monotonic() + 90
    try:
        while True:
            history = births.read(reader, GROUP)
            if history.stillborn and len(history.outcomes) == len(history.stillborn):
                return history
            assert time.monotonic() < give_up, f"{history.counts()}\n{stage.logs()}"
            time.sleep(0.5)
    finally:
        reader.close()


def begin(stage: Stage) -> subprocess.Popen[bytes]:
    stage.start("offices", ["connector", "run", "offices"])
    return stage.start("clinic", ["connector", "run", "clinic", "--births", "100000", "--rate", str(RATE)])


def all_owned(workers: Sequence[Worker]) -> bool:
    return sorted(n for worker in workers for n in worker.owned()) == list(range(6))


def test_a_rolling_restart_of_three_static_workers_pauses_no_partition_beyond_a_session(
    stage: tuple[str, Stage], capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap, made = stage
    workers = [made.worker(f"w{n}", host="faust" if n else "aiokafka", static=True) for n in range(3)]
    until(lambda: all_owned(workers), "three workers own all", made)
    clinic = begin(made)
    until(lambda: all(len(times) > 3 for times in follow_ups(bootstrap).values()), "births follow everywhere", made)
    before, start = {w.name: w.owned() for w in workers}, now_ms()
    stops = []
    for _ in range(ROUNDS):
        for index, worker in enumerate(workers):
            stops.append(worker.stop())
            workers[index] = made.worker(worker.name, host="faust" if index else "aiokafka", static=True)
            until(lambda index=index: bool(workers[index].owned()), "it is back", made)  # type: ignore[misc]
    seen = {n: len(times) for n, times in follow_ups(bootstrap).items()}
    until(lambda: all(len(t) > seen[n] for n, t in follow_ups(bootstrap).items()), "all partitions go on", made)
    end = now_ms()
    after = {w.name: w.owned() for w in workers}
    history = settle(bootstrap, clinic, made)
    pause, delay = longest_pause(follow_ups(bootstrap), start, end), longest_delay(bootstrap, start, end)
    with capsys.disabled():
        sys.stderr.write(
            f"\nrolling restart, {3 * ROUNDS} restarts in {(end - start) / 1000:.1f} s under {RATE}/s: longest "
            f"pause of a partition {pause:.1f} s, delay {delay:.1f} s, slowest stop {max(stops):.1f} s, "
            f"moved: {before != after}; "
            f"{history.counts()}\n"
        )
    assert births.anomalies(history) == [], made.logs()
    assert delay <= SESSION_S + TAKEOVER_S, made.logs()
    assert max(stops) < 15


@pytest.mark.skipif("SCALE" not in os.environ, reason="of `make torture`; the hosts' own tests join and leave too")
def test_workers_that_join_and_leave_under_load_lose_nothing_and_pause_for_a_takeover_only(
    stage: tuple[str, Stage], capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap, made = stage
    workers = [made.worker("w0", host="aiokafka", static=False)]
    until(lambda: all_owned(workers), "one worker owns all", made)
    clinic = begin(made)
    until(lambda: all(len(times) > 3 for times in follow_ups(bootstrap).values()), "births follow everywhere", made)
    start = now_ms()
    for _ in range(ROUNDS):
        for host in ("faust", "aiokafka"):
            workers.append(made.worker(f"w{len(workers)}-{host}", host=host, static=False))
            until(lambda: all_owned(workers) and all(w.owned() for w in workers), "they share", made)
        for _ in range(2):
            workers.pop(0).stop()
            until(lambda: all_owned(workers), "those left own all", made)
    end = now_ms()
    history = settle(bootstrap, clinic, made)
    pause, delay = longest_pause(follow_ups(bootstrap), start, end), longest_delay(bootstrap, start, end)
    with capsys.disabled():
        sys.stderr.write(
            f"\njoins and leaves, {4 * ROUNDS} in {(end - start) / 1000:.1f} s under {RATE}/s: longest pause of a "
            f"partition {pause:.1f} s, longest delay {delay:.1f} s; {history.counts()}\n"
        )
    assert births.anomalies(history) == [], made.logs()
    assert delay <= SESSION_S + TAKEOVER_S, made.logs()


def test_the_longest_pause_counts_the_time_before_the_first_and_after_the_last_event() -> None:
    stamps = {0: [1_000, 2_000, 2_500], 1: [1_500]}
    assert longest_pause(stamps, 1_000, 3_000) == 1.5
    assert longest_pause({0: []}, 1_000, 3_000) == 2.0
    assert longest_pause({0: [500, 4_000]}, 1_000, 3_000) == 2.0

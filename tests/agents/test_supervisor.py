"""The supervisor of a worker: each try a clean process, backoff between them, signals passed on, an end in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents import supervisor as supervisors
from agents.supervisor import Supervisor
from bus.testing import eventually

Handler = Callable[[int, object], None]


class Supervised:
    """The system as the supervisor sees it: children that end as told, a clock that moves when someone sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.ends: list[tuple[int, float]] = []  # exit code, seconds it ran
        self.started: list[tuple[list[str], dict[str, str]]] = []
        self.terminated = 0
        self.kills = 0
        self.hangs = False
        self.during_start: Callable[[], None] | None = None
        self.handlers: dict[int, Handler] = {}
        self.during_run: Callable[[], None] | None = None
        self.during_sleep: Callable[[], None] | None = None
        monkeypatch.setattr(subprocess, "Popen", self.popen)
        monkeypatch.setattr(signal, "signal", self.handlers.__setitem__)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def popen(self, command: list[str], env: dict[str, str]) -> Supervised:
        self.started.append((command, env))
        if self.during_start is not None:
            self.during_start()
        return self

    def kill(self) -> None:
        self.kills += 1

    def wait(self, timeout: float | None = None) -> int:
        if self.hangs and self.kills == 0:
            assert timeout is not None
            self.now += timeout
            if self.during_run is not None:
                self.during_run()
            raise subprocess.TimeoutExpired("worker", timeout)
        code, seconds = self.ends.pop(0)
        self.now += seconds
        if self.during_run is not None and not self.ends:
            self.during_run()
        return code

    def terminate(self) -> None:
        self.terminated += 1

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.during_sleep is not None:
            self.during_sleep()


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Supervised:
    return Supervised(monkeypatch)


def pauses(said: str) -> list[float]:
    return [float(line.split(" in ")[1].split()[0]) for line in said.splitlines()]


def test_a_failed_worker_is_started_again_after_a_pause_that_doubles_to_its_limit(
    system: Supervised, capsys: pytest.CaptureFixture[str]
) -> None:
    system.ends = [(1, 1.0)] * 9 + [(0, 1.0)]
    assert Supervisor(sys.argv[1:], drain_s=5).run() == 0
    assert pauses(capsys.readouterr().err) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert len(system.started) == 10
    assert 121.5 + 10 <= system.now < 121.5 + 10 + 9 * 0.2  # the pauses were waited for


def test_a_worker_that_ran_steadily_begins_with_the_short_pause_again(
    system: Supervised, capsys: pytest.CaptureFixture[str]
) -> None:
    system.ends = [(1, 1.0), (1, 1.0), (-9, 61.0), (1, 1.0), (0, 1.0)]
    Supervisor(sys.argv[1:], drain_s=5).run()
    assert pauses(capsys.readouterr().err) == [0.5, 1, 0.5, 1]


@pytest.mark.parametrize("code", [0, 2, 3])
def test_what_starting_again_cannot_mend_is_not_started_again(
    system: Supervised, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    system.ends = [(code, 1.0)]
    assert Supervisor(sys.argv[1:], drain_s=5).run() == code
    assert len(system.started) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("code", [1, 4, 75, 124, 130, -9, -11])
def test_any_other_end_is_started_again(system: Supervised, code: int) -> None:
    system.ends = [(code, 1.0), (0, 1.0)]
    assert Supervisor(sys.argv[1:], drain_s=5).run() == 0
    assert len(system.started) == 2


@pytest.mark.parametrize(("code", "result"), [(0, 0), (-15, 0), (-2, 0), (75, 0), (1, 1), (124, 124)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_ends_it_for_good(
    system: Supervised, number: signal.Signals, code: int, result: int
) -> None:
    system.ends = [(code, 1.0)]
    system.during_run = lambda: system.handlers[number](number, None)
    assert Supervisor(sys.argv[1:], drain_s=5).run() == result
    assert (system.terminated, len(system.started)) == (1, 1)


def test_a_signal_between_two_tries_ends_it_without_another(system: Supervised) -> None:
    system.ends = [(1, 1.0)]
    system.during_sleep = lambda: system.handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert Supervisor(sys.argv[1:], drain_s=5).run() == 0
    assert len(system.started) == 1


def test_the_child_is_this_very_command_and_knows_what_it_is(
    system: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["agencybus", "worker", "run", "birth"])
    system.ends = [(0, 1.0)]
    Supervisor(sys.argv[1:], drain_s=5).run()
    ((command, env),) = system.started
    assert command == [sys.executable, "-m", "bus.cli.main", "worker", "run", "birth"]
    assert env[supervisors.CHILD] == str(os.getpid())
    assert env.items() >= {k: v for k, v in os.environ.items() if k != supervisors.CHILD}.items()


SUPERVISE = """
import subprocess, sys
from agents.supervisor import Supervisor
real = subprocess.Popen
code = "import signal,sys,time; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); time.sleep(60)"
subprocess.Popen = lambda *_, **more: real([sys.executable, "-c", code], **more)
sys.exit(Supervisor([], drain_s=1).run())
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    told = tmp_path / "told"
    with told.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", SUPERVISE], stdout=out)
    yield process, told
    process.kill()
    process.wait()


def test_a_real_supervisor_ends_with_its_child(supervisor: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, told = supervisor
    eventually(lambda: told.read_text() == "up\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_a_signal_while_a_child_is_being_started_is_not_lost(system: Supervised) -> None:
    system.ends = [(0, 1.0)]
    system.during_start = lambda: system.handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert Supervisor([], drain_s=5).run() == 0
    assert (system.terminated, len(system.started)) == (1, 1)


def test_a_child_that_does_not_end_is_killed_a_little_after_its_budget(system: Supervised) -> None:
    system.hangs = True
    system.ends = [(-9, 0.0)]
    system.during_run = lambda: system.handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert Supervisor([], drain_s=5).run() == 124
    assert system.kills == 1
    assert 8 < system.now < 11


def test_a_child_that_runs_for_long_is_not_killed_before_it_is_told_to_stop(system: Supervised) -> None:
    system.hangs = True
    calls = 0

    def end_at_last() -> None:
        nonlocal calls
        calls += 1
        system.hangs = calls < 500

    system.during_run = end_at_last
    system.ends = [(0, 0.0)]
    assert Supervisor([], drain_s=5).run() == 0
    assert (system.kills, calls > 100) == (0, True)

"""The supervisor of a worker: each try a clean process, backoff between them, signals passed on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import cli_worker
from bus.cli.main import main
from bus.testing import eventually

Handler = Callable[[int, object], None]


class Supervised:
    """The system as the supervisor sees it: children that end as told, a clock that moves when someone sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.ends: list[tuple[int, float]] = []  # exit code, seconds it ran
        self.started: list[tuple[list[str], dict[str, str]]] = []
        self.terminated = 0
        self.handlers: dict[int, Handler] = {}
        self.during_run: Callable[[], None] | None = None
        self.during_sleep: Callable[[], None] | None = None
        monkeypatch.setattr(subprocess, "Popen", self.popen)
        monkeypatch.setattr(signal, "signal", self.handlers.__setitem__)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def popen(self, command: list[str], env: dict[str, str]) -> Supervised:
        self.started.append((command, env))
        return self

    def wait(self) -> int:
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
    assert cli_worker._supervise() == 0
    assert pauses(capsys.readouterr().err) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert len(system.started) == 10
    assert 121.5 + 10 <= system.now < 121.5 + 10 + 9 * 0.2  # the pauses were waited for


def test_a_worker_that_ran_steadily_begins_with_the_short_pause_again(
    system: Supervised, capsys: pytest.CaptureFixture[str]
) -> None:
    system.ends = [(1, 1.0), (1, 1.0), (-9, 61.0), (1, 1.0), (0, 1.0)]
    cli_worker._supervise()
    assert pauses(capsys.readouterr().err) == [0.5, 1, 0.5, 1]


@pytest.mark.parametrize("code", [0, 2, 3])
def test_what_starting_again_cannot_mend_is_not_started_again(
    system: Supervised, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    system.ends = [(code, 1.0)]
    assert cli_worker._supervise() == code
    assert len(system.started) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("code", [1, 4, 130, -9, -11])
def test_any_other_end_is_started_again(system: Supervised, code: int) -> None:
    system.ends = [(code, 1.0), (0, 1.0)]
    assert cli_worker._supervise() == 0
    assert len(system.started) == 2


@pytest.mark.parametrize(("code", "result"), [(0, 0), (-15, 0), (-2, 0), (1, 1)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_ends_it_for_good(
    system: Supervised, number: signal.Signals, code: int, result: int
) -> None:
    system.ends = [(code, 1.0)]
    system.during_run = lambda: system.handlers[number](number, None)
    assert cli_worker._supervise() == result
    assert (system.terminated, len(system.started)) == (1, 1)


def test_a_signal_between_two_tries_ends_it_without_another(system: Supervised) -> None:
    system.ends = [(1, 1.0)]
    system.during_sleep = lambda: system.handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert cli_worker._supervise() == 0
    assert len(system.started) == 1


def test_the_child_is_this_very_command_and_knows_what_it_is(
    system: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["agencybus", "worker", "run", "birth"])
    system.ends = [(0, 1.0)]
    cli_worker._supervise()
    ((command, env),) = system.started
    assert command == [sys.executable, "-m", "bus.cli.main", "worker", "run", "birth"]
    assert env[cli_worker.CHILD] == str(os.getpid())
    assert env.items() >= {k: v for k, v in os.environ.items() if k != cli_worker.CHILD}.items()


SUPERVISE = """
import subprocess, sys
from agents import cli_worker
real = subprocess.Popen
code = "import signal,sys,time; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); time.sleep(60)"
subprocess.Popen = lambda *_, **more: real([sys.executable, "-c", code], **more)
sys.exit(cli_worker._supervise())
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


def test_a_child_whose_supervisor_is_gone_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([7, 7, 1])
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(os, "kill", lambda *what: signals.append(what))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    cli_worker._end_with_parent(7)
    assert signals == [(os.getpid(), signal.SIGTERM)]


def test_a_child_whose_supervisor_was_killed_before_it_could_look_ends_itself(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    child = subprocess.run(
        [sys.executable, "-m", "bus.cli.main", "worker", "run", "birth", "--ready-file", str(tmp_path / "ready")],
        env={**os.environ, cli_worker.CHILD: str(gone.pid), "AGENCYBUS__BOOTSTRAP": "127.0.0.1:1"},
        timeout=30,
        check=False,
        capture_output=True,
    )
    assert child.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["birth", "--host", "abacus"], "There is no host abacus. One of: faust, aiokafka."),
        (["marriage"], "There is no process marriage. Give a YAML file, or one of: birth, recorded."),
    ],
)
def test_a_wrong_call_is_refused_before_any_child_starts(
    system: Supervised, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["worker", "run", *words]) == 2
    assert " ".join(capsys.readouterr().err.split()) == f"error: {said}"
    assert system.started == []


def test_a_child_runs_the_worker_and_a_failure_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from agents import worker

    jobs: list[Any] = []

    def fail(job: object, _: object) -> None:
        jobs.append(job)
        raise ValueError("the unit broke")

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setenv(cli_worker.CHILD, "1")
    monkeypatch.setattr(worker, "run", fail)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(cli_worker, "_end_with_parent", lambda _: None)
    options = ["--group", "g", "--case-prefix", "run-", "--instance", "i", "--host", "aiokafka"]
    assert main(["worker", "run", "birth", *options]) == 1
    assert "unexpected ValueError: the unit broke" in capsys.readouterr().err
    (job,) = jobs
    assert [path.name for path in job.files] == ["birth.yaml"]
    assert (job.group, job.prefix, job.instance, job.host, job.ready_file) == ("g", "run-", "i", "aiokafka", None)


def test_a_wrong_file_is_told_before_any_process_is_started(
    system: Supervised, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("process: 7\n")
    assert main(["worker", "run", "birth", str(bad)]) == 3
    assert f"{bad}:1: process: " in capsys.readouterr().err
    assert system.started == []

"""`agencybus worker run`: what it refuses at once, what its child does, and the end of an orphan."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agents import cli_worker, rebuild, supervisor, watchdog
from agents.case_bytes import Damaged
from agents.rebuild import Found
from agents.rebuild_plan import Damage, Plan
from agents.supervisor import CHILD
from bus.cli.main import main


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every supervisor that was made."""
    made: list[object] = []

    class Noted:
        def __init__(self, *what: object, **more: object) -> None:
            made.append(what)

        def run(self) -> int:
            return 0

    monkeypatch.setattr(supervisor, "Supervisor", Noted)
    return made


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
        env={**os.environ, CHILD: str(gone.pid), "AGENCYBUS__BOOTSTRAP": "127.0.0.1:1"},
        timeout=30,
        check=False,
        capture_output=True,
    )
    assert child.returncode in (0, -signal.SIGTERM)  # before or after it held the signal


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["birth", "--host", "abacus"], "There is no host abacus. One of: faust, aiokafka."),
        (["marriage"], "There is no process marriage. Give a YAML file, or one of: birth, recorded."),
    ],
)
def test_a_wrong_call_is_refused_before_any_child_starts(
    started: list[object], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["worker", "run", *words]) == 2
    assert " ".join(capsys.readouterr().err.split()) == f"error: {said}"
    assert started == []


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none_is_refused_before_any_child_starts_again_and_again_over_it(
    started: list[object], capsys: pytest.CaptureFixture[str], port: str
) -> None:
    assert main(["worker", "run", "birth", "--health", port]) == 2
    assert "--health" in capsys.readouterr().err
    assert started == []


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

    monkeypatch.setenv(CHILD, "1")
    monkeypatch.setattr(worker, "run", fail)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(cli_worker, "_end_with_parent", lambda _: None)
    monkeypatch.setattr(watchdog, "hold_signals", lambda: None)
    options = ["--group", "g", "--case-prefix", "run-", "--instance", "i", "--host", "aiokafka", "--health", "0"]
    assert main(["worker", "run", "birth", *options]) == 1
    assert "unexpected ValueError: the unit broke" in capsys.readouterr().err
    (job,) = jobs
    assert [path.name for path in job.files] == ["birth.yaml"]
    assert (job.group, job.prefix, job.instance, job.host, job.ready_file) == ("g", "run-", "i", "aiokafka", None)
    assert job.health == 0


def test_a_wrong_file_is_told_before_any_process_is_started(
    started: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("process: 7\n")
    assert main(["worker", "run", "birth", str(bad)]) == 3
    assert f"{bad}:1: process: " in capsys.readouterr().err
    assert started == []


PLAN = Plan(
    number=0,
    damaged=(Damage(b"c-1", 7), Damage(b"c-2", 8, archived=True)),
    kept=3,
    markers=((b"c-2", b"x"),),
    again=((b"!positions", b"{}"),),
    tombstones=((b"c-1", None),),
    positions={"a.x.y.v1": 0},
    unreadable=0,
)


@pytest.fixture
def rebuilt(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to a store with two damaged rows, one of a case whose first event is gone."""
    calls: list[str] = []

    async def look(*_: object, **__: object) -> Found:
        calls.append("look")
        return Found((PLAN,), ("c-1",))

    async def do(*_: object, **__: object) -> Found:
        calls.append("do")
        return Found((PLAN,), ())

    monkeypatch.setattr(rebuild, "look", look)
    monkeypatch.setattr(rebuild, "rebuild", do)
    return calls


@pytest.mark.parametrize(
    ("words", "code", "done"),
    [
        ([], 3, ["look"]),
        (["--dry-run"], 0, ["look"]),
        (["--dry-run", "--yes"], 0, ["look"]),
        (["--yes"], 1, ["look"]),  # a case would be lost
        (["--yes", "--drop-gone"], 0, ["look", "do"]),
    ],
)
def test_a_rebuild_shows_first_and_does_only_what_it_was_told(
    rebuilt: list[str], words: list[str], code: int, done: list[str]
) -> None:
    assert main(["worker", "rebuild", "birth", *words]) == code
    assert rebuilt == done


def test_a_rebuild_says_what_becomes_of_each_damaged_row(
    rebuilt: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["worker", "rebuild", "birth", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "c-2 at offset 8: a marker: it had ended" in shown
    assert "c-1: its first event is no longer stored" in shown
    assert main(["worker", "rebuild", "birth", "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["gone"] == ["c-1"]
    assert document["partitions"][0]["damaged"][1] == {"case": "c-2", "offset": 8, "archived": True}


def test_a_damaged_log_names_the_command_that_brings_its_cases_back() -> None:
    told = str(cli_worker._told(Damaged("case log record of 9 bytes cannot be read."), "birth", "g"))
    assert "agencybus worker rebuild birth --group g" in told

"""`agencybus demo`: what it shows, which broker it takes, and the whole of it on real Kafka."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agents import cli_demo, demo
from agents.census import Snapshot
from agents.cli_demo import Viewer
from agents.demo import Look
from bus.broker import launcher
from bus.cli.main import main
from bus.errors import BusError

LOOK = Look(12.34, 300, Snapshot({"registered": 3, "assigned": 2}, {"completed": 7}, ("birth-1", 5)), 81.6, 4, 9.0)
SUMMARY: dict[str, Any] = {
    "cases": 2,
    "outcomes": {"completed": 2},
    "events": {"health": 2},
    "papers": {"copy": 4},
    "papers_total": 4,
    "steps": {"registered": {"p50_s": 0.5, "p95_s": 1.5}},
    "host": "faust",
    "seconds": 3.2,
    "at": "2026-01-05T08:00:00+00:00",
}


class Played:
    """Stands for `agents.demo.Demo`."""

    fails: BusError | None = None
    struck_by: signal.Signals | None = None

    def __init__(self, plan: demo.DemoPlan, settings: object, folder: Path) -> None:
        self.plan = plan
        self.did: list[str] = []
        self.children = self
        played.append(self)

    def run(self, show: Callable[[Look], None], say: Callable[[str], None]) -> dict[str, Any]:
        say("Playing.")
        show(LOOK)
        if self.struck_by is not None:
            os.kill(os.getpid(), self.struck_by)
        if self.fails is not None:
            raise self.fails
        return SUMMARY

    def pids(self) -> dict[str, int]:
        return {"worker": 11, "offices": 12}

    def close(self) -> None:
        if self.struck_by is not None:
            os.kill(os.getpid(), signal.SIGINT)  # an impatient second one
        self.did.append("closed")

    def disconnect(self) -> None:
        self.did.append("disconnected")


played: list[Played] = []


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was done to the demo's own broker; nothing is started."""
    did: list[str] = []
    cluster = type("Cluster", (), {"bootstrap": "127.0.0.1:9"})
    status = type("Status", (), {"running": False})

    def up(folder: Path, **_: object) -> object:
        did.append(f"up {folder.relative_to(tmp_path)}")
        return cluster

    monkeypatch.setattr(launcher, "up", up)
    monkeypatch.setattr(launcher, "down", lambda folder, **_: did.append(f"down {folder.relative_to(tmp_path)}"))
    monkeypatch.setattr(launcher, "status", lambda _: status)
    monkeypatch.setattr(demo, "Demo", Played)
    monkeypatch.setattr(demo, "apply_topology", lambda bootstrap: did.append(f"apply {bootstrap}"))
    monkeypatch.setattr(Played, "fails", None)
    monkeypatch.setattr(Played, "struck_by", None)
    monkeypatch.setenv("AGENCYBUS__DATA_DIR", str(tmp_path))
    monkeypatch.delenv("AGENCYBUS__BOOTSTRAP", raising=False)
    monkeypatch.chdir(tmp_path)
    played.clear()
    return did


def test_the_summary_is_one_document_and_everything_is_stopped(
    broker: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--cases", "2", "--json", "--rate", "0", "--seed", "5", "--host", "aiokafka"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == SUMMARY
    assert "Playing." in told.err
    assert broker == ["up demo/broker", "apply 127.0.0.1:9", "down demo/broker"]
    (one,) = played
    assert one.did == ["closed"]
    assert (one.plan.cases, one.plan.rate, one.plan.seed, one.plan.host) == (2, 0, 5, "aiokafka")


def test_people_get_tables(broker: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "2 births in 3.2 s, carried by the faust host." in out
    for word in ("completed", "health", "copy", "registered", "all"):
        assert word in out


def test_kept_it_says_what_to_try_and_how_to_stop(
    broker: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["demo", "--keep"]) == 0
    said = capsys.readouterr().err
    run = played[0].plan.run
    assert f"agencybus case trace birth-{run}-000001 --bootstrap 127.0.0.1:9" in said
    assert "kill 11 12" in said
    assert f"AGENCYBUS__DATA_DIR={tmp_path / 'demo'} agencybus down" in said
    assert "down demo/broker" not in broker
    assert played[0].did == ["disconnected"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_told_to_end_stops_everything_also_when_told_twice(
    broker: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(Played, "struck_by", number)
    before = signal.getsignal(number)
    heard: list[int] = []
    signal.signal(number, lambda n, _: heard.append(n))  # without the demo's own handler the test itself would end
    try:
        assert main(["demo"]) == 130
    finally:
        signal.signal(number, before)
    assert played[0].did == ["closed"]
    assert broker[-1] == "down demo/broker"
    assert "Stopping already" in capsys.readouterr().err
    assert heard == []


def test_a_demo_that_failed_is_not_kept(
    broker: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Played, "fails", BusError("3 cases are open."))
    assert main(["demo", "--keep"]) == 1
    assert "error: 3 cases are open." in capsys.readouterr().err
    assert played[0].did == ["closed"]
    assert broker[-1] == "down demo/broker"


def test_a_given_cluster_is_used_and_left_alone(broker: list[str]) -> None:
    assert main(["demo", "--json", "--bootstrap", "127.0.0.1:7"]) == 0
    assert broker == ["apply 127.0.0.1:7"]
    assert played[0].did == ["closed"]


def test_a_demo_that_was_kept_is_not_run_over(
    broker: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "status", lambda _: type("Status", (), {"running": True}))
    assert main(["demo"]) == 2
    assert "still running" in capsys.readouterr().err
    assert broker == []


@pytest.mark.parametrize("words", [["--host", "abacus"], ["--cases", "0"], ["--rate", "-1"]])
def test_a_wrong_call_starts_nothing(broker: list[str], words: list[str]) -> None:
    assert main(["demo", *words]) == 2
    assert broker == []


def test_without_a_terminal_a_line_comes_every_few_seconds_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    viewer = Viewer(live=True)
    for elapsed in (0.0, 0.5, 4.9, 5.0, 6.0):
        viewer(replace(LOOK, elapsed_s=elapsed))
    viewer(replace(LOOK, elapsed_s=6.5, expected=7))
    viewer.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["0.0", "5.0", "6.5"]
    assert "closed 7/300  open by step: assigned 2, registered 3  82 events/s  lag 4" in lines[0]


def test_a_terminal_gets_a_live_table_that_ends_with_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = StringIO()
    viewer = Viewer(live=True)
    viewer._console = Console(file=screen, force_terminal=True, width=100)
    viewer._live = True
    viewer(LOOK)
    viewer(replace(LOOK, cases=Snapshot({}, {"completed": 300}, None)))
    viewer.close()
    viewer.close()
    shown = screen.getvalue()
    for word in ("births 300", "waiting at", "registered", "birth-1", "ended: completed"):
        assert word in shown


@pytest.mark.kafka
def test_the_whole_demo_on_a_broker_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bus.cli.main", "demo", "--cases", "20", "--json", "--host", "aiokafka"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENCYBUS__")}
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env={**kept, "AGENCYBUS__DATA_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["cases"], summary["host"]) == (20, "aiokafka")
    ended = summary["outcomes"]
    assert sum(ended.values()) == 20
    completed = ended.get("completed", 0)
    assert set(ended) <= {"completed", "stillbirth"}
    assert summary["events"]["health"] == summary["events"]["justice"] == 20
    assert {summary["events"][a] for a in ("interior", "portal", "social-fund")} == {completed}
    assert summary["papers_total"] == sum(summary["papers"].values()) == 20 + 4 * completed
    assert set(summary["steps"]) == {"registered", "id_entry", "assigned"}
    assert all(0 <= times["p50_s"] <= times["p95_s"] for times in summary["steps"].values())
    assert summary["seconds"] > 0
    assert not launcher.status(tmp_path / "demo" / "broker").running


def test_parked_cases_are_named_in_the_line_and_in_the_table() -> None:
    parked = replace(LOOK, cases=replace(LOOK.cases, parked=frozenset({"birth-1", "birth-2"})))
    assert cli_demo._line(parked).endswith("lag 4  parked 2")
    assert cli_demo._line(LOOK).endswith("lag 4")

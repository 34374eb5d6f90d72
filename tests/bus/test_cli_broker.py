"""`agencybus up | down | status`."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.broker import launcher, state
from bus.broker.config import Node
from bus.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No settings but a data directory of the test's own; a broker left running is stopped."""
    for name in list(os.environ):
        if name.startswith("AGENCYBUS__"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AGENCYBUS__DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "broker"
    launcher.down(tmp_path / "broker", progress=lambda _: None)


def unused() -> str:
    """An address nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.kafka
def test_up_status_down_and_what_a_kill_looks_like(surroundings: Path, capsys: Capture) -> None:
    port = launcher.free_port()
    assert main.main(["up", "--port", str(port), "--json"]) == 0
    said = capsys.readouterr()
    started = json.loads(said.out)
    assert started["started"]
    assert started["state"] == "running"
    assert started["bootstrap"] == f"127.0.0.1:{port}"
    assert f"Kafka is up at 127.0.0.1:{port}." in said.err
    assert main.main(["up", "--json"]) == 0  # the running one is found, whatever the default port is
    assert not json.loads(capsys.readouterr().out)["started"]
    assert main.main(["up", "--port", str(launcher.free_port())]) == 1
    assert "to change the port" in capsys.readouterr().err
    assert main.main(["status", "--json"]) == 0
    os.kill(json.loads(capsys.readouterr().out)["nodes"][0]["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while launcher.status(surroundings).nodes[0].pid is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert main.main(["status"]) == 1
    assert "died" in capsys.readouterr().out
    assert main.main(["down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": 0}
    assert main.main(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"


@pytest.mark.kafka
def test_a_given_address_wins_and_nothing_is_started(surroundings: Path, kafka: str, capsys: Capture) -> None:
    assert main.main(["up", "--bootstrap", kafka, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"bootstrap": kafka, "started": False, "state": "running", "nodes": []}
    assert f"Using Kafka at {kafka} (flag --bootstrap); nothing was started." in said.err
    assert not surroundings.exists()
    assert main.main(["status", "--bootstrap", kafka]) == 0
    assert "answers" in capsys.readouterr().out


def test_a_given_address_that_does_not_answer_is_unreachable(
    surroundings: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("AGENCYBUS__BOOTSTRAP", unused())
    assert main.main(["up"]) == 4
    assert "environment AGENCYBUS__BOOTSTRAP" in capsys.readouterr().err
    assert main.main(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["state"] == "unreachable"
    assert not surroundings.exists()


def test_before_the_first_up_status_says_how_to_start(capsys: Capture) -> None:
    assert main.main(["status"]) == 1
    assert "agencybus up" in capsys.readouterr().out
    assert main.main(["down"]) == 0
    assert "No local broker was running." in capsys.readouterr().err


def test_a_damaged_state_file_is_a_sentence(surroundings: Path, capsys: Capture) -> None:
    surroundings.mkdir()
    (surroundings / "cluster.json").write_text("{")
    assert main.main(["status"]) == 1
    assert "is damaged" in capsys.readouterr().err
    (surroundings / "cluster.json").unlink()


def test_another_number_of_nodes_is_refused(surroundings: Path, capsys: Capture) -> None:
    surroundings.mkdir()
    state.save(surroundings, state.Kept(state.new_cluster_id(), (Node(1, launcher.free_port(), 1),)))
    assert main.main(["up", "--nodes", "3"]) == 1
    assert "holds a cluster of 1 node(s), not 3" in capsys.readouterr().err


@pytest.mark.kafka
def test_a_port_that_is_taken_is_a_sentence(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main.main(["up", "--port", str(port)]) == 1
    said = capsys.readouterr()
    assert f"Port {port} on 127.0.0.1 is taken" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("words", [["up", "--port", "0"], ["up", "--nodes", "x"], ["up", "--what"]])
def test_a_wrong_option_is_a_usage_error(words: list[str]) -> None:
    assert main.main(words) == 2

"""What runs in a broker's directory, told by the process and by its own answer; real brokers: test_launcher."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.broker import probe, process, state
from bus.broker.config import Node
from bus.broker.probe import Answer
from bus.broker.state import Kept
from bus.broker.status import NodeState, status
from bus.errors import BusError

NODES = (Node(1, 9_001, 9_101), Node(2, 9_002, 9_102))
OURS = Kept("ours", NODES)
BOTH = {1: "127.0.0.1:9001", 2: "127.0.0.1:9002"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    state.save(tmp_path, OURS)
    for node in NODES:
        state.home(tmp_path, node).mkdir()
    return tmp_path


def living(monkeypatch: pytest.MonkeyPatch, pids: dict[str, int], answers: dict[str, Answer | None]) -> None:
    """Let the processes of these nodes (by folder) live and the addresses answer so."""
    monkeypatch.setattr(process, "living", lambda path, marker: pids.get(path.parent.name))
    monkeypatch.setattr(probe, "ask", lambda address, timeout: answers.get(address))


def test_nothing_was_ever_started_here(tmp_path: Path) -> None:
    found = status(tmp_path)
    assert (found.nodes, found.cluster_id, found.bootstrap, found.running) == ((), None, "", False)
    assert list(tmp_path.iterdir()) == [], "asking leaves nothing behind"


@pytest.mark.parametrize(
    ("answer", "condition", "sees"),
    [
        (Answer("ours", BOTH, 1), "running", 2),
        (Answer("ours", {2: BOTH[2]}, 2), "starting", 0),  # answers, but its controller has not heard of it yet
        (Answer("another", BOTH, 1), "starting", 0),  # a stranger on our port
        (None, "starting", 0),
    ],
)
def test_a_living_process_runs_only_when_its_own_answer_is_our_cluster_s(
    directory: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer | None, condition: NodeState, sees: int
) -> None:
    living(monkeypatch, {"node-1": 41}, {"127.0.0.1:9001": answer})
    node = status(directory).nodes[0]
    assert (node.state, node.pid, node.sees) == (condition, 41, sees)
    assert node.log == directory / "node-1" / "server.log"


def test_without_a_process_a_pid_file_tells_died_from_stopped_whatever_answers_at_the_port(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living(monkeypatch, {}, {"127.0.0.1:9001": Answer("ours", BOTH, 1)})
    state.pid_path(directory, NODES[0]).write_text("41\n")
    assert [node.state for node in status(directory).nodes] == ["stale", "stopped"]


def test_a_cluster_runs_when_every_node_does_and_all_addresses_are_given(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Answer("ours", BOTH, 1)
    living(monkeypatch, {"node-1": 41, "node-2": 42}, dict.fromkeys(BOTH.values(), answer))
    assert status(directory).running
    assert status(directory).bootstrap == "127.0.0.1:9001,127.0.0.1:9002"
    living(monkeypatch, {"node-1": 41, "node-2": 42}, {"127.0.0.1:9001": answer})
    assert not status(directory).running


def test_a_damaged_state_file_is_told_and_not_taken_for_nothing(directory: Path) -> None:
    (directory / "cluster.json").write_text('{"nodes": []}')
    with pytest.raises(BusError, match="damaged"):
        status(directory)

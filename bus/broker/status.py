"""What runs in a broker's directory: asks every node. Called by `bus.broker.launcher`, which also offers these names.

The trap it avoids: a pid file or an open port is no sign of life by itself. A node runs when its process is ours and
its own answer bears our cluster's id and lists it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bus.broker import probe, process, state
from bus.broker.config import Node
from bus.broker.state import Kept

_ASK_S = 1.0
NodeState = Literal["running", "starting", "stopped", "stale"]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node: running (it answers), starting (it lives), stale (it died without `down`) or stopped.

    `sees` counts the brokers its answer lists.
    """

    id: int
    address: str
    state: NodeState
    pid: int | None
    log: Path
    sees: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """What runs in a directory; no nodes when nothing was ever started there."""

    directory: Path
    cluster_id: str | None
    nodes: tuple[NodeStatus, ...]

    @property
    def running(self) -> bool:
        """Whether every node answers."""
        return bool(self.nodes) and all(node.state == "running" for node in self.nodes)

    @property
    def bootstrap(self) -> str:
        """The clients' addresses, ``host:port,...``."""
        return ",".join(node.address for node in self.nodes)


def status(directory: Path) -> Status:
    """What runs in `directory`. Asks each node, so it can take a second. Raises BusError on a damaged state file."""
    directory = directory.absolute()
    kept = state.load(directory)
    if kept is None:
        return Status(directory, None, ())
    return Status(directory, kept.cluster_id, tuple(_node_status(directory, kept, node) for node in kept.nodes))


def _node_status(directory: Path, kept: Kept, node: Node) -> NodeStatus:
    pid = pid_of(directory, node)
    condition: NodeState
    sees = 0
    if pid is None:
        condition = "stale" if state.pid_path(directory, node).exists() else "stopped"
    else:
        answer = probe.ask(node.address, timeout=_ASK_S)
        ours = answer is not None and answer.cluster_id == kept.cluster_id and node.id in answer.brokers
        condition = "running" if ours else "starting"
        sees = len(answer.brokers) if ours and answer is not None else 0
    return NodeStatus(node.id, node.address, condition, pid, state.home(directory, node) / "server.log", sees)


def pid_of(directory: Path, node: Node) -> int | None:
    """The pid of a node's living process, None when there is none."""
    return process.living(state.pid_path(directory, node), marker=str(state.config_path(directory, node)))

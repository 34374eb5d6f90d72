"""Three real brokers whose members are killed, paused and brought back; replication factor 3, two in sync.

Used by the kill tests. The traps it avoids: the next broker taken down before the last one has caught up (that would be
two at once without anyone having said so), and a signal to a process that is not ours: pids come from the launcher,
which believes one only while that process's command line names our files.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bus import topology
from bus.broker import launcher, state
from bus.broker.status import pid_of
from bus.core import transport_of
from bus.errors import BusError
from bus.provision import Provisioner
from bus.settings import Settings
from bus.topology import Topology
from schemas.catalogue import Catalogue, standard

BROKERS = 3
_WHOLE_S = 90.0
_LOOK_S = 0.3


class Cluster:
    """Three brokers in one folder.

    Args:
        folder: theirs. say: called with a sentence for people.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self.bootstrap = launcher.up(folder, progress=_quiet, nodes=BROKERS, port=launcher.free_port()).bootstrap

    def kill(self, *nodes: int) -> None:
        """SIGKILL these brokers (from 1)."""
        self._signal(nodes, signal.SIGKILL)

    def pause(self, *nodes: int) -> None:
        """SIGSTOP these brokers: beyond their session of 6 s they are leaders who do not know they are none."""
        self._signal(nodes, signal.SIGSTOP)

    def resume(self, *nodes: int) -> None:
        """SIGCONT these brokers."""
        self._signal(nodes, signal.SIGCONT)

    def heal(self) -> None:
        """Start what is down and wait until every replica is in sync again."""
        launcher.up(self._folder, progress=_quiet, nodes=BROKERS)
        began = time.monotonic()
        while behind := self._behind():
            assert time.monotonic() - began < _WHOLE_S, f"replicas stay behind: {behind[:5]}"
            time.sleep(_LOOK_S)

    def leader(self, topic: str, partition: int) -> int:
        """The broker that leads a partition."""
        return int(next(p["leader_id"] for p in self._described()[topic] if p["partition_index"] == partition))

    def stop(self) -> None:
        """Stop all and remove their records."""
        for node in launcher.status(self._folder).nodes:
            if node.pid is not None:
                os.kill(node.pid, signal.SIGCONT)
                os.kill(node.pid, signal.SIGKILL)
        launcher.down(self._folder, progress=_quiet)
        shutil.rmtree(self._folder, ignore_errors=True)

    def log_lines(self, node: int, most: int = 20) -> list[str]:
        """The last lines of a broker's log."""
        found = next(n for n in launcher.status(self._folder).nodes if n.id == node)
        return found.log.read_text(errors="replace").splitlines()[-most:]

    def _signal(self, nodes: Sequence[int], number: int) -> None:
        for pid in self._pids(nodes):
            os.kill(pid, number)

    def _pids(self, nodes: Sequence[int]) -> list[int]:
        kept = state.load(self._folder)
        assert kept is not None
        found = [pid_of(self._folder, node) for node in kept.nodes if node.id in nodes]
        return [pid for pid in found if pid is not None]

    def _behind(self) -> list[str]:
        """Partitions of which a replica is not in sync; one entry in words when nobody answers."""
        try:
            topics = self._described()
        except Exception as error:  # noqa: BLE001  # a broker that has just come back refuses in many ways
            return [type(error).__name__]
        return [
            f"{name}[{p['partition_index']}]"
            for name, partitions in topics.items()
            for p in partitions
            if len(p["isr_nodes"]) < BROKERS
        ]

    def _described(self) -> dict[str, list[dict[str, Any]]]:
        import kafka

        admin = kafka.KafkaAdminClient(bootstrap_servers=self.bootstrap.split(","), client_id="torture")
        try:
            return {topic["name"]: topic["partitions"] for topic in admin.describe_topics()}
        finally:
            admin.close()


def make_topics(
    bootstrap: str, names: Sequence[str], *, groups: Sequence[str], workflows: Sequence[str], brokers: int = BROKERS
) -> None:
    """Create only these topics of the standard topology, with their schemas: each partition costs every broker.

    Args:
        bootstrap: the cluster.
        names: event topics. groups: SDK groups, whose own topics are like the first of these.
        workflows: groups of the standard topology.
        brokers: how many the cluster has.
    """
    whole = topology.load(topology.STANDARD, standard())
    wanted = {name: whole.wanted[name] for name in (*names, topology.SCHEMAS)}
    for group in workflows:
        wanted |= {name: topic for name, topic in whole.wanted.items() if name.startswith(f"{group}.")}
    for group in groups:
        wanted |= {topic.name: topic for topic in topology.group_topics(group, wanted[names[0]])}
    few = Catalogue([kind.model for kind in standard().types() if kind.topic in names])
    transport = transport_of(Settings(bootstrap=bootstrap))
    with Provisioner(transport, few, brokers=brokers) as provisioner:
        results = provisioner.apply(provisioner.plan(Topology(wanted)))
    failed = [result.as_json() for result in results if result.outcome != "done"]
    assert not failed, failed


@contextmanager
def three_brokers(say: Callable[[str], None]) -> Iterator[Cluster]:
    """A cluster for one test or module; stopped by its own pids and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="agencybus-torture-"))
    cluster = None
    try:
        cluster = Cluster(folder, say)
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        else:
            with suppress(BusError):
                launcher.down(folder, progress=_quiet)
            shutil.rmtree(folder, ignore_errors=True)


def _quiet(_sentence: str) -> None:
    """The launcher tells of its progress ten times a second."""

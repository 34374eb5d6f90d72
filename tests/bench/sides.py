"""The programs that follow recorded cases, each started as its users start it.

Called by the worker and the latency scenarios. A new peer is one more `Side` and one program file.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bus.broker import launcher
from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.bench import recorded
from tests.bench.child import Child, running
from tests.bench.cluster import Cluster
from tests.bench.machine import QUIX
from tests.bench.statistics import Void

_READY_S = 40.0


@dataclass(frozen=True, slots=True)
class Side:
    """A program with its topics.

    Args:
        name: in tables. source, target: what it reads and writes.
        start: runs it under a fresh group for the length of a block.
    """

    name: str
    source: str
    target: str
    start: Callable[[Cluster, str], AbstractContextManager[Child]]


def _ours(host: str, program: str = "bus.cli.main") -> Callable[[Cluster, str], AbstractContextManager[Child]]:
    @contextmanager
    def start(cluster: Cluster, group: str) -> Iterator[Child]:
        ready = cluster.scratch / f"{group}.ready"
        words = ["--bootstrap", cluster.bootstrap, "worker", "run", "recorded", "--group", group, "--host", host]
        with running(program, [*words, "--ready-file", str(ready)], cluster.scratch / f"{group}.log") as child:
            _await(ready.exists, child)
            yield child

    return start


@contextmanager
def _plain_faust(cluster: Cluster, group: str) -> Iterator[Child]:
    data = cluster.scratch / group
    words = [cluster.bootstrap, group, str(launcher.free_port()), str(data)]
    with running("tests.bench.plain_faust", words, cluster.scratch / f"{group}.log") as child:
        yield child


def _peer(module: str, *, home: Path | None = None) -> Callable[[Cluster, str], AbstractContextManager[Child]]:
    """A program that works by hand. In a `home`, an environment of its own, it also gets a directory for its state."""

    @contextmanager
    def start(cluster: Cluster, group: str) -> Iterator[Child]:
        codec = Codec(standard())
        ids = [str(codec.schema_id(model)) for model in (ActivityRecorded, ActivityFollowed)]
        words = [cluster.bootstrap, group, *ids, *([str(cluster.scratch / group)] if home else [])]
        python = home / "bin" / "python" if home else Path(sys.executable)
        if not python.exists():
            raise Void(f"{module} has no environment: `make bench` makes it")
        with running(module, words, cluster.scratch / f"{group}.log", python=python) as child:
            yield child

    return start


def _await(holds: Callable[[], bool], child: Child) -> None:
    give_up = time.monotonic() + _READY_S
    while not holds():
        child.check()
        if time.monotonic() > give_up:
            raise child.failed(f"not ready in {_READY_S:.0f} s")
        time.sleep(0.05)


FAUST = Side("our worker, host faust", recorded.TOPIC, recorded.FOLLOWED, _ours("faust"))
AIOKAFKA = Side("our worker, host aiokafka", recorded.TOPIC, recorded.FOLLOWED, _ours("aiokafka"))
UNGUARDED = Side(
    "our worker, host aiokafka, without its guards",
    recorded.TOPIC,
    recorded.FOLLOWED,
    _ours("aiokafka", "tests.bench.unguarded"),
)
CONFLUENT = Side(
    "bare confluent loop, no fence", recorded.TOPIC, recorded.FOLLOWED, _peer("tests.bench.confluent_loop")
)
CONFLUENT_FENCED = Side(
    "bare confluent loop, in transactions", recorded.TOPIC, recorded.FOLLOWED, _peer("tests.bench.confluent_fenced")
)
QUIX_STREAMS = Side("Quix Streams", recorded.TOPIC, recorded.FOLLOWED, _peer("tests.bench.quix", home=QUIX))
FASTSTREAM = Side(
    "FastStream, batches, no state", recorded.TOPIC, recorded.FOLLOWED, _peer("tests.bench.faststream_batch")
)
PLAIN_FAUST = Side("plain Faust", recorded.PLAIN_TOPIC, recorded.PLAIN_FOLLOWED, _plain_faust)

OURS = (FAUST, AIOKAFKA, UNGUARDED)


def create_topics(cluster: Cluster) -> None:
    """Every topic the sides share."""
    cluster.create(recorded.TOPIC, recorded.FOLLOWED, recorded.LATE, recorded.PLAIN_TOPIC, recorded.PLAIN_FOLLOWED)


def fresh_group(cluster: Cluster, side: Side) -> str:
    """A group no other run has, with the topics our worker needs of its own."""
    group = f"bench-{uuid.uuid4().hex[:8]}"
    if side in OURS:
        cluster.create_group_topics(group)
    return group

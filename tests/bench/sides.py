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
from typing import NamedTuple

from bus.broker import launcher
from schemas.codec import Codec
from schemas.event import Event
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.bench import recorded, wide
from tests.bench.child import Child, running
from tests.bench.cluster import Cluster
from tests.bench.machine import QUIX
from tests.bench.statistics import Void
from tests.bench.wide import Answered, Wide, wider

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


def _ours(
    host: str, program: str = "bus.cli.main", process: str | Path = "recorded"
) -> Callable[[Cluster, str], AbstractContextManager[Child]]:
    @contextmanager
    def start(cluster: Cluster, group: str) -> Iterator[Child]:
        ready = cluster.scratch / f"{group}.ready"
        words = ["--bootstrap", cluster.bootstrap, "worker", "run", str(process), "--group", group, "--host", host]
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


class _Task(NamedTuple):
    """What the peers follow, by its name in `by_hand`, and the contracts whose ids they are told."""

    work: str
    heard: type[Event]
    said: type[Event]


_SMALL = _Task("small", ActivityRecorded, ActivityFollowed)
_WIDE = _Task("wide", Wide, Answered)


def _peer(
    module: str, task: _Task, *, home: Path | None = None
) -> Callable[[Cluster, str], AbstractContextManager[Child]]:
    """A program that works by hand. In a `home`, an environment of its own, it also gets a directory for its state."""

    @contextmanager
    def start(cluster: Cluster, group: str) -> Iterator[Child]:
        codec = Codec(wider())
        ids = [str(codec.schema_id(model)) for model in (task.heard, task.said)]
        state = [str(cluster.scratch / group)] if home else []
        words = [cluster.bootstrap, group, task.work, *ids, *state]
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


def _small(name: str, start: Callable[[Cluster, str], AbstractContextManager[Child]]) -> Side:
    return Side(name, recorded.TOPIC, recorded.FOLLOWED, start)


def _wide(name: str, start: Callable[[Cluster, str], AbstractContextManager[Child]]) -> Side:
    return Side(name, wide.TOPIC, wide.ANSWERED, start)


_FAUST, _AIOKAFKA = "our worker, host faust", "our worker, host aiokafka"
_FENCED, _BARE = "bare confluent loop, in transactions", "bare confluent loop, no fence"
_QUIX, _FASTSTREAM = "Quix Streams", "FastStream, batches, no state"
_OURS_WIDE = ("tests.bench.wide_worker", wide.PROCESS)

FAUST = _small(_FAUST, _ours("faust"))
AIOKAFKA = _small(_AIOKAFKA, _ours("aiokafka"))
UNGUARDED = _small(f"{_AIOKAFKA}, without its guards", _ours("aiokafka", "tests.bench.unguarded"))
CONFLUENT = _small(_BARE, _peer("tests.bench.confluent_loop", _SMALL))
CONFLUENT_FENCED = _small(_FENCED, _peer("tests.bench.confluent_fenced", _SMALL))
QUIX_STREAMS = _small(_QUIX, _peer("tests.bench.quix", _SMALL, home=QUIX))
FASTSTREAM = _small(_FASTSTREAM, _peer("tests.bench.faststream_batch", _SMALL))
PLAIN_FAUST = Side("plain Faust", recorded.PLAIN_TOPIC, recorded.PLAIN_FOLLOWED, _plain_faust)

WIDE_FAUST = _wide(_FAUST, _ours("faust", *_OURS_WIDE))
WIDE_AIOKAFKA = _wide(_AIOKAFKA, _ours("aiokafka", *_OURS_WIDE))
WIDE_CONFLUENT = _wide(_BARE, _peer("tests.bench.confluent_loop", _WIDE))
WIDE_CONFLUENT_FENCED = _wide(_FENCED, _peer("tests.bench.confluent_fenced", _WIDE))
WIDE_QUIX_STREAMS = _wide(_QUIX, _peer("tests.bench.quix", _WIDE, home=QUIX))
WIDE_FASTSTREAM = _wide(_FASTSTREAM, _peer("tests.bench.faststream_batch", _WIDE))

OURS = (FAUST, AIOKAFKA, UNGUARDED, WIDE_FAUST, WIDE_AIOKAFKA)


def create_topics(cluster: Cluster) -> None:
    """Every topic the sides share."""
    cluster.create(recorded.TOPIC, recorded.FOLLOWED, recorded.LATE, recorded.PLAIN_TOPIC, recorded.PLAIN_FOLLOWED)
    cluster.create(wide.TOPIC, wide.ANSWERED)


def fresh_group(cluster: Cluster, side: Side) -> str:
    """A group no other run has, with the topics our worker needs of its own."""
    group = f"bench-{uuid.uuid4().hex[:8]}"
    if side in OURS:
        cluster.create_group_topics(group)
    return group

"""The workflow worker and its peers on small events: the answer and the state are most of the work.

Called by `tests.bench.__main__`. The bare confluent loop is judged in transactions: the demand is "with the same
guarantees of state and output", and a loop without a fence has fewer, since a member that was paused and replaced
overwrites its state. Both are printed. The trap it avoids: a price of safety that is guessed; the same host runs
without its guards, too.
"""

from __future__ import annotations

import asyncio

from bus.message import Outgoing, Partition
from bus.partitioner import partition_for
from tests.bench import contest, recorded
from tests.bench.cluster import PARTITIONS, Cluster, append
from tests.bench.contest import Contest
from tests.bench.report import Report, Say
from tests.bench.sides import (
    AIOKAFKA,
    CONFLUENT,
    CONFLUENT_FENCED,
    FASTSTREAM,
    FAUST,
    PLAIN_FAUST,
    QUIX_STREAMS,
    UNGUARDED,
)


def _publish(cluster: Cluster, events: int) -> None:
    """The events twice: typed, and as JSON for plain Faust."""
    contest.publish(cluster, "replay", recorded.publications(events, run="catchup"))
    batches: dict[Partition, list[Outgoing]] = {}
    for key, value in recorded.plain(events, run="catchup"):
        place = Partition(recorded.PLAIN_TOPIC, partition_for(key, PARTITIONS))
        batches.setdefault(place, []).append(Outgoing(key, value))
    asyncio.run(append(cluster.bootstrap, batches))


CONTEST = Contest(
    name="worker",
    what="small events",
    publish=_publish,
    hosts=(FAUST, AIOKAFKA),
    peers={PLAIN_FAUST: 5.0, CONFLUENT_FENCED: 0.75, CONFLUENT: None, QUIX_STREAMS: 1.2, FASTSTREAM: 1.0},
    yardstick=PLAIN_FAUST,
    unguarded=(AIOKAFKA, UNGUARDED),
)
NAME = CONTEST.name


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Run every side `rounds` times; see `contest.held`."""
    return contest.held(CONTEST, cluster, rounds=rounds, events=events, say=say)

"""A long backlog of many cases: twelve times the events of `worker`, of twelve times the cases.

Called by `tests.bench.__main__`. In `worker` a unit meets each of its cases about three times; here it touches nearly
each case once and so writes state about once an event, as in a country. Quix Streams writes state and changelog at its
checkpoints, 5 s apart: below 24,000 events a second two of them fall within a run. No demand is made of these figures;
they are told.
"""

from __future__ import annotations

from tests.bench import contest, recorded
from tests.bench.cluster import Cluster
from tests.bench.contest import Contest
from tests.bench.report import Report, Say
from tests.bench.sides import AIOKAFKA, CONFLUENT_FENCED, QUIX_STREAMS

_TIMES = 12

CONTEST = Contest(
    name="worker-many",
    what="small events",
    publish=lambda cluster, events: contest.publish(cluster, "replay", recorded.publications(events, run="many")),
    hosts=(AIOKAFKA,),
    peers={CONFLUENT_FENCED: None, QUIX_STREAMS: None},
    yardstick=CONFLUENT_FENCED,
)
NAME = CONTEST.name


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Run every side `rounds` times; see `contest.held`."""
    return contest.held(CONTEST, cluster, rounds=rounds, events=_TIMES * events, say=say)

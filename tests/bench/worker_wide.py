"""The workflow worker and its peers on the wide event, in and out: what the bars against them were first measured on.

Called by `tests.bench.__main__`. Agencies' events have a dozen fields, with dates, amounts and identifiers; reading,
checking and writing them is then most of the work, for every side (research/performance.md, sections 0c and 2). The
trap it avoids: figures of events so small that the contract costs nothing. Plain Faust is left out: it carries JSON,
and what it costs an event is its own, not the event's.
"""

from __future__ import annotations

from tests.bench import contest, wide
from tests.bench.cluster import Cluster
from tests.bench.contest import Contest
from tests.bench.report import Report, Say
from tests.bench.sides import (
    WIDE_AIOKAFKA,
    WIDE_CONFLUENT,
    WIDE_CONFLUENT_FENCED,
    WIDE_FASTSTREAM,
    WIDE_FAUST,
    WIDE_QUIX_STREAMS,
)

CONTEST = Contest(
    name="worker-wide",
    what="wide events",
    publish=lambda cluster, events: contest.publish(cluster, "bench", wide.publications(events, run="catchup")),
    hosts=(WIDE_FAUST, WIDE_AIOKAFKA),
    peers={WIDE_CONFLUENT_FENCED: 0.75, WIDE_CONFLUENT: None, WIDE_QUIX_STREAMS: 1.2, WIDE_FASTSTREAM: 1.0},
    yardstick=WIDE_CONFLUENT_FENCED,
)
NAME = CONTEST.name


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Run every side `rounds` times; see `contest.held`."""
    return contest.held(CONTEST, cluster, rounds=rounds, events=events, say=say)

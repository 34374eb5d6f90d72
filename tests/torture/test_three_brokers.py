"""Two hundred kills of publishers, workers, consumers and brokers: nothing lost, twice or out of order."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.torture import bars, history
from tests.torture.cluster import Cluster, three_brokers
from tests.torture.killer import Share
from tests.torture.three_brokers import Outcome, Run, live

pytestmark = [pytest.mark.kafka, pytest.mark.torture]

KILLS = {"broker": (20, 1), "publisher": (70, 4), "worker": (60, 3), "consumer": (50, 3)}  # in full, in a slice


def say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with three_brokers(say) as found:
        yield found


def shares() -> list[Share]:
    """Kills as in `KILLS`; besides, pauses beyond the session of 6 s, and two brokers down at once for a while."""
    away = {"broker": (0.5, 4.0)}
    kills = [Share(kind, "kill", bars.sized(*times), away.get(kind, (0.0, 0.3))) for kind, times in KILLS.items()]
    if not bars.FULL:
        return [*kills, Share("worker", "pause", 1, (7.0, 8.0))]
    return [
        *kills,
        Share("broker", "pause", bars.sized(3, 0), (7.0, 10.0)),
        Share("broker", "kill", bars.sized(2, 0), (4.0, 8.0), many=2),
        *(Share(kind, "pause", bars.sized(5, 0), (7.0, 10.0)) for kind in ("publisher", "worker", "consumer")),
    ]


@pytest.mark.timeout(3_600)
def test_three_brokers_and_two_hundred_kills_lose_double_and_reorder_nothing(
    cluster: Cluster, tmp_path: Path, bar: Callable[..., None]
) -> None:
    each = 100 if bars.FULL else 25
    run = Run(
        seed=bars.SEED,
        shares=shares(),
        seconds=480.0 * bars.SCALE if bars.FULL else 25.0,
        keys=-(-bars.sized(100_000, 5_000) // (3 * each)),
        each=each,
    )
    outcome = live(run, cluster, tmp_path, say)
    keep(outcome, tmp_path)
    kills = sum(outcome.kills.values())
    wanted = sum(share.times * share.many for share in run.shares if share.do == "kill")
    done = outcome.figures["events"] == run.events and kills >= wanted and not outcome.deserters
    bar(
        "Three brokers, kills of everyone",
        demanded=f"{run.events:,} events, {wanted} kills: lost 0, twice 0, out of order 0, all seen within 60 s",
        measured=f"{outcome.figures['events']:,.0f} events, {kills} kills: {told(outcome)}",
        ok=done and not outcome.anomalies,
        seed=run.seed,
        kills=dict(outcome.kills),
        pauses=dict(outcome.pauses),
        ended_by_themselves={name: len(codes) for name, codes in outcome.ends.items()},
        deserters=outcome.deserters,
        **outcome.figures,
        anomalies=[f"{a.kind}: {a.what}" for a in outcome.anomalies[:20]],
    )


def told(outcome: Outcome) -> str:
    kinds = outcome.kinds()
    if kinds:
        return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    return f"no anomaly, all seen {outcome.figures['after_healing_s']:.1f} s after healing"


def keep(outcome: Outcome, folder: Path) -> None:
    """Leave the history and the outputs of a run that went wrong where they can be looked at."""
    if outcome.anomalies:
        history.save(folder / "history.jsonl", outcome.ops)
        say(f"the history of this run is in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)

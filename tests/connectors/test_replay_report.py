"""The closing report: this run's events only, each once, from where the topics stood before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bus.testing import memory_cluster
from bus.wiring import connect
from connectors import replay_report
from connectors.replay_events import Tally
from connectors.replay_report import FOLLOWED, MISSED, Report
from schemas.bus_events import DeadlineMissed
from schemas.recorded import ActivityFollowed

NOW = datetime(2011, 1, 1, tzinfo=UTC)


def _followed(run: str, sequence: int) -> ActivityFollowed:
    return ActivityFollowed(run=run, activity=f"a{sequence}", sequence=sequence, last=sequence == 2)


def test_only_this_run_counts_each_event_once_from_the_start() -> None:
    cluster = memory_cluster(FOLLOWED, MISSED)
    with connect(agency="replay", transport=cluster) as bus, connect(agency="bus", transport=cluster) as late:
        bus.publish(_followed("r1", 1), case="r1/before", time=NOW)
        reader = cluster.reader()
        starts = replay_report.places(reader, FOLLOWED) | replay_report.places(reader, MISSED)
        for run in ("r1", "r10", "r1"):  # two runs at once, and the first one's events twice
            for sequence in (1, 2):
                bus.publish(_followed(run, sequence), case=f"{run}/c", time=NOW + timedelta(hours=sequence))
            missed = DeadlineMissed(process="recorded", step="case", owner="replay", due=NOW)
            late.publish(missed, case=f"{run}/c", time=NOW)
        tally, breaches = replay_report.count(reader, bus.core.codec, run="r1", starts=starts)
    assert (tally.cases, tally.events, breaches) == (1, 2, 1)
    assert tally.outcomes == {"a2": 1}
    document = Report(run="r1", followed=tally, deadline_breaches=breaches, host="faust", seconds=1.23456).document()
    assert document == {
        "run": "r1",
        "cases": 1,
        "events": 2,
        "activities": {"a1": 1, "a2": 1},
        "outcomes": {"a2": 1},
        "deadline_breaches": 1,
        "first": "2011-01-01T01:00:00.000000Z",
        "last": "2011-01-01T02:00:00.000000Z",
        "host": "faust",
        "seconds": 1.235,
    }


def test_an_empty_tally_has_no_first_and_last() -> None:
    document = Report(run="r", followed=Tally(), deadline_breaches=0, host="faust", seconds=0).document()
    assert (document["first"], document["last"]) == (None, None)

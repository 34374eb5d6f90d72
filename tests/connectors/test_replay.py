"""A replay over the in-memory transport, with a follower that stands for the workflow worker."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from bus.errors import BusError, CheckFailed, Refused, UsageError
from bus.message import Partition
from bus.publish import Publication
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from bus.wiring import Bus, connect
from connectors import replay, replay_report
from connectors.csv_log import CsvLog, CsvOptions
from connectors.merge_sort import Sorter
from connectors.replay import ReplayPlan, Sender, Watch
from connectors.xes import XesLog
from schemas.bus_events import DeadlineMissed
from schemas.envelope import from_headers
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.connectors.support import REAL, count, event, log, real_text, trace

TOPICS = (replay.RECORDED, replay_report.FOLLOWED, replay_report.MISSED)


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(*TOPICS)


class Time:
    """Seconds that pass only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


class Follower:
    """Follows what is published whenever it is looked at, as the workflow would; commits what it followed."""

    def __init__(self, bus: Bus, deadlines: Bus, plan: ReplayPlan, starts: dict[Partition, int]) -> None:
        self._bus = bus
        self._late = deadlines
        self._plan = plan
        self._next = {p: offset for p, offset in starts.items() if p.topic == replay.RECORDED}
        self._due: dict[str, datetime] = {}
        self._said: list[Publication] = []
        self.lose: str | None = None

    def check(self) -> None:
        reader, admin = self._bus.core.transport.reader(), self._bus.core.transport.admin()
        for partition, end in replay_report.places(reader, replay.RECORDED).items():
            for record in reader.read(partition, self._next[partition], end):
                envelope = from_headers(record.headers)
                recorded = self._bus.core.codec.decode(record.value or b"", ActivityRecorded)
                self._follow(envelope.correlationid or "", recorded, envelope.time)
            self._next[partition] = end
        for _ in range(2):  # at least once: a repetition counts once
            self._bus.publish_all(self._said)
        self._said = []
        admin.commit(self._plan.group, self._next)

    def _follow(self, case: str, recorded: ActivityRecorded, time: datetime) -> None:
        if recorded.run != self._plan.run or recorded.activity == self.lose:
            return
        if recorded.deadline is not None:
            self._due[case] = recorded.deadline
        if case in self._due and time > self._due[case]:
            due = self._due.pop(case)
            self._late.publish(DeadlineMissed(process="recorded", step="case", owner="replay", due=due), case=case)
        followed = ActivityFollowed(
            run=recorded.run, activity=recorded.activity, sequence=recorded.sequence, last=recorded.last
        )
        self._said.append(Publication(event=followed, case=case, time=time))


class Run:
    """A prepared replay of one file."""

    def __init__(self, cluster: MemoryCluster, bus: Bus, late: Bus, plan: ReplayPlan) -> None:
        self.time = Time()
        self.said: list[str] = []
        self.watch = Watch(monotonic=lambda: self.time.now, sleep=self.time.sleep, say=self.said.append)
        self.plan = plan
        self.bus = bus
        self.reader = cluster.reader()
        self.admin = cluster.admin()
        self.late = late

    def go(self, *, lose: str | None = None) -> replay_report.Report:
        with Sorter() as sorter:
            deadlines = replay.sort(self.plan, sorter, self.said.append)
            starts = replay.prepare(self.plan, self.admin, self.reader)
            follower = Follower(self.bus, self.late, self.plan, starts)
            follower.lose = lose
            sender = Sender(self.bus, self.plan, deadlines, self.watch)
            sender.send(sorter.ordered(), total=sorter.events, worker=follower)
            replay.wait(self.plan, self.admin, targets=sender.targets, worker=follower, watch=self.watch)
            return replay.report(
                self.plan, self.bus, self.reader, starts=starts, published=sender.tally, seconds=self.time.now
            )


@contextmanager
def _run(cluster: MemoryCluster, plan: ReplayPlan) -> Iterator[Run]:
    with connect(agency="replay", transport=cluster) as bus, connect(agency="bus", transport=cluster) as late:
        yield Run(cluster, bus, late, plan)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_report_equals_the_independent_count_and_no_older_run_mixes_in(
    cluster: MemoryCluster, tmp_path: Path
) -> None:
    expected = count(real_text())
    older = _write(tmp_path / "log.xes", log(trace("case-1", event("x", "2011-01-01"), event("x", "2011-01-02"))))
    with _run(cluster, ReplayPlan(path=older, run="one")) as replayed:
        assert replayed.go().followed.events == 2
    with _run(cluster, ReplayPlan(path=REAL, run="two", host="aiokafka")) as replayed:
        document = replayed.go().document()
    assert document["cases"] == expected.cases == 1_434
    assert document["events"] == expected.events == 8_577
    assert document["activities"] == dict(expected.activities)
    assert document["outcomes"] == dict(expected.outcomes)
    assert document["deadline_breaches"] == expected.breaches == 92
    assert datetime.fromisoformat(document["first"]) == expected.first
    assert datetime.fromisoformat(document["last"]) == expected.last
    assert document["host"] == "aiokafka"


def test_a_csv_log_is_replayed_with_its_deadline_column(cluster: MemoryCluster, tmp_path: Path) -> None:
    rows = "a,x,31/01/2011,01/02/2011\na,y,02/02/2011,\nb,x,03/02/2011,04/02/2011\nc,x,05/02/2011,04/02/2011\n"
    path = _write(tmp_path / "log.csv", "case,activity,time,deadline\n" + rows)
    with _run(cluster, ReplayPlan(path=path, run="r")) as replayed:
        document = replayed.go().document()
    assert document["cases"] == 3
    assert document["deadline_breaches"] == 2
    assert document["outcomes"] == {"x": 2, "y": 1}


def test_an_event_that_was_not_followed_is_named(cluster: MemoryCluster, tmp_path: Path) -> None:
    path = _write(tmp_path / "log.xes", log(trace("a", event("x", "2011-01-01"), event("y", "2011-01-02"))))
    with (
        _run(cluster, ReplayPlan(path=path, run="r")) as replayed,
        pytest.raises(BusError, match="'y': published 1, followed 0"),
    ):
        replayed.go(lose="y")


def test_a_speed_keeps_the_recorded_distances(cluster: MemoryCluster, tmp_path: Path) -> None:
    times = ("2011-01-01T00:00:00Z", "2011-01-01T00:02:00Z", "2011-01-01T00:02:00Z", "2011-01-01T00:05:00Z")
    path = _write(tmp_path / "log.xes", log(trace("a", *(event("x", time) for time in times))))
    with _run(cluster, ReplayPlan(path=path, run="r", speed=60.0)) as replayed:
        replayed.go()
    assert sum(replayed.time.slept) == pytest.approx(5.0)


def test_a_workflow_that_does_not_move_is_an_error_with_what_is_missing(cluster: MemoryCluster) -> None:
    class Idle:
        def check(self) -> None:
            return

    time = Time()
    watch = Watch(monotonic=lambda: time.now, sleep=time.sleep)
    plan = ReplayPlan(path=Path("x"), run="r")
    with pytest.raises(BusError, match="partition 1: 7"):
        replay.wait(plan, cluster.admin(), targets={Partition(replay.RECORDED, 1): 7}, worker=Idle(), watch=watch)
    assert time.now == pytest.approx(replay.STALL_S, abs=1)


def test_a_bad_file_publishes_nothing(cluster: MemoryCluster, tmp_path: Path) -> None:
    good = [trace(f"c{n}", event("x", "2011-01-01")) for n in range(50)]
    path = _write(tmp_path / "log.xes", log(*good, trace("bad", event("x", "never"))))
    with (
        _run(cluster, ReplayPlan(path=path, run="r")) as replayed,
        pytest.raises(CheckFailed, match=r"log\.xes:154: time:timestamp"),
    ):
        replayed.go()
    assert set(replay_report.places(cluster.reader(), replay.RECORDED).values()) == {0}
    assert "replay-r.cases" not in cluster.admin().topics()


def test_a_log_without_events_or_without_the_named_deadline_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "log.xes", log(trace("a")))
    with Sorter() as sorter, pytest.raises(CheckFailed, match="no event of a case"):
        replay.sort(ReplayPlan(path=path, run="r"), sorter, print)
    path.write_text(log(trace("a", event("x", "2011-01-01"))))
    with Sorter() as sorter, pytest.raises(CheckFailed, match=r"no case has the attribute 'due'.*concept:name"):
        replay.sort(ReplayPlan(path=path, run="r", deadline="due"), sorter, print)


def test_a_log_without_any_time_is_refused_before_the_run_has_topics(tmp_path: Path) -> None:
    path = tmp_path / "log.xes"
    path.write_text(log(trace("a", event("x", None))))
    with Sorter() as sorter, pytest.raises(CheckFailed, match=r"log\.xes: .*no event states one"):
        replay.sort(ReplayPlan(path=path, run="r"), sorter, lambda _: None)


def test_a_run_that_exists_and_missing_topics_are_refused(cluster: MemoryCluster) -> None:
    plan = ReplayPlan(path=Path("x"), run="r")
    replay.prepare(plan, cluster.admin(), cluster.reader())
    with pytest.raises(UsageError, match="There is a run r"):
        replay.prepare(plan, cluster.admin(), cluster.reader())
    cluster.admin().delete(replay.RECORDED)
    with pytest.raises(Refused, match="topics apply") as raised:
        replay.prepare(ReplayPlan(path=Path("x"), run="s"), cluster.admin(), cluster.reader())
    assert "topics apply" in raised.value.remedy


def test_the_kind_of_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(gzip.compress(log(trace("a")).encode("utf-16")))
    assert isinstance(replay.open_log(ReplayPlan(path=path, run="r")), XesLog)
    with pytest.raises(UsageError, match="--delimiter is for CSV"):
        replay.open_log(ReplayPlan(path=path, run="r", columns=CsvOptions(delimiter=";")))
    path.write_text("case,activity,time\n")
    assert isinstance(replay.open_log(ReplayPlan(path=path, run="r")), CsvLog)

"""`agencybus replay`: a recorded log goes over Kafka in time order, a workflow follows it, a report closes the run.

Called by `connectors.cli_replay`. The whole log is read, checked and sorted before anything is published; then the
events go out, a workflow worker of its own group follows them, and what it wrote is counted and compared with what was
sent. The traps it avoids: a bad line found after half the log is on the topic, an older run's events in this one's
report, and a wait without end when the worker has died.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from bus.errors import BusError, Refused, UsageError
from bus.message import Partition, Receipt
from bus.ports import Admin, Reader
from bus.publish import Publication
from bus.topology import group_states
from bus.wiring import Bus
from connectors import log_file, log_time, replay_report
from connectors.csv_log import CsvLog, CsvOptions
from connectors.log_event import LogEvent
from connectors.merge_sort import NoTime, Ordered, Sorter
from connectors.replay_events import DEADLINE, Deadlines, Tally, publication
from connectors.replay_report import Report
from connectors.xes import XesLog

RECORDED = "replay.activity.recorded.v1"
BATCH = 2_000  # events published and acknowledged together
STALL_S = 60.0
POLL_S = 0.25
Say = Callable[[str], None]


class Log(Protocol):
    """A reader of recorded events."""

    @property
    def parse_time(self) -> log_time.Parse:
        """Reads a time as this log writes its own."""
        ...

    def __iter__(self) -> Iterator[LogEvent]:
        """Events in file order."""
        ...


class Worker(Protocol):
    """The workflow worker beside the replay."""

    def check(self) -> None:
        """Raise BusError when it has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What to replay and how.

    Args:
        path: the log. run: id of the run. host: faust or aiokafka.
        speed: recorded seconds per second; None is as fast as it goes.
        deadline: the attribute that holds a case's deadline, None for the usual one where the log has it.
        columns: what is said of the columns; for XES, case, activity and timestamp are attribute keys.
    """

    path: Path
    run: str
    host: str = "faust"
    speed: float | None = None
    deadline: str | None = None
    columns: CsvOptions = field(default_factory=CsvOptions)

    @property
    def group(self) -> str:
        """The consumer group of the run's worker."""
        return f"replay-{self.run}"


@dataclass(slots=True)
class Watch:
    """The edges a replay waits with: seconds that pass, a pause, and words for people."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    say: Say = lambda _: None


def open_log(plan: ReplayPlan) -> Log:
    """The reader for the file's kind, which its first bytes tell. Raises UsageError, CheckFailed."""
    columns = plan.columns
    if not log_file.is_xml(log_file.head_of(plan.path, size=1024)):
        due = plan.deadline or DEADLINE
        return CsvLog(plan.path, options=columns.with_case_column(due))
    if columns.delimiter or columns.time_format or columns.encoding:
        option = "--delimiter" if columns.delimiter else "--time-format" if columns.time_format else "--encoding"
        raise UsageError(f"{option} is for CSV; {plan.path} is XML.", remedy=f"Leave {option} out.")
    return XesLog(
        plan.path,
        case=columns.case or "concept:name",
        activity=columns.activity or "concept:name",
        timestamp=columns.timestamp or "time:timestamp",
    )


def sort(plan: ReplayPlan, sorter: Sorter, say: Say) -> Deadlines:
    """Read, check and sort the whole log; nothing is published yet.

    Args:
        plan: names the log and the deadline attribute.
        sorter: empty; holds the sorted events afterwards.
        say: called with a sentence for people.

    Raises:
        CheckFailed: the log or the deadline attribute is wrong. UsageError, BusError: see `Sorter`.
    """
    log = open_log(plan)
    deadlines = Deadlines(plan.path, plan.deadline)
    try:
        sorter.add_all(deadlines.checked(_with_parser(log, deadlines)))
        sorter.close_input()  # a log without any time is refused here, not when the run has its topics
    except NoTime as problem:
        raise log_file.wrong(plan.path, 0, "time", problem.message, fix=problem.remedy) from None
    if not sorter.events:
        raise log_file.wrong(plan.path, 0, "empty", "holds no event of a case", fix="Give a log with events.")
    if plan.deadline is not None and plan.deadline not in sorter.attribute_names:
        known = ", ".join(sorted(sorter.attribute_names))[:300] or "none"
        message = f"no case has the attribute {plan.deadline!r}"
        raise log_file.wrong(plan.path, 0, "deadline", message, fix=f"Attributes of cases: {known}.")
    say(f"{sorter.events:,} events of {sorter.cases:,} cases in time order")
    if isinstance(log, XesLog):
        _say_left_out(log, say)
    if sorter.carried:
        say(f"{sorter.carried:,} events without a time take that of the event before them in their case")
    return deadlines


def prepare(plan: ReplayPlan, admin: Admin, reader: Reader) -> dict[Partition, int]:
    """Make the run's group: its topics, and its place at the end of the recorded events.

    Args:
        plan: names the run.
        admin: makes topics and commits.
        reader: finds their ends.

    Returns:
        Where the topics of the report and of the recorded events end now: the offset of the next record.

    Raises:
        UsageError: the run exists. Refused: a topic of the replay is missing.
    """
    topics = admin.topics()
    missing = [name for name in (RECORDED, replay_report.FOLLOWED, replay_report.MISSED) if name not in topics]
    if missing:
        remedy = "Run `agencybus topics apply`."
        raise Refused(f"Topics are missing: {', '.join(missing)}.", field="topics", remedy=remedy)
    states = group_states(plan.group, topics[RECORDED])
    if any(state.name in topics for state in states):
        raise UsageError(f"There is a run {plan.run} on this broker.", remedy="Choose another --run, or leave it out.")
    for state in states:
        admin.create(state)
    ends = replay_report.places(reader, RECORDED)
    admin.commit(plan.group, ends)
    for topic in (replay_report.FOLLOWED, replay_report.MISSED):
        ends |= replay_report.places(reader, topic)
    return ends


class Sender:
    """Publishes the events of a run in time order and counts them.

    Args:
        bus: connected as `replay`. targets: next offset after this run's events, per partition; grows.
    """

    def __init__(self, bus: Bus, plan: ReplayPlan, deadlines: Deadlines, watch: Watch) -> None:
        self._bus = bus
        self._plan = plan
        self._deadlines = deadlines
        self._watch = watch
        self.tally = Tally()
        self.targets: dict[Partition, int] = {}

    def send(self, events: Iterable[Ordered], *, total: int, worker: Worker) -> None:
        """Publish `events`, at the plan's speed.

        Args:
            events: in time order.
            total: how many they are, for the progress line.
            worker: checked after each batch.

        Raises:
            BusError: the first event not acknowledged, or the worker ended.
        """
        said_at = self._watch.monotonic()
        for batch in self._batches(events):
            self._publish(batch)
            worker.check()
            now = self._watch.monotonic()
            if now - said_at >= 1.0:
                said_at = now
                self._watch.say(f"published {self.tally.events:,} of {total:,} events")
        self._watch.say(f"published {self.tally.events:,} of {total:,} events")

    def _batches(self, events: Iterable[Ordered]) -> Iterator[list[Ordered]]:
        """Groups of events that are due together; waits until each is due."""
        if self._plan.speed is None:
            remaining = iter(events)
            while batch := list(islice(remaining, BATCH)):
                yield batch
            return
        begun, first, batch = self._watch.monotonic(), None, list[Ordered]()
        for event in events:
            first = first or event.time
            due = begun + (event.time - first).total_seconds() / self._plan.speed
            if batch and (len(batch) >= BATCH or due > self._watch.monotonic()):
                yield batch
                batch = []
            while (pause := due - self._watch.monotonic()) > 0:
                self._watch.sleep(min(pause, 1.0))
            batch.append(event)
        if batch:
            yield batch

    def _publish(self, batch: list[Ordered]) -> None:
        said: list[Publication | BusError] = []
        for event in batch:
            self.tally.add(event.activity, time=event.time, opens=event.sequence == 1, closes=event.last)
            said.append(publication(event, run=self._plan.run, deadline=self._deadlines.take(event)))
        for event, receipt in zip(batch, self._bus.publish_all(said), strict=True):
            if not isinstance(receipt, Receipt):
                place = f"{self._plan.path}:{event.line}"
                raise BusError(f"{place}: not published: {receipt.message}", remedy=receipt.remedy)
            partition = Partition(receipt.topic, receipt.partition)
            self.targets[partition] = max(self.targets.get(partition, 0), receipt.offset + 1)


def wait(plan: ReplayPlan, admin: Admin, *, targets: dict[Partition, int], worker: Worker, watch: Watch) -> None:
    """Wait until the worker has committed everything that was published.

    Args:
        plan: names the group.
        admin: reads its commits.
        targets: by partition, the offset it must reach.
        worker: checked at every look.
        watch: seconds, pause and words for people.

    Raises:
        BusError: nothing moved for `STALL_S` seconds, or the worker ended.
    """
    before, moved_at, said_at = -1, watch.monotonic(), watch.monotonic()
    while True:
        committed = admin.committed([plan.group]).get(plan.group, {})
        behind = {p: end - committed.get(p, 0) for p, end in targets.items() if committed.get(p, 0) < end}
        if not behind:
            return
        left, now = sum(behind.values()), watch.monotonic()
        if left != before:
            before, moved_at = left, now
        if now - moved_at > STALL_S:
            where = ", ".join(f"partition {p.number}: {n:,}" for p, n in sorted(behind.items()))
            text = f"The workflow has not moved for {STALL_S:g} s; records not followed: {where}."
            raise BusError(text, remedy=f"See `agencybus lag` for the group {plan.group}.")
        worker.check()
        if now - said_at >= 1.0:
            said_at = now
            watch.say(f"waiting for the workflow: {left:,} records to go")
        watch.sleep(POLL_S)


def report(
    plan: ReplayPlan, bus: Bus, reader: Reader, *, starts: dict[Partition, int], published: Tally, seconds: float
) -> Report:
    """Count what the workflow wrote. It must equal what was published.

    Args:
        plan: the run.
        bus: whose codec reads.
        reader: reads what the workflow wrote.
        starts: by partition, the first offset of the run.
        published: what was sent.
        seconds: how long the run took.

    Raises:
        BusError: the count differs from `published`; names each difference, at most five.
    """
    followed, late = replay_report.count(reader, bus.core.codec, run=plan.run, starts=starts)
    if wrong := followed.differences(published):
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        text = f"The workflow's count differs from what was published: {'; '.join(wrong[:5])}{more}."
        raise BusError(text, remedy=f"See the dead letters of the group {plan.group}.")
    return Report(run=plan.run, followed=followed, deadline_breaches=late, host=plan.host, seconds=seconds)


def _with_parser(log: Log, deadlines: Deadlines) -> Iterator[LogEvent]:
    for event in log:
        deadlines.parse = log.parse_time  # a CSV log knows how its times are written once it is being read
        yield event


def _say_left_out(log: XesLog, say: Say) -> None:
    if log.header.empty_traces:
        say(f"{log.header.empty_traces:,} cases without events are left out")
    if log.header.loose_events:
        say(f"{log.header.loose_events:,} events outside cases are left out")

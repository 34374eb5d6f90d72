"""What a replay says and counts: events in time order become typed events, and tallies of both ends are compared.

Called by `replay`, `replay_report` and `cli_replay`. Pure. The trap it avoids: the case id of a log may hold anything,
so it is escaped and carries the run; two runs of one file never share a case.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from bus.errors import UsageError
from bus.publish import Publication
from connectors import log_file, log_time
from connectors.log_event import LogEvent
from connectors.merge_sort import Ordered
from schemas import names
from schemas.recorded import ActivityRecorded

DEADLINE = "deadline"  # the attribute looked for when none is named
MAX_EVENT = 700_000  # bytes of one event's attributes; a record has to fit into Kafka's 1 MB
_RUN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_MAX_CASE = 255


@dataclass(slots=True)
class Tally:
    """A count of events, of what was published or of what the workflow followed.

    Args:
        activities: events per activity. outcomes: cases per last activity.
        first, last: earliest and latest time.
    """

    cases: int = 0
    events: int = 0
    activities: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None

    def add(self, activity: str, *, time: datetime, opens: bool, closes: bool) -> None:
        """Count one event.

        Args:
            activity: its name.
            time: when it happened, aware.
            opens: it is its case's first.
            closes: it is its case's last.
        """
        self.events += 1
        self.cases += opens
        self.activities[activity] += 1
        if closes:
            self.outcomes[activity] += 1
        self.first = time if self.first is None or time < self.first else self.first
        self.last = time if self.last is None or time > self.last else self.last

    def differences(self, published: Tally) -> list[str]:
        """What this count of followed events lacks or has too much, in words; empty when both are equal."""
        found = [
            f"{word}: published {there}, followed {here}"
            for word, there, here in (
                ("cases", published.cases, self.cases),
                ("events", published.events, self.events),
                ("first", published.first, self.first),
                ("last", published.last, self.last),
            )
            if there != here
        ]
        for word, there, here in (
            ("activity", published.activities, self.activities),
            ("outcome", published.outcomes, self.outcomes),
        ):
            found += [
                f"{word} {name!r}: published {there[name]}, followed {here[name]}"
                for name in sorted(there.keys() | here.keys())
                if there[name] != here[name]
            ]
        return found


def run_id(text: str | None, *, now: datetime, token: str) -> str:
    """The run's id: `text` if it can be one, else made from the time and `token`.

    Args:
        text: the user's choice.
        now: time of the start.
        token: random text.

    Raises:
        UsageError: when `text` cannot be part of a case id and of a topic name.
    """
    if text is None:
        return f"{now:%Y%m%dT%H%M%S}-{token}"
    if not _RUN.fullmatch(text):
        raise UsageError(
            f"--run {text!r}: use letters, digits, dots and hyphens, at most 64.", remedy="E.g. --run may-1."
        )
    return text


def case_of(run: str, name: str) -> str:
    """The case id of a log's case in a run: ``<run>/<escaped name>``, or a hash where that is too long."""
    case = f"{run}/{names.case_part(name)}"
    if len(case) > _MAX_CASE:
        case = f"{run}/sha256:{sha256(name.encode()).hexdigest()}"  # an escaped name holds no colon
    return case


class Deadlines:
    """Finds each case's deadline in what the file states of the case; a ``<global>`` default never is one.

    Args:
        path: the file, for errors.
        attribute: the user's choice; None looks for `DEADLINE` and passes over values that are no times.
    """

    def __init__(self, path: Path, attribute: str | None) -> None:
        self._path = path
        self._explicit = attribute is not None
        self.attribute = attribute or DEADLINE
        self.parse: log_time.Parse = log_time.iso
        self.passed_over = 0

    def checked(self, events: Iterable[LogEvent]) -> Iterator[LogEvent]:
        """Pass events on, looking at each while nothing is published yet.

        Raises:
            CheckFailed: a deadline the user named is no time, or an event is too large for a record; names the line.
        """
        for event in events:
            text = event.case_attributes.get(self.attribute)
            if text and self._explicit and self.of(text) is None:
                message, fix = f"{self.attribute}: {text[:60]!r} is no time", "Name another with --deadline."
                raise log_file.wrong(self._path, event.line, "deadline", message, fix=fix)
            size = sum(map(len, event.attributes.values())) + sum(map(len, event.case_attributes.values()))
            if size > MAX_EVENT // 4 and _bytes(event) > MAX_EVENT:
                message = f"the attributes of one event are larger than {MAX_EVENT // 1000} kB"
                raise log_file.wrong(self._path, event.line, "size", message, fix="Leave out the largest.")
            yield event

    def of(self, text: str | None) -> datetime | None:
        """The time in `text`: as the log's own times are written, or ISO 8601; None when it is neither."""
        for parse in (self.parse, log_time.iso):
            try:
                return parse(text) if text else None
            except (ValueError, OverflowError):
                continue
        return None

    def take(self, event: Ordered) -> datetime | None:
        """The deadline to send with `event`: on the first of a case only. Counts texts that are none."""
        text = event.case_attributes.get(self.attribute)
        due = self.of(text)
        self.passed_over += bool(text) and due is None
        return due


def publication(event: Ordered, *, run: str, deadline: datetime | None) -> Publication:
    """The event as it is published; its id is the hash of its content, so a repetition is the same event.

    Args:
        event: of the log.
        run: id of the run.
        deadline: of its case, aware; None when it has none.
    """
    recorded = ActivityRecorded(
        run=run,
        activity=event.activity,
        sequence=event.sequence,
        last=event.last,
        deadline=deadline,
        attributes=dict(event.attributes),
        case_attributes=dict(event.case_attributes),
    )
    return Publication(event=recorded, case=case_of(run, event.case), time=event.time)


def _bytes(event: LogEvent) -> int:
    both = (event.attributes, event.case_attributes)
    return sum(len(key.encode()) + len(text.encode()) for some in both for key, text in some.items())

"""What stands still: the events and timers that wait behind a failure of their case, as rows of the case log.

Called by `agents.shelf` (recovery), `agents.decide` (which parks, releases and drops) and by what shows cases. A row
keyed ``!parked/``, the case, a zero byte and the entry's own key holds the bytes of `bus.middleware.parking`, so the
commands that list and release read it like any parked record. Its first byte is no format of a case: a worker that
knows no parked rows refuses the partition instead of stepping later events past the parked one. The trap it avoids: an
order of the queue that depends on when a row was written; it comes from the records alone, so a rewritten row keeps its
place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from agents.case import Active, Case, copy
from agents.case_bytes import Damaged
from agents.case_log import Row
from agents.graph import Graph, Wait
from bus.errors import Refused
from bus.message import Record
from bus.middleware import parking
from bus.middleware.dead_letter import Failure
from bus.middleware.parking import QUEUED, Entry

PREFIX = b"!parked/"
TIMER = "!timer"  # no topic begins with `!`
GRACE_MS = 1_000  # brokers' clocks differ by less: an event may be stamped before the one that opens its case


@dataclass(frozen=True, slots=True)
class Waiting:
    """One place in the queue of a parked case.

    Args:
        order: sorts the queue; the time of the record, then its place.
        key: of the row. entry: the record and why it waits.
    """

    order: tuple[int, str, int, bytes]
    case: str
    key: bytes
    entry: Entry

    @property
    def due(self) -> int | None:
        """The due moment of the timer (microseconds) that failed; None when this is an event."""
        return self.entry.record.offset if self.entry.record.topic == TIMER else None

    def row(self) -> Row:
        """The row of the case log that says so."""
        return self.key, parking.pack(self.entry)

    def failed(self, failure: Failure) -> Waiting:
        """The same place after another try has failed; the count of tries goes on."""
        before = self.entry.failure
        first, tries = (failure.first, 0) if self.entry.queued else (before.first, before.attempt)
        return replace(self, entry=replace(self.entry, failure=replace(failure, first=first, attempt=tries + 1)))


def waiting(case_id: str, entry: Entry, *, opens_on: str = "") -> Waiting:
    """The place of an entry in its case's queue.

    Args:
        case_id: of the case.
        entry: what waits.
        opens_on: topic of the events that open cases; they come first, as in `agents.unit.Lane`.
    """
    record, own = entry.record, parking.entry_key(entry)
    moment = record.timestamp - GRACE_MS if record.topic == opens_on else record.timestamp
    if record.topic == TIMER:  # it parks a case, or comes before the event that its queue begins with
        moment = -1
    return Waiting((moment, record.topic, record.offset, own), case_id, key_of(case_id) + own, entry)


def key_of(case_id: str) -> bytes:
    """What the row keys of a case's queue begin with."""
    return PREFIX + case_id.encode() + b"\0"


def read(key: bytes, value: bytes, *, opens_on: str = "") -> Waiting:
    """The place that a row holds.

    Args:
        key: of the row; begins with `PREFIX`.
        value: its bytes.
        opens_on: see `waiting`.

    Raises:
        Damaged: they cannot be read; never quotes them.
    """
    try:
        case_id = key.removeprefix(PREFIX).split(b"\0", 1)[0].decode()
        found = waiting(case_id, parking.unpack(value), opens_on=opens_on)
    except Refused as newer:
        raise Damaged(newer.message, remedy=newer.remedy) from None
    except ValueError:
        raise Damaged(
            "a parked row of the case log cannot be read.", remedy="Restore the topic; do not skip."
        ) from None
    if found.key != key:
        raise Damaged("a parked row of the case log is not its key's.", remedy="Restore the topic; do not skip.")
    return found


def timer(case_id: str, number: int, due: int) -> Record:
    """A record that stands for a timer, which has none: its offset is the due moment in microseconds."""
    return Record(TIMER, number, due, due // 1_000, case_id.encode(), None, ())


def behind(cause: Failure, now: datetime) -> Failure:
    """What is told of an entry that only queues behind one that failed."""
    return Failure(stage=QUEUED, kind=cause.kind, error=cause.error, attempt=0, first=now, last=now)


def without_timer(graph: Graph, case: Case, due: int) -> Case | None:
    """The case with its timers of this due moment spent and nothing done about it.

    Args:
        graph: the process.
        case: never changed.
        due: microseconds.

    Returns:
        None when one of them is all that moves a step on: nothing else would ever end it.
    """
    after = copy(case)
    for step, wait in case.active.items():
        if wait.due == due and not wait.fired:
            if isinstance(graph.program[graph.at[step]], Wait):
                return None
            after.active[step] = Active(wait.since, due, fired=True)
    whole = case.deadline
    if whole is not None and whole.due == due and not whole.fired:
        after.deadline = Active(whole.since, due, fired=True)
    after.transitions += 1  # as a timer that fired: ids of later outputs count from it
    return after


@dataclass(frozen=True, slots=True)
class Standstill:
    """One parked case, for people.

    Args:
        since: when its first entry failed first. stage, error: where and with what. entries: how many wait.
    """

    since: datetime
    stage: str
    error: str
    entries: int

    def text(self, group: str, case_id: str) -> str:
        """The sentence that a trace prints."""
        more = f", {self.entries - 1} more behind it" if self.entries > 1 else ""
        return (
            f"parked since {self.since:%Y-%m-%d %H:%M:%S} UTC, because of {self.error} (stage {self.stage}){more}; "
            f"release with `agencybus parked release --group {group} --case {case_id}`"
        )


def standstill(queue: Sequence[Waiting]) -> Standstill | None:
    """What there is to say of a queue; None of an empty one."""
    if not queue:
        return None
    head = next((w for w in queue if not w.entry.queued), queue[0]).entry.failure
    return Standstill(head.first, head.stage, head.error, len(queue))


def of_case(rows: Mapping[bytes, bytes], case_id: str) -> list[Waiting]:
    """The queue of one case among the latest rows of a case log. Raises Damaged."""
    own = key_of(case_id)
    return sorted((read(key, value) for key, value in rows.items() if key.startswith(own)), key=lambda w: w.order)

"""What one case partition's part of a unit comes to, and the rules it is made by. Values only.

Made by `agents.stepping` and `agents.decide`, stored and installed by `agents.runner`. The trap it avoids: a decision
that changes what is kept before its batch is durable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.case_log import Stored
from agents.graph import Graph
from agents.intake import Dead, Intake
from agents.outputs import Outputs, Said
from agents.parked import TIMER, Waiting
from agents.shelf import Entry
from bus.errors import BusError
from bus.message import Record

TOO_LARGE = "TooLarge"
Place = tuple[str, int, int, str]  # of one piece of work: topic, partition, offset; of a timer also its case


def place(record: Record, case_id: str = "") -> Place:
    """The place of a record as a piece of work.

    Args:
        record: it.
        case_id: its case, needed when it stands for a timer.
    """
    return record.topic, record.partition, record.offset, case_id if record.topic == TIMER else ""


class UnknownVersion(BusError):
    """A case runs on a version of its process that this worker was not given."""


class Alarm(NamedTuple):
    """What somebody has to look at; said once the decision is stored."""

    case: str
    stage: str
    error: str


@dataclass(slots=True)
class Decision:
    """What one partition's part of a unit comes to; nothing of it is kept before the batch is stored.

    Args:
        taken: the records it covers. told: commands and redriven letters it covers.
        changes: new entries by case id. dead: records for the dead letters.
        fired: timers taken off the heap, put back when the decision is dropped.
        queues: how it leaves the queues of parked cases. rows: their rows in the case log, None to remove one.
        settled: keys of told records that are done with.
        alarms: what somebody has to look at.
        work: every event, timer and queued entry it tried (an event as its record, which costs nothing); what a batch
            too large is made smaller by.
        described: whether its batch tells of the process.
    """

    taken: list[Record] = field(default_factory=list)
    told: list[Record] = field(default_factory=list)
    changes: dict[str, Entry | None] = field(default_factory=dict)
    dead: list[Dead] = field(default_factory=list)
    fired: list[tuple[int, str]] = field(default_factory=list)
    queues: dict[str, list[Waiting]] = field(default_factory=dict)
    rows: dict[bytes, Waiting | None] = field(default_factory=dict)
    settled: list[bytes] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    work: list[Place | Record] = field(default_factory=list)
    described: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to store."""
        return not (self.taken or self.told or self.changes or self.rows)

    @property
    def stored(self) -> dict[str, Stored]:
        """The changed cases that go on, with their outputs."""
        return {case_id: entry for case_id, entry in self.changes.items() if isinstance(entry, Stored)}


@dataclass(frozen=True, slots=True)
class Rules:
    """What every decision of a worker goes by.

    Args:
        graphs: versions of the process by hash. graph: the one new cases open on.
        intake: reads records. outputs: say whether what would follow can be built and stored.
        too_large: pieces of work whose result did not fit into a batch of their own, and how often.
    """

    graphs: Mapping[str, Graph]
    graph: Graph
    intake: Intake
    outputs: Outputs
    too_large: dict[Place, int] = field(default_factory=dict)


def said(stored: Mapping[int, Mapping[str, Stored]]) -> list[Said]:
    """What cases put out, in order.

    Args:
        stored: cases with their outputs, by case partition and case id.
    """
    return [
        (number, case_id, emit)
        for number, entries in stored.items()
        for case_id, entry in entries.items()
        for emit in entry.pending
    ]

"""What happened to the births of a run, read back from Kafka, and what is wrong with it.

Used by the kill tests. `anomalies` is pure, so its own test can feed it histories that went wrong.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from agents import case_bytes
from bus.message import Partition, Record
from bus.ports import Reader
from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.envelope import from_headers

NOTIFIED = "health.birth.notified.v1"
REQUESTED = "portal.request.created.v1"
ASSIGNED = "social-fund.benefit.assigned.v1"


@dataclass
class History:
    """One run.

    Args:
        stillborn: by case, what the clinic said.
        outcomes: by case, how the archive says it ended.
        requests, benefits: by case, how often each event id stands on the topic.
        dead: dead letters of the workflow.
        unplaced: cases whose archive record lacks the offset of an output (its ack was lost with a killed worker).
    """

    stillborn: dict[str, bool] = field(default_factory=dict)
    outcomes: dict[str, str | None] = field(default_factory=dict)
    requests: dict[str, Counter[str]] = field(default_factory=dict)
    benefits: dict[str, Counter[str]] = field(default_factory=dict)
    dead: int = 0
    unplaced: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """The figures to print."""
        return {
            "births": len(self.stillborn),
            "cases closed": len(self.outcomes),
            "completed": sum(outcome == "completed" for outcome in self.outcomes.values()),
            "stillbirths": sum(outcome == "stillbirth" for outcome in self.outcomes.values()),
            "requests (distinct ids)": sum(len(ids) for ids in self.requests.values()),
            "requests (records)": sum(sum(ids.values()) for ids in self.requests.values()),
            "benefits (distinct ids)": sum(len(ids) for ids in self.benefits.values()),
            "benefits (records)": sum(sum(ids.values()) for ids in self.benefits.values()),
            "dead letters": self.dead,
            "cases with an offset to look up": len(self.unplaced),
        }


def anomalies(history: History) -> list[str]:
    """Everything that is not as it must be, in words; empty when the run is right."""
    wrong = [f"{case}: never ended" for case in history.stillborn if case not in history.outcomes]
    for case, outcome in history.outcomes.items():
        if case not in history.stillborn:
            wrong.append(f"{case}: nobody notified it")
            continue
        expected = "stillbirth" if history.stillborn[case] else "completed"
        if outcome != expected:
            wrong.append(f"{case}: ended as {outcome}, expected {expected}")
    for case, stillborn in history.stillborn.items():
        for what, found in (("request", history.requests), ("benefit", history.benefits)):
            count = len(found.get(case, ()))
            if count != (0 if stillborn else 1):
                wrong.append(f"{case}: {count} {what}s")
    if history.dead:
        wrong.append(f"{history.dead} dead letters")
    return wrong


def read(reader: Reader, group: str) -> History:
    """The history of everything on the cluster."""
    catalogue = standard()
    codec = Codec(catalogue)
    history = History()
    for record in _all(reader, NOTIFIED):
        envelope = from_headers(record.headers)
        event = codec.decode(record.value or b"", catalogue.topic(NOTIFIED).model, record.headers)
        history.stillborn[envelope.correlationid or ""] = bool(getattr(event, "stillborn", False))
    for topic, found in ((REQUESTED, history.requests), (ASSIGNED, history.benefits)):
        for record in _all(reader, topic):
            envelope = from_headers(record.headers)
            found.setdefault(envelope.correlationid or "", Counter())[envelope.id] += 1
    for record in _all(reader, f"{group}.archive"):
        case = case_bytes.from_bytes(record.value or b"")
        history.outcomes[case.id] = case.outcome
        if any(mark.offset < 0 for mark in case.trail):
            history.unplaced.append(case.id)
    history.dead = len(_all(reader, f"{group}.dead"))
    return history


def _all(reader: Reader, topic: str) -> list[Record]:
    partitions = [Partition(topic, number) for number in range(reader.partitions(topic))]
    return [r for p, (start, end) in reader.bounds(partitions).items() for r in reader.read(p, start, end)]

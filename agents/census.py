"""How a group's cases stand, read from its own store: by step while they run, summed up when they are archived.

Called by the demo; reads only, so it may run beside any worker. The trap it avoids: counting events to guess at states
(a guess drifts after a duplicate); the case log says what each case waits for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from agents import case_bytes, case_log, parked
from agents.case import Case
from agents.case_log import Stored
from bus.message import Partition
from bus.ports import Reader


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the open and closed cases.

    Args:
        by_step: open cases by what they wait for; a case in a fork counts once per branch.
        outcomes: closed cases by how they ended.
        oldest: the open case that has waited longest and since when (microseconds), None when none is open.
        parked: cases that stand still until somebody releases them.
    """

    by_step: Mapping[str, int]
    outcomes: Mapping[str, int]
    oldest: tuple[str, int] | None
    parked: frozenset[str] = frozenset()

    @property
    def closed(self) -> int:
        """How many cases have ended."""
        return sum(self.outcomes.values())


class Census:
    """Follows ``<group>.cases`` from where it stands when the census begins.

    Args:
        reader: reads by position.
        group: whose cases.
        prefix: count only cases whose id begins with it.
    """

    def __init__(self, reader: Reader, group: str, *, prefix: str = "") -> None:
        self._reader = reader
        self._prefix = prefix.encode()
        topic = f"{group}.cases"
        self._partitions = [Partition(topic, number) for number in range(reader.partitions(topic))]
        self._next = {p: end for p, (_, end) in reader.bounds(self._partitions).items()}
        self._open: dict[str, dict[str, int]] = {}
        self._closed: dict[str, str] = {}
        self._parked: dict[bytes, str] = {}  # row -> case

    def look(self) -> Snapshot:
        """Read what is new and sum it up."""
        for partition, (start, end) in self._reader.bounds(self._partitions).items():
            for record in self._reader.read(partition, max(start, self._next[partition]), end):
                self._take(record.key, record.value)
            self._next[partition] = end
        waiting = [(since, case_id) for case_id, steps in self._open.items() for since in steps.values()]
        oldest = min(waiting, default=None)
        return Snapshot(
            Counter(step for steps in self._open.values() for step in steps),
            Counter(self._closed.values()),
            None if oldest is None else (oldest[1], oldest[0]),
            frozenset(self._parked.values()),
        )

    def _take(self, key: bytes | None, value: bytes | None) -> None:
        if key is not None and key.startswith(parked.PREFIX):
            self._stand(key, value)
            return
        if key is None or value is None or key.startswith(case_log.OURS) or not key.startswith(self._prefix):
            return
        entry = case_log.unpack(value, None)  # what it waits for is wanted, not its past
        if not isinstance(entry, Stored):
            return
        if entry.case.outcome is not None:
            self._open.pop(entry.case.id, None)
            self._closed[entry.case.id] = entry.case.outcome
        else:
            self._open[entry.case.id] = {step: active.since for step, active in entry.case.active.items()}

    def _stand(self, key: bytes, value: bytes | None) -> None:
        case_id = key.removeprefix(parked.PREFIX).split(b"\0", 1)[0]
        if value is None:
            self._parked.pop(key, None)
        elif case_id.startswith(self._prefix):
            self._parked[key] = case_id.decode()


@dataclass(slots=True)
class Summary:
    """What a set of closed cases comes to; `add` one at a time.

    Args:
        outcomes: cases by how they ended. events: events by the agency that said them.
        papers: how many papers nobody carried. waits: per step, how long each case waited there, seconds.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    papers: Counter[str] = field(default_factory=Counter)
    waits: dict[str, list[float]] = field(default_factory=dict)

    def add(self, case: Case, replaces: Mapping[str, tuple[str, ...]]) -> None:
        """Count one case; `replaces` is the papers by step."""
        self.outcomes[case.outcome or "open"] += 1
        for mark in case.trail:
            self.events[mark.topic.split(".", 1)[0]] += 1
            self.papers.update(replaces.get(mark.step, ()))
            if not mark.id and mark.since:
                self.waits.setdefault(mark.step, []).append((mark.at - mark.since) / 1_000_000)

    def step_times(self) -> dict[str, tuple[float, float]]:
        """Per step p50 and p95 of the wait, seconds (nearest rank)."""
        return {step: (_rank(times, 50), _rank(times, 95)) for step, times in sorted(self.waits.items())}


def archived(reader: Reader, since: Mapping[Partition, int]) -> list[Case]:
    """The cases archived from the offsets `since` on; of a case archived twice, the last."""
    found: dict[str, Case] = {}
    for partition, (start, end) in reader.bounds(list(since)).items():
        for record in reader.read(partition, max(start, since[partition]), end):
            if record.value is not None:
                case = case_bytes.from_bytes(record.value)
                found[case.id] = case
    return list(found.values())


def archive_ends(reader: Reader, group: str) -> dict[Partition, int]:
    """Where the archive of a group ends now, by partition."""
    topic = f"{group}.archive"
    partitions = [Partition(topic, number) for number in range(reader.partitions(topic))]
    return {p: end for p, (_, end) in reader.bounds(partitions).items()}


def _rank(values: list[float], percent: int) -> float:
    """The nearest rank: the smallest value that at least `percent` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[-(-percent * len(ordered) // 100) - 1]

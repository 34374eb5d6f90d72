"""The history of one case: found in its group's store, told event by event from the positions kept in it.

Called by `agents.cli_case`; `describe` by the runner. No topic is scanned: the case or its archive record names the
topic, partition and offset of every event; the one output whose acknowledgement was not yet seen is looked up from its
time on, in its own partition. No payload is shown: who, what, when, what it waited for, which paper it replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from agents import case as cases
from agents import case_bytes, case_log, parked
from agents.case import Case, Mark
from agents.case_log import Row, Stored
from agents.graph import Graph
from agents.parked import Standstill
from bus.message import Partition, Record
from bus.partitioner import partition_for
from bus.ports import Reader, TopicState
from schemas.envelope import Envelope, format_us, from_headers
from schemas.errors import EnvelopeRefused

_CASES, _ARCHIVE = ".cases", ".archive"


@dataclass(frozen=True, slots=True)
class Found:
    """A case and where it was found.

    Args:
        group: the consumer group whose store has it. case: as it stands there.
        steps: what its process says of each step.
        parked: that it stands still and why; None when it does not.
    """

    group: str
    case: Case
    steps: Mapping[str, Mapping[str, object]]
    parked: Standstill | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event of a case.

    Args:
        at: when it moved the case, RFC 3339. event: its topic. agency: who said it. id: its id.
        step, title: the step that took it or put it out. owner: who answers for that step.
        waited_for: what the case was waiting for, empty for an event the case put out.
        replaced: papers nobody had to carry. partition, offset: where it stands, offset None when it is gone.
    """

    at: str
    event: str
    agency: str
    id: str
    step: str
    title: str
    owner: str
    waited_for: str
    replaced: tuple[str, ...]
    partition: int
    offset: int | None


def describe(graph: Graph) -> Row:
    """The row of the case log that says what people want to know of a process's steps."""
    steps = {
        name: {"title": s.title, "owner": s.owner, "waits_for": s.waits_for, "replaces": s.replaces}
        for name, s in graph.steps.items()
    }
    return case_log.PROCESS + graph.hash.encode(), to_json({"process": graph.process, "steps": steps})


def find(reader: Reader, topics: Mapping[str, TopicState], case_id: str) -> Iterable[Found]:
    """The case in every group that has it, open ones from the case log, closed ones from the archive.

    Args:
        reader: reads case logs and archives.
        topics: all of the broker, by name; those of case logs are looked into.
        case_id: of the case.

    Raises:
        Damaged: an entry is not of a known format. Unreachable: the broker does not answer.
    """
    key = case_id.encode()
    for name in sorted(topics):
        if not name.endswith(_CASES):
            continue
        group = name.removesuffix(_CASES)
        number = partition_for(key, topics[name].partitions)
        wanted = (case_log.PROCESS, parked.key_of(case_id), case_log.chapters_of(case_id))
        rows = _latest(reader, Partition(name, number), key, wanted)
        queue = parked.of_case(rows, case_id)
        case = _case(reader, Partition(group + _ARCHIVE, number), key, rows)
        if case is None and queue:  # parked by the event that would open it
            case = Case(case_id, "", queue[0].entry.record.timestamp * 1_000)
        if case is not None:
            described = rows.get(case_log.PROCESS + case.graph.encode())
            steps = from_json(described)["steps"] if described else {}
            yield Found(group, case, steps, parked.standstill(queue))


def _case(reader: Reader, archive: Partition, key: bytes, rows: Mapping[bytes, bytes]) -> Case | None:
    """The case as its rows of the case log tell it, or what the archive has of it."""
    value = rows.get(key)
    if value is None:
        return None
    entry = case_log.unpack(value, case_log.chapters(rows.items()).get(key.decode(), ()))
    if isinstance(entry, Stored):
        return entry.case
    archived = _latest(reader, archive, key).get(key)
    return None if archived is None else case_bytes.from_bytes(archived)


def entries(reader: Reader, found: Found) -> list[Entry]:
    """Every event of the case, in the order it met them."""
    return [_entry(found, mark, *_event(reader, found.case, mark)) for mark in cases.whole_trail(found.case)]


def _latest(reader: Reader, partition: Partition, key: bytes, prefixes: tuple[bytes, ...] = ()) -> dict[bytes, bytes]:
    """The last value of a key, and of all keys that begin with one of these."""
    start, end = reader.bounds([partition])[partition]
    latest: dict[bytes, bytes] = {}
    for record in reader.read(partition, start, end):
        if record.key is not None and (record.key == key or record.key.startswith(prefixes)):
            if record.value is None:
                latest.pop(record.key, None)
            else:
                latest[record.key] = record.value
    return latest


def _event(reader: Reader, case: Case, mark: Mark) -> tuple[Envelope | None, Record | None]:
    """The record a mark names. A position that holds another event (or none yet known) is looked up by id."""
    if mark.offset >= 0:
        for record in reader.read(Partition(mark.topic, mark.partition), mark.offset, mark.offset + 1):
            envelope = _envelope(record)
            if envelope is not None and mark.id in {"", envelope.id}:
                return envelope, record
    if not mark.id:
        return None, None
    partition = Partition(mark.topic, partition_for(case.id.encode(), reader.partitions(mark.topic)))
    start = reader.at_time([partition], mark.at // 1_000)[partition]
    for record in reader.read(partition, start, reader.bounds([partition])[partition][1]):
        envelope = _envelope(record)
        if envelope is not None and envelope.id == mark.id:
            return envelope, record
    return None, None


def _envelope(record: Record) -> Envelope | None:
    try:
        return from_headers(record.headers)
    except EnvelopeRefused:
        return None


def _entry(found: Found, mark: Mark, envelope: Envelope | None, record: Record | None) -> Entry:
    step = found.steps.get(mark.step, {})
    replaced = step.get("replaces")
    return Entry(
        at=format_us(mark.at),
        event=mark.topic,
        agency=mark.topic.split(".", 1)[0] if envelope is None else envelope.agency,
        id=mark.id if envelope is None else envelope.id,
        step=mark.step,
        title=str(step.get("title", "")),
        owner=str(step.get("owner", "")),
        waited_for="" if mark.id else str(step.get("waits_for", "")),
        replaced=tuple(map(str, replaced)) if isinstance(replaced, list) else (),
        partition=mark.partition if record is None else record.partition,
        offset=None if record is None else record.offset,
    )

"""A cluster in memory with dead letters of three causes, for the tests of the commands `dlq` and what stands below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bus.letter_desk import ACTIONS, LetterDesk
from bus.message import Outgoing, Partition, Record
from bus.middleware.dead_letter import Failure, dead_record
from bus.middleware.parking import Entry, is_command, unpack
from bus.middleware.retry import Kind
from bus.ports import TopicState, Transport
from bus.testing import put
from bus.transport.memory import MemoryCluster
from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.envelope import Envelope, to_headers
from schemas.requests import RequestCreated

TOPIC = "portal.request.created.v1"
GROUP = "office"
NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
CODEC = Codec(standard())
PARTITIONS = 3


def request(number: int, *, case: str, good: bool = True) -> Outgoing:
    """A request of a synthetic citizen; not `good`: its bytes are cut short."""
    event = RequestCreated(request_id=f"R-{number}", kind="parking_permit", subject=f"SYN-P-{number}")
    envelope = Envelope(id=f"e-{number}", source="/agencies/portal", type=TOPIC, time=NOW, correlationid=case)
    value = CODEC.encode(event)
    return Outgoing(case.encode(), value if good else value[:-3], tuple(to_headers(envelope)))


def failure(stage: str, kind: Kind, error: str, *, at: datetime = NOW) -> Failure:
    return Failure(stage=stage, kind=kind, error=error, attempt=1, first=at, last=at)


DECODE = failure("decode", Kind.INVALID, "Poison")
BUG = failure("handler", Kind.BUG, "ValueError")
RULE = failure("handler", Kind.REFUSED, "Refused")
CAUSES = (DECODE, BUG, RULE)


def make_topics(transport: Transport, *, group: str = GROUP, topic: str = TOPIC, parked: bool = True) -> None:
    """The topics a group's dead letters need."""
    admin = transport.admin()
    for name, partitions in ((topic, PARTITIONS), (f"{group}.dead", 1), (ACTIONS, 1)):
        if name not in admin.topics():
            admin.create(TopicState(name, partitions, 1, {"message.timestamp.type": "LogAppendTime"}))
    if parked:
        admin.create(TopicState(f"{group}.parked", PARTITIONS, 1, {"cleanup.policy": "compact"}))
    admin.close()


def fill(transport: Transport, count: int, *, group: str = GROUP, cases: int = 7) -> list[Record]:
    """Store `count` requests of `cases` cases, and a dead letter of each: causes in turn. The records, as stored."""
    sent: dict[int, list[Outgoing]] = {}
    for number in range(count):
        case = number % cases
        good = CAUSES[number % 3] is not DECODE
        sent.setdefault(case % PARTITIONS, []).append(request(number, case=f"{group}-{case}", good=good))
    reader = transport.reader()
    found = []
    for partition, records in sent.items():
        place = Partition(TOPIC, partition)
        first = put(transport, place, records)
        found += list(reader.read(place, first, first + len(records)))
    reader.close()
    found.sort(key=lambda one: int(_id(one).removeprefix("e-")))
    letters = [
        dead_record(one, replace(CAUSES[n % 3], last=NOW + timedelta(seconds=n)), group=group)
        for n, one in enumerate(found)
    ]
    put(transport, Partition(f"{group}.dead", 0), letters)
    return found


def _id(record: Record) -> str:
    return next((value or b"").decode() for name, value in record.headers if name == "ce_id")


def desk_on(transport: Transport, *, progress: Callable[[str], None] = lambda sentence: None) -> LetterDesk:
    admin = transport.admin()
    try:
        topics = admin.topics()
    finally:
        admin.close()
    return LetterDesk(transport.reader(), topics, catalogue=standard(), codec=CODEC, writers={}, progress=progress)


def entries(cluster: MemoryCluster, *, group: str = GROUP) -> list[Entry]:
    """What stands on the group's topic of parked records, partition by partition."""
    rows = [row for n in range(PARTITIONS) for row in cluster.logs[Partition(f"{group}.parked", n)]]
    return [unpack(row.value) for row in rows if row.value is not None and not is_command(row.key or b"")]

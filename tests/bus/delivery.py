"""A subscription over memory whose time is a number: what the tests of delivery share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from bus.consume import Subscription, open_record
from bus.errors import Unreachable
from bus.message import Outgoing, Partition, Record
from bus.middleware.dead_letter import DeadLetters, dead_topic
from bus.middleware.dedupe import MemorySeen, Seen
from bus.middleware.parking import (
    Command,
    Entry,
    command_key,
    entry_key,
    is_command,
    pack,
    pack_command,
    parked_topic,
    unpack,
)
from bus.middleware.retry import Policy, RetryPolicy
from bus.parked_store import ParkedStore
from bus.pipeline import Pipeline
from bus.ports import Reader, TopicState
from bus.testing import START
from bus.transport.memory import MemoryCluster, MemoryConsumer
from schemas.envelope import Envelope, to_headers
from tests.bus.support import CATALOGUE, TOPIC, NoteWritten, PlainCodec

GROUP = "g"
PLACE = Partition(TOPIC, 0)
QUICK = Policy(retry=RetryPolicy(attempts=3, base_s=1, cap_s=30))
CODEC = PlainCodec()


def outgoing(event_id: str, *, topic: str = TOPIC, source: str = "/agencies/portal", case: str = "c") -> Outgoing:
    envelope = Envelope(id=event_id, source=source, type=topic, time=START, correlationid=case)
    return Outgoing(case.encode(), CODEC.encode(NoteWritten(text=event_id)), tuple(to_headers(envelope)))


@dataclass
class Time:
    """Seconds that pass when somebody waits; a clock of the days too."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START.astimezone(UTC) + timedelta(seconds=self.seconds)


class PatientConsumer(MemoryConsumer):
    """A member whose waiting moves the time; `polls` notes when it polled."""

    def __init__(self, cluster: MemoryCluster, topics: Sequence[str], group: str, time: Time) -> None:
        super().__init__(cluster, tuple(topics), group)
        self.time = time
        self.polls: list[float] = []

    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        self.polls.append(self.time.seconds)
        found = super().poll(max_records=max_records, timeout=0)
        if not found:
            self.time.seconds += timeout
        return found


@dataclass
class Rows:
    """The topics of dead letters and parked entries; `away` says which of them cannot be reached."""

    cluster: MemoryCluster
    group: str = GROUP
    away: Callable[[Partition], bool] = lambda place: False
    reads_away: bool = False
    log: list[tuple[str, object]] = field(default_factory=list)

    def append(self, place: Partition, records: Sequence[Outgoing]) -> int:
        if self.away(place):
            raise Unreachable("The broker is made to fail.")
        self.log.append((place.topic, [r.key for r in records]))
        return self.cluster.store(place, records)

    def reader(self) -> Reader:
        if self.reads_away:
            raise Unreachable("The broker is made to fail.")
        return self.cluster.reader()

    def make(self) -> int:
        partitions = self.cluster.topics[TOPIC].partitions
        self.cluster.admin().create(TopicState(parked_topic(self.group), partitions, 1))
        return partitions


class Desk:
    """One process with a subscription: the parts that live and die together."""

    def __init__(
        self,
        cluster: MemoryCluster,
        *,
        group: str = GROUP,
        policy: Policy = QUICK,
        seen: Seen | None = None,
        time: Time | None = None,
        rows: Rows | None = None,
        topics: Sequence[str] = (TOPIC,),
    ) -> None:
        self.cluster = cluster
        self.group = group
        self.time = time or Time()
        self.rows = rows or Rows(cluster, group)
        cluster.admin().create(TopicState(dead_topic(group), 1, 1))
        self.consumer = PatientConsumer(cluster, topics, group, self.time)
        self.pipeline = Pipeline(
            opener=partial(open_record, catalogue=CATALOGUE, codec=CODEC),
            seen=seen or MemorySeen(),
            policy=policy,
            dead_letters=DeadLetters(group=group, append=self.rows.append, partitions=lambda topic: 1),
            clock=self.time,
            chance=lambda: 0.0,
        )
        self.store = ParkedStore(group, topics, self.rows)
        self.subscription: Subscription[NoteWritten] = Subscription(
            self.consumer, self.pipeline, self.store, group=group, monotonic=self.time
        )

    def run(self, handle: Callable[[str], Any], *, until_s: float) -> None:
        """Let `handle` have each event's text until the time has come; then close.

        Raises:
            Exception: only what is not the handler's.
        """
        for text, leave in self.walk(until_s=until_s):
            leave(handle, text)

    def walk(self, *, until_s: float) -> Iterator[tuple[str, Callable[..., None]]]:
        """Each event's text, and what to call with a handler."""
        consumer, subscription = self.consumer, self.subscription
        poll = consumer.poll

        def ending(**bounds: float) -> list[Record]:
            if self.time.seconds >= until_s:
                subscription.close()
                return []
            return poll(**bounds)  # type: ignore[arg-type]  # the bounds of `poll`

        consumer.poll = ending  # type: ignore[method-assign]
        try:
            for delivery in subscription:
                event = delivery._attempt.message.event
                assert isinstance(event, NoteWritten)

                def leave(handle: Callable[[str], Any], text: str, delivery: Any = delivery) -> None:
                    with delivery:
                        handle(text)

                yield event.text, leave
        finally:
            consumer.poll = poll  # type: ignore[method-assign]

    def die(self) -> None:
        """Be killed: nothing is committed or closed; the group learns of it."""
        with suppress(ValueError):
            self.consumer.evict()

    def committed(self, place: Partition = PLACE) -> int:
        return self.cluster.groups[self.group].commits.get(place, 0)

    def letters(self) -> list[dict[str, bytes | None]]:
        """The headers of each dead letter."""
        return [dict(r.headers) for r in self.cluster.logs.get(Partition(dead_topic(self.group), 0), [])]


def parked_rows(cluster: MemoryCluster, number: int = 0, *, group: str = GROUP) -> dict[bytes, bytes | None]:
    """The topic's rows after compaction, tombstones included."""
    rows: dict[bytes, bytes | None] = {}
    for row in cluster.logs.get(Partition(parked_topic(group), number), []):
        rows.pop(row.key or b"", None)
        rows[row.key or b""] = row.value
    return rows


def parked(cluster: MemoryCluster, number: int = 0, *, group: str = GROUP) -> list[Entry]:
    """The entries that stand on a partition, in the order they were written."""
    rows = parked_rows(cluster, number, group=group)
    return [unpack(value) for key, value in rows.items() if value is not None and not is_command(key)]


def command(cluster: MemoryCluster, do: str, *, key: str = "c", number: int = 0, action: str = "a1") -> None:
    """Say what an operator wants."""
    said = Command(id=action, do=do, topic=TOPIC, key=key.encode(), by="clerk", at=START)  # type: ignore[arg-type]
    place = Partition(parked_topic(GROUP), number)
    cluster.store(place, [Outgoing(command_key(said), pack_command(said))])


def redrive(cluster: MemoryCluster, entry: Entry) -> None:
    """Bring a letter back."""
    place = Partition(parked_topic(GROUP), entry.record.partition)
    cluster.store(place, [Outgoing(entry_key(entry), pack(entry))])

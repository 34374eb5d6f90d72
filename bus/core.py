"""A connected bus without a face: transport, producer, publisher, codec and pipeline, put together in one place.

Called by `bus.wiring`, which gives it a synchronous and an asynchronous face; `transport_of` also by commands that need
no bus. The trap it avoids: two faces that are wired differently.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from bus.clock import SystemClock
from bus.consume import Subscription, open_record
from bus.errors import Refused, UsageError
from bus.member import Member
from bus.message import Outgoing, Partition
from bus.middleware.dead_letter import DeadLetters
from bus.middleware.dedupe import MemorySeen, Seen
from bus.middleware.parking import parked_topic
from bus.middleware.retry import Policy, policy_of
from bus.parked_store import ParkedStore
from bus.pipeline import Pipeline
from bus.ports import Clock, Producer, Reader, TopicState, Transport
from bus.positions import Start, begin_group
from bus.publish import Publisher
from bus.settings import Settings
from bus.transport.schema_topic import SchemaTopic
from schemas.catalogue import Catalogue, standard
from schemas.codec import Codec
from schemas.errors import UnknownType
from schemas.event import Event

T = TypeVar("T")
_BETWEEN_POLLS_MS = 60_000  # what a member may do besides one late handler (`bus.member` polls after 30 s)


def transport_of(settings: Settings) -> Transport:
    """The Kafka transport the settings describe; nothing connects yet."""
    from bus.transport.kafka import KafkaTransport

    return KafkaTransport(
        bootstrap=settings.bootstrap,
        deadline_s=settings.publish_deadline_s,
        session_timeout_ms=settings.session_timeout_ms,
        # A handler that is late shall be heard of before the group gives its partition away: then two would be at it.
        max_poll_interval_ms=max(300_000, int(settings.handler_deadline_s * 2_000) + _BETWEEN_POLLS_MS),
        client_id=f"agencybus-{settings.agency or 'reader'}",
    )


class Run:
    """Runs a coroutine on `loop` from another thread and returns its result; Ctrl-C leaves the coroutine running."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work` and return what it returns, or raise what it raises."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class Core:
    """What the synchronous and the asynchronous bus share.

    Args:
        transport: makes the ports.
        settings: deadlines and agency.
        catalogue: which types exist. clock: gives times.
        producer: started, on the loop of this core.
    """

    def __init__(
        self, transport: Transport, settings: Settings, *, catalogue: Catalogue, clock: Clock, producer: Producer
    ) -> None:
        self.transport = transport
        self.catalogue = catalogue
        self.clock = clock
        self.producer = producer
        self._settings = settings
        self.codec = Codec(catalogue, writers=self._schemas())
        self._publisher = (
            None
            if settings.agency is None
            else Publisher(
                producer,
                self.codec,
                catalogue,
                agency=settings.agency,
                clock=clock,
                deadline_s=settings.publish_deadline_s,
            )
        )

    def _schemas(self) -> dict[int, dict[str, Any]]:
        reader = self.transport.reader()
        try:
            return SchemaTopic(reader).read_all()
        finally:
            reader.close()

    @property
    def publisher(self) -> Publisher:
        """The publisher. Raises UsageError when the bus was connected without an agency."""
        if self._publisher is None:
            raise UsageError(
                "To publish, say in whose name.",
                remedy="Give agency=... or --as, or set AGENCYBUS__AGENCY.",
            )
        return self._publisher

    async def close(self) -> None:
        """Settle what was taken, then disconnect."""
        if self._publisher is not None:
            await self._publisher.close()
        await self.producer.stop()

    def topics_of(self, model: type[Event], publishers: Sequence[str] | None) -> list[str]:
        """The topics of a contract.

        Raises:
            UnknownType: it is not in the catalogue. SchemaRefused: a named agency does not publish it.
        """
        found = [t.topic for t in self.catalogue.types() if t.model is model]
        chosen = found if publishers is None else [model.topic(agency) for agency in publishers]
        if not chosen or not set(chosen) <= set(found):
            raise UnknownType(f"{model.__name__} is not in the catalogue")
        return chosen

    def subscribe(
        self,
        topics: Sequence[str],
        *,
        group: str,
        run: Run,
        start: Start | None = None,
        seen: Seen | None = None,
        policy: Policy | str = "ordered",
    ) -> Subscription[Any]:
        """Join `group` on `topics`; see `bus.wiring.Bus.subscribe`.

        Args:
            topics: to read.
            group: the consumer group.
            run: reaches this core's loop from the calling thread.
            start: where a new group begins; None is the earliest record.
            seen: where applied event ids are kept; None is in memory.
            policy: what follows when a handler fails.

        Raises:
            UsageError: `start` was given and the group has commits; there is no such policy.
            Refused: a topic is not there. Unreachable.
        """
        pipeline = self._pipeline(topics, group=group, run=run, seen=seen, policy=policy_of(policy))
        if start is not None:
            self._begin(group, topics, start)
        return Subscription(
            self.transport.consumer(topics, group=group),
            pipeline,
            self._store(topics, group=group, run=run),
            group=group,
            deadline_s=self._settings.handler_deadline_s,
        )

    def member(
        self,
        topics: Sequence[str],
        *,
        group: str,
        run: Run,
        before_commit: Callable[[], None],
        seen: Seen | None = None,
        policy: Policy | str = "ordered",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Member:
        """Join `group` on `topics` as an office, which takes many records at a time; see `bus.member.Member`.

        Args:
            topics: to read.
            group: the consumer group.
            run: reaches this core's loop from the calling thread.
            before_commit: makes what handled records have caused durable.
            seen: where applied event ids are kept; None is in memory.
            policy: what follows when a reaction fails.
            monotonic: seconds.

        Raises:
            Refused: a topic is not there. Unreachable.
        """
        return Member(
            self.transport.consumer(topics, group=group),
            self._pipeline(topics, group=group, run=run, seen=seen, policy=policy_of(policy)),
            self._store(topics, group=group, run=run),
            group=group,
            before_commit=before_commit,
            monotonic=monotonic,
        )

    def _pipeline(self, topics: Sequence[str], *, group: str, run: Run, seen: Seen | None, policy: Policy) -> Pipeline:
        dead = DeadLetters(
            group=group,
            append=lambda place, records: run(self.producer.append(place, records)),
            partitions=partial(self._dead_partitions, topics, run),
        )
        return Pipeline(
            opener=partial(open_record, catalogue=self.catalogue, codec=self.codec),
            seen=seen or MemorySeen(),
            policy=policy,
            dead_letters=dead,
            clock=self.clock,
            chance=random.random,
        )

    def _store(self, topics: Sequence[str], *, group: str, run: Run) -> ParkedStore:
        return ParkedStore(group, topics, ParkedRows(self, topics, parked_topic(group), run))

    def _begin(self, group: str, topics: Sequence[str], start: Start) -> None:
        admin, reader = self.transport.admin(), self.transport.reader()
        try:
            begin_group(admin, reader, group=group, topics=topics, start=start)
        finally:
            admin.close()
            reader.close()

    def _dead_partitions(self, topics: Sequence[str], run: Run, topic: str) -> int:
        """Partitions of the dead-letter topic.

        One that is missing is made on the first letter: one partition (letters are few), kept for good, with as many
        replicas, and as many in sync, as the first topic read: a letter is as safe as the record it stands for.
        """
        try:
            return run(self.producer.partitions(topic))
        except Refused:
            admin = self.transport.admin()
            try:
                like = admin.topics()[topics[0]]
                admin.create(TopicState(topic, 1, like.replication, {"retention.ms": "-1", **_in_sync(like)}))
            finally:
                admin.close()
            return 1


def parked_state(topic: str, partitions: int, like: TopicState) -> TopicState:
    """The topic of a group's parked entries, as it shall be made.

    Args:
        topic: its name.
        partitions: as many as the largest topic read has.
        like: one of the topics read; gives the replicas and how many must be in sync.
    """
    config = {"cleanup.policy": "compact", "retention.ms": "-1", **_in_sync(like)}
    return TopicState(topic, partitions, like.replication, config)


def _in_sync(like: TopicState) -> dict[str, str]:
    """How many replicas of `like` must be in sync, when it says so itself."""
    key = "min.insync.replicas"
    return {key: like.config[key]} if key in like.config else {}


class ParkedRows:
    """The topic of a group's parked entries: `bus.parked_store.Rows` on a core.

    Args:
        core: its producer appends. topics: those the group reads. topic: the one of the entries.
        run: reaches the core's loop from the calling thread.
    """

    def __init__(self, core: Core, topics: Sequence[str], topic: str, run: Run) -> None:
        self._core = core
        self._topics = topics
        self._topic = topic
        self._run = run

    def append(self, place: Partition, records: Sequence[Outgoing]) -> int:
        """Store records; the first offset, after the replicated ack."""
        return self._run(self._core.producer.append(place, records))

    def reader(self) -> Reader:
        """A reader of the cluster."""
        return self._core.transport.reader()

    def make(self) -> int:
        """Make the topic: compacted, as wide as the largest topic read, else like the first of them; its width."""
        admin = self._core.transport.admin()
        try:
            there = admin.topics()
            wanted = max(there[topic].partitions for topic in self._topics)
            like = there[self._topics[0]]
            if self._topic not in there:
                admin.create(parked_state(self._topic, wanted, like))
                return wanted
            if there[self._topic].partitions < wanted:  # made when the topics read were smaller
                admin.add_partitions(self._topic, wanted)
            return max(wanted, there[self._topic].partitions)
        finally:
            admin.close()


async def connect_core(
    settings: Settings, *, transport: Transport | None, catalogue: Catalogue | None, clock: Clock | None
) -> Core:
    """Connect on the running loop.

    Args:
        settings: addresses, agency and deadlines.
        transport: None is Kafka at the address of `settings`.
        catalogue: None is `schemas.catalogue.standard`.
        clock: None is the system's.

    Raises:
        Unreachable: no broker answers.
    """
    chosen = transport or transport_of(settings)
    producer = chosen.producer()
    await producer.start()
    try:
        make = partial(
            Core, chosen, settings, catalogue=catalogue or standard(), clock=clock or SystemClock(), producer=producer
        )
        return await asyncio.to_thread(make)  # reads `_schemas` through a blocking client
    except BaseException:
        await producer.stop()
        raise

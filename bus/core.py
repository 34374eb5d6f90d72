"""A connected bus without a face: transport, producer, publisher, codec and pipeline, put together in one place.

Called by `bus.wiring`, which gives it a synchronous and an asynchronous face; `transport_of` also by commands that need
no bus. The trap it avoids: two faces that are wired differently.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from bus.clock import SystemClock
from bus.consume import Subscription, open_record
from bus.errors import Refused, UsageError
from bus.middleware.dead_letter import DeadLetters, dead_topic
from bus.middleware.dedupe import MemorySeen, Seen
from bus.middleware.retry import RetryPolicy
from bus.pipeline import Pipeline
from bus.ports import Clock, Producer, TopicState, Transport
from bus.positions import Start, begin_group
from bus.publish import Publisher
from bus.settings import Settings
from bus.transport.schema_topic import SchemaTopic
from schemas.catalogue import Catalogue, standard
from schemas.codec import Codec
from schemas.errors import UnknownType
from schemas.event import Event

T = TypeVar("T")


def transport_of(settings: Settings) -> Transport:
    """The Kafka transport the settings describe; nothing connects yet."""
    from bus.transport.kafka import KafkaTransport

    return KafkaTransport(
        bootstrap=settings.bootstrap,
        deadline_s=settings.publish_deadline_s,
        session_timeout_ms=settings.session_timeout_ms,
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
        settings: deadline and agency.
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
        retry: RetryPolicy | None = None,
    ) -> Subscription[Any]:
        """Join `group` on `topics`; see `bus.wiring.Bus.subscribe`.

        Args:
            topics: to read.
            group: the consumer group.
            run: reaches this core's loop from the calling thread.
            start: where a new group begins; None is the earliest record.
            seen: where applied event ids are kept; None is in memory.
            retry: how a failing handler is tried again; None is the default policy.

        Raises:
            UsageError: `start` was given and the group has commits.
            Refused: a topic is not there. Unreachable.
        """
        if start is not None:
            self._begin(group, topics, start)
        pipeline = self.pipeline(topics, group=group, run=run, seen=seen, retry=retry)
        return Subscription(self.transport.consumer(topics, group=group), pipeline)

    def pipeline(
        self,
        topics: Sequence[str],
        *,
        group: str,
        run: Run,
        seen: Seen | None = None,
        retry: RetryPolicy | None = None,
    ) -> Pipeline:
        """What happens to each record of a subscription of `group` to `topics`.

        Args:
            topics: those read.
            group: the consumer group.
            run: reaches this core's loop from the calling thread.
            seen: where applied event ids are kept; None is in memory.
            retry: how a failing handler is tried again; None is the default policy.
        """
        dead = DeadLetters(
            group=group,
            append=lambda place, records: run(self.producer.append(place, records)),
            partitions=partial(self._dead_partitions, group, topics, run),
        )
        return Pipeline(
            opener=partial(open_record, catalogue=self.catalogue, codec=self.codec),
            seen=seen or MemorySeen(),
            retry=retry or RetryPolicy(),
            dead_letters=dead,
            clock=self.clock,
            chance=random.random,
        )

    def _begin(self, group: str, topics: Sequence[str], start: Start) -> None:
        admin, reader = self.transport.admin(), self.transport.reader()
        try:
            begin_group(admin, reader, group=group, topics=topics, start=start)
        finally:
            admin.close()
            reader.close()

    def _dead_partitions(self, group: str, topics: Sequence[str], run: Run, topic: str) -> int:
        """Partitions of the dead-letter topic.

        One that is missing is made on the first letter: one partition (letters are few), kept for good, with as many
        replicas as the first topic read.
        """
        try:
            return run(self.producer.partitions(topic))
        except Refused:
            admin = self.transport.admin()
            try:
                like = admin.topics()[topics[0]]
                admin.create(TopicState(dead_topic(group), 1, like.replication, {"retention.ms": "-1"}))
            finally:
                admin.close()
            return 1


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

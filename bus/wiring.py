"""The SDK's door: `connect` gives a bus, synchronous or (`connect_async`) on the caller's loop.

Called by agencies' programs, the simulators and the event commands. The traps it avoids: an event loop in the caller's
way (the synchronous bus keeps its own in a thread), and a program that ends before its last event is acknowledged.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

from bus.consume import Delivery, Subscription
from bus.core import Core, Run, connect_core
from bus.errors import BusError
from bus.event_loop import new_event_loop
from bus.member import Member
from bus.message import Message, Outgoing, Partition, Receipt
from bus.middleware.dedupe import Seen
from bus.middleware.retry import Policy
from bus.ports import Clock, Transport
from bus.positions import Start, parse_start
from bus.publish import Publication
from bus.settings import Settings, load
from schemas.catalogue import Catalogue
from schemas.event import Event

E = TypeVar("E", bound=Event)


class Bus:
    """A connected, synchronous bus; safe for several threads. Made by `connect`."""

    def __init__(self, core: Core, run: Run) -> None:
        self.core = core
        self._run = run

    def publish(self, event: Event, **said: Any) -> Receipt:
        """Publish one event; back after the replicated ack, or raises.

        Args:
            event: the typed event.
            said: `case`, `caused_by`, `id`, `time`, ... as in `bus.publish.Publication`.

        Raises:
            Refused: a rule says no. Unreachable: nothing was stored. OutcomeUnknown: it may be stored; publish the
            same id again. UsageError: the bus has no agency.
        """
        return self._run(self.core.publisher.publish(event, **said))

    def publish_all(self, publications: Iterable[Publication | BusError]) -> list[Receipt | BusError]:
        """Publish many with many in flight; one result each, in the order given."""
        return self._run(self.core.publisher.publish_all(publications))

    def append(self, place: Partition, records: Sequence[Outgoing]) -> int:
        """Store raw records, for operators' commands; the first offset, after the replicated ack.

        Args:
            place: where to.
            records: in their order.

        Raises:
            Refused, Unreachable, OutcomeUnknown: as `bus.ports.Producer.append`.
        """
        return self._run(self.core.producer.append(place, records))

    def subscribe(
        self,
        model: type[E],
        *,
        group: str,
        from_: Start | str | None = None,
        publishers: Sequence[str] | None = None,
        seen: Seen | None = None,
        policy: Policy | str = "ordered",
    ) -> Subscription[E]:
        """Join `group` and iterate over deliveries of `model`; leaving the loop commits and leaves the group.

        Args:
            model: the contract; its topics of all publishing agencies are read.
            group: consumer group; its members share the partitions.
            from_: where a new group starts: ``earliest`` (the default), ``latest``, or a time.
            publishers: read only these agencies' topics.
            seen: where applied event ids are kept; default in memory.
            policy: what follows when a handler fails: ``ordered`` parks the key, ``unordered`` tries the record alone
                again later; or a `Policy`.

        Raises:
            UsageError: `from_` was given and the group has commits. Refused: a topic is not there. Unreachable.
            UnknownType: the catalogue has no such contract. SchemaRefused: a named agency does not publish it.
        """
        topics = self.core.topics_of(model, publishers)
        return self.core.subscribe(topics, group=group, start=_start(from_), seen=seen, policy=policy, run=self._run)

    def member(
        self,
        topics: Sequence[str],
        *,
        group: str,
        before_commit: Callable[[], None],
        seen: Seen | None = None,
        policy: Policy | str = "ordered",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Member:
        """Join `group` as an office that takes many records at a time (`connectors.office`).

        Args:
            topics: those the office reads.
            group: its consumer group.
            before_commit: makes what handled records have caused durable; runs before each commit.
            seen: where applied event ids are kept; default in memory.
            policy: as in `subscribe`.
            monotonic: seconds.

        Raises:
            Refused: a topic is not there. Unreachable.
        """
        return self.core.member(
            topics,
            group=group,
            run=self._run,
            before_commit=before_commit,
            seen=seen,
            policy=policy,
            monotonic=monotonic,
        )


class AsyncDelivery(Generic[E]):
    """As `Delivery`, entered with ``async with``: keeping the event's id must not block the loop."""

    def __init__(self, delivery: Delivery[E], worker: ThreadPoolExecutor) -> None:
        self._delivery = delivery
        self._worker = worker

    @property
    def message(self) -> Message:
        """The event with its envelope and place."""
        return self._delivery.message

    async def __aenter__(self) -> E:
        return self._delivery.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self._delivery.__exit__, kind, error, trace)


class AsyncBus:
    """A connected bus on the running event loop. Made by `connect_async`."""

    def __init__(self, core: Core) -> None:
        self.core = core

    async def publish(self, event: Event, **said: Any) -> Receipt:
        """As `Bus.publish`."""
        return await self.core.publisher.publish(event, **said)

    async def publish_all(self, publications: Iterable[Publication | BusError]) -> list[Receipt | BusError]:
        """As `Bus.publish_all`."""
        return await self.core.publisher.publish_all(publications)

    async def subscribe(
        self,
        model: type[E],
        *,
        group: str,
        from_: Start | str | None = None,
        publishers: Sequence[str] | None = None,
        seen: Seen | None = None,
        policy: Policy | str = "ordered",
    ) -> AsyncIterator[AsyncDelivery[E]]:
        """As `Bus.subscribe`, with ``async for`` and ``async with``; the blocking consumer has a thread of its own.

        Args:
            model: the contract; its topics of all publishing agencies are read.
            group: consumer group; its members share the partitions.
            from_: where a new group starts: ``earliest`` (the default), ``latest``, or a time.
            publishers: read only these agencies' topics.
            seen: where applied event ids are kept; default in memory.
            policy: what follows when a handler fails: ``ordered`` parks the key, ``unordered`` tries the record alone
                again later; or a `Policy`.

        Raises:
            UsageError, Refused, Unreachable, UnknownType, SchemaRefused: as `Bus.subscribe`.
        """
        topics = self.core.topics_of(model, publishers)
        loop = asyncio.get_running_loop()
        worker = ThreadPoolExecutor(1, thread_name_prefix="agencybus-subscription")
        start = _start(from_)

        def join() -> Subscription[E]:
            return self.core.subscribe(topics, group=group, start=start, seen=seen, policy=policy, run=Run(loop))

        subscription: Subscription[E] | None = None
        try:
            subscription = await loop.run_in_executor(worker, join)
            deliveries = iter(subscription)
            while (delivery := await loop.run_in_executor(worker, next, deliveries, None)) is not None:
                yield AsyncDelivery(delivery, worker)
        finally:
            if subscription is not None:
                await loop.run_in_executor(worker, subscription.close)
            worker.shutdown(wait=False)


def _start(text: Start | str | None) -> Start | None:
    return parse_start(text) if isinstance(text, str) else text


def _settings(agency: str | None, bootstrap: str | None, settings: Settings | None) -> Settings:
    given = {"agency": agency, "bootstrap": bootstrap}
    if settings is None:
        return load(given)
    return settings.model_copy(update={key: value for key, value in given.items() if value is not None})


@contextmanager
def connect(
    *,
    agency: str | None = None,
    bootstrap: str | None = None,
    settings: Settings | None = None,
    transport: Transport | None = None,
    catalogue: Catalogue | None = None,
    clock: Clock | None = None,
) -> Iterator[Bus]:
    """Connect to the bus; leaving the block settles what was published and disconnects.

    Args:
        agency: in whose name to publish; not needed to read.
        bootstrap: Kafka's address, ``host:port``; default from the settings.
        settings: default from flags, environment and file (`bus.settings.load`).
        transport: another transport than Kafka (tests).
        catalogue: other event types than the standard ones.
        clock: another clock than the system's (tests).

    Raises:
        Unreachable: no broker answers. UsageError: a setting is wrong.
    """
    chosen = _settings(agency, bootstrap, settings)
    loop = new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="agencybus-loop", daemon=True)
    thread.start()
    run = Run(loop)
    try:
        core = run(connect_core(chosen, transport=transport, catalogue=catalogue, clock=clock))
        try:
            yield Bus(core, run)
        finally:
            run(core.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def connect_async(
    *,
    agency: str | None = None,
    bootstrap: str | None = None,
    settings: Settings | None = None,
    transport: Transport | None = None,
    catalogue: Catalogue | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[AsyncBus]:
    """As `connect`, on the running event loop.

    Args:
        agency: in whose name to publish; not needed to read.
        bootstrap: Kafka's address, ``host:port``; default from the settings.
        settings: default from flags, environment and file (`bus.settings.load`).
        transport: another transport than Kafka (tests).
        catalogue: other event types than the standard ones.
        clock: another clock than the system's (tests).

    Raises:
        Unreachable: no broker answers. UsageError: a setting is wrong.
    """
    chosen = _settings(agency, bootstrap, settings)
    core = await connect_core(chosen, transport=transport, catalogue=catalogue, clock=clock)
    try:
        yield AsyncBus(core)
    finally:
        await core.close()

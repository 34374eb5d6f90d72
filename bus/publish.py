"""The publisher: a typed event in, a receipt out, or an error that says what is certain.

Called by `bus.core`: through `bus.wiring` by agencies' programs and connectors, through `bus.json_lines` by the
`publish` command. `publish` returns after the replicated ack or raises; it never only logs. One lane per partition
drains its queue: nothing waits when idle, batches grow when busy, one append is in flight per partition, and events of
a topic come to their lanes in the order in which they were handed in, so order per key holds. The traps it avoids: a
lost ack told as a failure, an endless wait in an outage (aiokafka's idempotent batches never expire, F69), a batch
whose one bad record spoils its neighbours, and a caller that overtakes those who wait for room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bus.call import Call, Item
from bus.compose import SCHEMA_PREFIX, Composer, Encoder, Publication, content_id
from bus.door import Door
from bus.errors import BusError, OutcomeUnknown, Refused, Unreachable
from bus.message import Message, Partition, Receipt
from bus.partitioner import partition_for
from bus.ports import Clock, Producer
from bus.transport.rules import BATCH_BYTES, check_size, record_bytes
from schemas.catalogue import Catalogue
from schemas.envelope import Envelope
from schemas.event import Event

__all__ = ["SCHEMA_PREFIX", "Publication", "Publisher", "content_id"]  # one door for callers
_LANE_BYTES = BATCH_BYTES - 1_000  # one append stays one batch, so that first offset + i is exact
_LANE_RECORDS = 2_000
_QUEUED = 10_000
_TURN = 500  # events encoded between two turns of the event loop: about 20 ms


@dataclass(slots=True, eq=False)
class _Lane:
    """What is queued for one partition, and the task that drains it."""

    partition: Partition
    queue: deque[Item] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Publisher:
    """Publishes the events of one agency. Bound to one event loop; safe for many tasks at once.

    Order per key is that of the calls, also of those that wait for room side by side. Calls of `publish_all` that run
    at the same time take turns of 500 events: give those of one key to one of them.

    Args:
        producer: where records go; started and stopped by the caller.
        codec: encodes events.
        catalogue: which types exist.
        agency: in whose name; it may write only to its own topics.
        clock: gives the time of events that name none.
        deadline_s: longest wait of one event, in seconds.
        queued: how many events may wait; beyond it `publish` waits for room (back-pressure).
    """

    def __init__(
        self,
        producer: Producer,
        codec: Encoder,
        catalogue: Catalogue,
        *,
        agency: str,
        clock: Clock,
        deadline_s: float = 30.0,
        queued: int = _QUEUED,
    ) -> None:
        self._producer = producer
        self._compose = Composer(codec, catalogue, agency=agency, clock=clock).compose
        self._deadline_s = deadline_s
        self._free = queued
        self._room: asyncio.Future[None] | None = None  # only who is inside the door waits for it
        self._asking: dict[str, Door] = {}  # by topic: who asks for its partitions
        self._door = Door()  # to the lanes
        self._lanes: dict[Partition, _Lane] = {}
        self._closed = False

    async def publish(
        self,
        event: Event,
        *,
        case: str | None = None,
        key: str | None = None,
        caused_by: Envelope | Message | None = None,
        id: str | None = None,  # noqa: A002  # CloudEvents' own word
        time: datetime | None = None,
        purpose: str | None = None,
        legalbasis: str | None = None,
        traceparent: str | None = None,
    ) -> Receipt:
        """Publish one event and return its receipt after the replicated ack. Arguments: see `Publication`.

        Raises:
            Refused: the event, its agency or its case breaks a rule, or the broker will never take it.
            Unreachable: nothing was stored; trying again may work.
            OutcomeUnknown: no answer before the deadline; carries the event id to publish again.
        """
        said = Publication(
            event=event,
            case=case,
            key=key,
            caused_by=caused_by,
            id=id,
            time=time,
            purpose=purpose,
            legalbasis=legalbasis,
            traceparent=traceparent,
        )
        call = Call()
        try:
            await self._enqueue(said, call)
        finally:
            self._leave(call)
        call.settle_one()
        await call.done
        (outcome,) = call.outcomes
        if isinstance(outcome, Receipt):
            return outcome
        assert outcome is not None
        raise outcome

    async def publish_all(self, publications: Iterable[Publication | BusError]) -> list[Receipt | BusError]:
        """Publish many; one result each, in the order given, an error standing in its place.

        Where one ends with Unreachable or OutcomeUnknown, those after it with its key are not sent (Unreachable), so
        that publishing again what failed, in this order, keeps the order per key.

        Args:
            publications: taken one by one as there is room; a BusError (an input found wrong) is passed through.
        """
        call = Call()
        try:
            for count, said in enumerate(publications, 1):
                if count % _TURN == 0:
                    self._leave(call)
                    await asyncio.sleep(0)  # let the lanes send what is encoded while the rest is being encoded
                if isinstance(said, BusError):
                    call.outcomes.append(said)
                    continue
                try:
                    await self._enqueue(said, call)
                except BusError as error:
                    call.outcomes.append(error)
        finally:
            self._leave(call)
        call.settle_one()
        await call.done
        return call.outcomes  # type: ignore[return-value]  # all are settled

    async def close(self) -> None:
        """Take no more events and wait until every one taken is settled (at most the deadline)."""
        self._closed = True
        while running := [lane.task for lane in self._lanes.values() if lane.task is not None]:
            await asyncio.wait(running)

    async def _enqueue(self, said: Publication, call: Call) -> None:
        """Encode, choose the partition, wait for room, and hand the item to its lane."""
        if self._closed:
            raise Refused("The publisher is closed.", field="publisher")
        topic, key, event_id, record = self._compose(said)
        size = record_bytes(record)
        check_size(size, limit=_LANE_BYTES)
        give_up = _now() + self._deadline_s
        try:
            count = call.counts.get(topic)
            if count is None:
                count = call.counts[topic] = await self._count(topic, give_up)
            if not call.inside:
                if not self._door.try_enter():
                    await self._door.enter(give_up)
                call.inside = True
            if self._free <= 0:
                call.counts.clear()
                await self._wait_for_room(give_up)
        except (BusError, TimeoutError) as error:
            fault = error if isinstance(error, BusError) else self._no_room()
            call.hold(key, fault)
            raise _named(fault, event_id) from error
        self._free -= 1
        item = Item(event_id, record, _now() + self._deadline_s, call, len(call.outcomes), size)
        call.outcomes.append(None)
        call.left += 1
        partition = Partition(topic, partition_for(key, count))
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = _Lane(partition)
        lane.queue.append(item)
        if lane.task is None:  # it starts on the loop's next turn: what is published in this turn goes with it
            lane.task = asyncio.create_task(self._drain(lane))

    async def _count(self, topic: str, give_up: float) -> int:
        """How many partitions a topic has. Who asks is answered in the order of asking, and holds up no other topic."""
        asking = self._asking.get(topic)
        if asking is None:
            asking = self._asking[topic] = Door()
        if not asking.try_enter():
            await asking.enter(give_up)
        try:
            return await self._producer.partitions(topic)
        finally:
            asking.leave()

    def _leave(self, call: Call) -> None:
        call.counts.clear()
        if call.inside:
            call.inside = False
            self._door.leave()

    async def _wait_for_room(self, give_up: float) -> None:
        """Wait until an earlier event is settled. Raises TimeoutError when none is before the deadline."""
        while self._free <= 0:
            self._room = asyncio.get_running_loop().create_future()
            async with asyncio.timeout_at(give_up):
                await self._room

    def _no_room(self) -> Unreachable:
        return Unreachable(
            f"No room in the queue for {self._deadline_s:g} s; the event was not sent.",
            remedy="See whether the broker answers: agencybus status.",
        )

    async def _drain(self, lane: _Lane) -> None:
        """Send the lane's queue in batches, one at a time, until it is empty."""
        try:
            while lane.queue:
                batch = self._batch(lane)
                if batch:
                    await self._send(lane.partition, batch)
        finally:
            lane.task = None

    def _batch(self, lane: _Lane) -> list[Item]:
        """Take from the queue what fits one record batch; what has expired unsent is settled here."""
        batch: list[Item] = []
        size = 0
        now = _now()
        queue = lane.queue
        while queue and len(batch) < _LANE_RECORDS and size + queue[0].size <= _LANE_BYTES:
            item = queue.popleft()
            if item.expires <= now:
                text = f"{lane.partition.topic} gave no answer in {self._deadline_s:g} s; the event was not sent."
                self._settle(item, Unreachable(text, remedy="Try again; nothing was stored."))
                continue
            if item.record.key in item.call.held:
                self._settle(item, _held_back())
                continue
            batch.append(item)
            size += item.size
        return batch

    async def _send(self, partition: Partition, batch: Sequence[Item]) -> None:
        """Append one batch and settle its items; a refused batch is sent again record by record."""
        first = await self._append(partition, batch)
        if isinstance(first, int):
            for offset, item in enumerate(batch, first):
                self._settle(item, Receipt(partition.topic, partition.number, offset, item.id))
        elif isinstance(first, Refused) and len(batch) > 1:
            for item in batch:  # find the one record the broker will not take
                if item.record.key in item.call.held:
                    self._settle(item, _held_back())
                else:
                    await self._send(partition, [item])
        else:
            for item in batch:
                self._settle(item, _named(first, item.id))

    async def _append(self, partition: Partition, batch: Sequence[Item]) -> int | BusError:
        """The first offset of the stored batch, or what went wrong."""
        try:
            async with asyncio.timeout_at(batch[0].expires):
                return await self._producer.append(partition, [item.record for item in batch])
        except TimeoutError:
            waited = f"{partition.topic} gave no answer in {self._deadline_s:g} s; the event may be stored."
            return OutcomeUnknown(waited, event_id="")
        except BusError as error:
            return error
        except Exception as error:  # noqa: BLE001  # an item left unsettled would keep its caller waiting for ever
            return OutcomeUnknown(f"Appending to {partition.topic} failed with {type(error).__name__}.", event_id="")

    def _settle(self, item: Item, outcome: Receipt | BusError) -> None:
        item.settle(outcome)
        self._free += 1
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _held_back() -> Unreachable:
    return Unreachable(
        "An earlier event of its key has no acknowledgement, so this one was not sent.",
        remedy="Publish both again, in this order.",
    )


def _named(error: BusError, event_id: str) -> BusError:
    """The same error for one event: an unknown outcome names its id."""
    if isinstance(error, OutcomeUnknown):
        return OutcomeUnknown(f"{error.message} Event {event_id}.", event_id=event_id)
    return error

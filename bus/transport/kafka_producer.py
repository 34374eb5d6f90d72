"""Appends record batches to Kafka through aiokafka: idempotent, acks=all, with a deadline of its own.

Called by the publisher, the outputs of a workflow and the dead-letter writer. `create_batch` + `send_batch` costs a
28th of kafka-python's `send` per record (research/performance.md 0a). The traps it avoids:

- aiokafka's idempotent batches never expire (F69): without a deadline a publish in an outage never comes back.
- after the broker has refused one batch, aiokafka's sequence numbers have a gap and the partition takes nothing more:
  the client is thrown away and a new one made.
- `BatchBuilder.append` takes a first record of any size: too large is found here, before anything is stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bus.errors import OutcomeUnknown, Refused
from bus.message import Outgoing, Partition
from bus.transport import closed_transport
from bus.transport.durability import refuse_weak_producer
from bus.transport.kafka_client import unreachable
from bus.transport.rules import BATCH_BYTES, check_sizes, no_partition, no_topic

_TOPIC_WAIT_S = 2.0  # a topic made a moment ago may not yet be in the metadata of the broker that is asked


class KafkaProducer:
    """The `Producer` port on Kafka. Bound to the event loop in which `start` ran.

    Args:
        bootstrap: ``host:port``, several joined by commas.
        deadline_s: longest wait of one `append`, from call to replicated ack, in seconds.
        batch_bytes: largest record batch, and so the largest record; a topic may allow more than the default.
        client_id: shown in the broker's logs and quotas.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        deadline_s: float = 30.0,
        batch_bytes: int = BATCH_BYTES,
        client_id: str = "agencybus",
    ) -> None:
        self._bootstrap = bootstrap
        self._deadline_s = deadline_s
        self._batch_bytes = batch_bytes
        self._client_id = client_id
        self._client: Any = None
        self._starting = asyncio.Lock()
        self._locks: dict[Partition, asyncio.Lock] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises Unreachable when no broker answers within the deadline."""
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._usable()
        except TimeoutError:
            raise unreachable(self._bootstrap, f"no answer in {self._deadline_s:g} s") from None

    async def stop(self) -> None:
        """Send what was accepted, at most for the deadline, then disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await _close(client, self._deadline_s)
        if self._closing:
            await asyncio.wait(self._closing)

    async def partitions(self, topic: str) -> int:
        """How many partitions `topic` has, from cached metadata when it is there.

        Raises:
            Refused: there is no such topic, or no right to see it. Unreachable: no broker answers.
        """
        client = await self._usable()
        known = client.client.cluster.partitions_for_topic(topic)
        return len(known) if known else await self._discover(client, topic)

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        """Append `records` in order; return the first offset after the replicated ack.

        More bytes than one batch holds are sent as several batches, between which another producer's records may
        stand: a caller that needs every offset keeps one call below `rules.BATCH_BYTES` (see `rules.record_bytes`).

        Raises:
            Refused: a record is too large, the topic or partition is not there, the broker will not take it.
            Unreachable: the deadline passed before anything was handed over, or no broker answers.
            OutcomeUnknown: the deadline passed after hand-over, or the client broke while waiting for the ack.
        """
        check_sizes(records[:1], limit=self._batch_bytes)  # of the others only those that begin a batch: `_batches`
        handed_over = False
        try:
            async with asyncio.timeout(self._deadline_s):
                if not 0 <= partition.number < await self.partitions(partition.topic):
                    raise no_partition(partition.topic, partition.number)
                async with self._locks.setdefault(partition, asyncio.Lock()):
                    client = await self._usable()
                    first = -1
                    for batch in self._batches(client, records):
                        sent = await client.send_batch(batch, partition.topic, partition=partition.number)
                        handed_over = True
                        offset = await self._acknowledged(client, sent, partition, after_part=first >= 0)
                        first = offset if first < 0 else first
                    return first
        except TimeoutError:
            waited = f"{partition.topic}[{partition.number}] gave no answer in {self._deadline_s:g} s"
            if handed_over:
                raise OutcomeUnknown(f"{waited}; the records may or may not be stored.", event_id="") from None
            raise unreachable(self._bootstrap, waited) from None

    async def _acknowledged(self, client: Any, sent: Any, partition: Partition, *, after_part: bool) -> int:
        """The offset of a batch once it is acknowledged; any failure makes the client unusable and is translated."""
        import aiokafka.errors as ae

        try:
            metadata = await sent
        except ae.KafkaError as error:
            self._discard(client)
            name = type(error).__name__
            lost_track = (
                ae.UnknownError,
                ae.OutOfOrderSequenceNumber,
                ae.UnknownProducerId,
                ae.InvalidProducerEpoch,
            )
            answered = isinstance(error, ae.BrokerResponseError) and not isinstance(error, lost_track)
            if answered and not after_part:
                raise Refused(f"Kafka refused records for {partition.topic}: {name}.", field="record") from error
            raise OutcomeUnknown(f"Appending to {partition.topic} broke off: {name}.", event_id="") from error
        return int(metadata.offset)

    def _batches(self, client: Any, records: Sequence[Outgoing]) -> Iterator[Any]:
        """Fill as few batches as hold `records`. Raises Refused, before the first, when one of them is too large.

        What went into a batch behind another record is none of these, so the sizes are asked only when there is more
        than one batch, which saves every event a microsecond or two.
        """
        now = time.time_ns() // 1_000_000  # the broker replaces it on append-time topics
        batch = client.create_batch()
        checked = False
        for index, record in enumerate(records):
            while batch.append(timestamp=now, key=record.key, value=record.value, headers=list(record.headers)) is None:
                if not checked:
                    check_sizes(records[index:], limit=self._batch_bytes)
                    checked = True
                yield batch
                batch = client.create_batch()
        batch.close()
        yield batch

    async def _usable(self) -> Any:
        """The running client, or a new one when there is none or its sender has ended."""
        if self._client is not None and not self._client._sender.sender_task.done():  # noqa: SLF001  # no public sign
            return self._client
        async with self._starting:
            if self._client is not None and self._client._sender.sender_task.done():  # noqa: SLF001  # as above
                self._discard(self._client)
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> Any:
        import aiokafka
        import aiokafka.errors as ae

        closed_transport.end_the_connection()
        client = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self._bootstrap.split(","),
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            max_batch_size=self._batch_bytes,
            max_request_size=self._batch_bytes,
            retry_backoff_ms=50,
        )
        try:
            refuse_weak_producer(client)
            await client.start()
        except BaseException as error:
            await _abandon(client)
            if isinstance(error, (ae.KafkaError, OSError)):
                raise unreachable(self._bootstrap, type(error).__name__) from error
            raise
        return client

    async def _discover(self, client: Any, topic: str) -> int:
        """Ask for the metadata of `topic` until it is there or `_TOPIC_WAIT_S` is over."""
        cluster = client.client.cluster
        client.client.add_topic(topic)
        give_up = time.monotonic() + _TOPIC_WAIT_S
        while True:
            answered = await client.client.force_metadata_update()
            known = cluster.partitions_for_topic(topic)
            if known:
                return len(known)
            if topic in cluster.unauthorized_topics:
                raise Refused(f"This user has no right to write to {topic}.", field="topic")
            if time.monotonic() > give_up:
                raise no_topic(topic) if answered else unreachable(self._bootstrap, "no metadata")
            await asyncio.sleep(0.05)

    def _discard(self, client: Any) -> None:
        """Replace a client whose sequence numbers broke; its batches in flight are still awaited."""
        if self._client is client:
            self._client = None
        task = asyncio.create_task(_close(client, self._deadline_s))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _close(client: Any, deadline_s: float) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            await client.stop()
    except TimeoutError:
        await _abandon(client)


async def _abandon(client: Any) -> None:
    """Close an aiokafka producer without waiting for batches that nobody will acknowledge."""
    client._closed = True  # noqa: SLF001  # else its destructor warns; stop() would wait for the batches (F69)
    sender = client._sender.sender_task  # noqa: SLF001  # no public way to end it
    if sender is not None and not sender.done():
        sender.cancel()
    await client.client.close()

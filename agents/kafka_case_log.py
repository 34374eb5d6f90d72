"""The case log on Kafka: the only place that speaks raw produce requests.

Built by `agents.worker`. At a claim it asks the transaction coordinator for the producer id and epoch of the
transactional id ``<group>.<partition>``, and appends a barrier under them. Batches are plain idempotent ones, not
transactions (15-25 ms a unit cheaper), yet carry that epoch, so the broker refuses a former owner's late batch.
The traps it avoids: the group generation is no owner epoch (F65); a resent batch must keep its sequence number, or
it is stored twice; aiokafka's own producer never lets go of an idempotent batch (F69).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from agents.case_bytes import Damaged
from agents.case_log import BARRIER, Row
from bus.errors import BusError, Fenced, Refused, Unreachable
from bus.message import Unreadable
from bus.transport import closed_transport
from bus.transport.splitter import install

_FENCING = (
    kafka_errors.InvalidProducerEpoch,
    kafka_errors.ProducerFenced,
    kafka_errors.OutOfOrderSequenceNumber,
    kafka_errors.UnknownProducerId,
)
_TRANSACTION_TIMEOUT_MS = 60_000  # no transaction is ever begun; the broker only checks it against its maximum
_PAUSE_S = 0.1
_TOPIC, _LIMIT = 2, "max.message.bytes"  # the kind of resource that has this setting
_UNKNOWN_LIMIT = 900_000  # bytes taken as the limit when no broker tells it: below Kafka's default of 1,048,588
_BATCH_HEADER = 100  # bytes: 61 of a record batch's own header, and a margin
_REQUEST_MS = 10_000
_CHECK = "Check the brokers; the worker restarts."


@dataclass(slots=True)
class _Claim:
    """What makes this process the owner of one partition."""

    producer_id: int
    epoch: int
    barrier: int = 0
    sequence: int = 0


class KafkaCaseLog:
    """See the module. One instance per worker process.

    Args:
        bootstrap: ``host:port[,host:port]``.
        group: the consumer group; names the topic ``<group>.cases`` and the transactional ids.
        deadline_s: how long an append or claim may go unanswered before it raises Unreachable.
        progress: told (partition, offset read to, offset to read to) after each fetch of a `load`.
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        *,
        deadline_s: float = 60.0,
        progress: Callable[[int, int, int], None] = lambda *_: None,
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._topic = f"{group}.cases"
        self._deadline_s = deadline_s
        self._batch_bytes = _UNKNOWN_LIMIT - _BATCH_HEADER
        self._progress = progress
        self._client: Any = None
        self._claims: dict[int, _Claim] = {}

    @property
    def batch_bytes(self) -> int:
        """The largest batch the log takes, in bytes; as its topic said at the last `start` or `claim`."""
        return self._batch_bytes

    async def start(self) -> None:
        """Connect. Raises Unreachable; Refused when the topic is missing."""
        closed_transport.end_the_connection()
        self._client = AIOKafkaClient(
            bootstrap_servers=self._bootstrap, client_id=f"{self._group}-cases", request_timeout_ms=_REQUEST_MS
        )
        try:
            await self._client.bootstrap()
            await self._client.set_topics([self._topic])
        except kafka_errors.KafkaError as error:
            raise Unreachable(f"no broker answers at {self._bootstrap}: {error}.", remedy=_CHECK) from error
        if not self._client.cluster.partitions_for_topic(self._topic):
            raise Refused(f"topic {self._topic} is missing.", field="topic", remedy="Run `agencybus topics apply`.")
        await self._read_limit()

    async def stop(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.close()

    async def claim(self, numbers: Sequence[int], owner: str) -> None:
        """Become the owner: new epochs, then a barrier per partition. Raises Unreachable."""
        await self._read_limit()
        claims = await asyncio.gather(*(self._epoch(number) for number in numbers))
        self._claims.update(zip(numbers, claims, strict=True))
        offsets = await self._append({number: [(BARRIER, owner.encode())] for number in numbers})
        for number in numbers:
            self._claims[number].barrier = offsets[number]

    async def load(self, number: int) -> list[tuple[int, bytes, bytes | None]]:
        """All rows up to the barrier, read in batches. Raises Unreachable; Damaged when rows cannot be read."""
        barrier = self._claims[number].barrier
        partition = TopicPartition(self._topic, number)
        install.into_aiokafka()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=20_000,
            max_partition_fetch_bytes=8_000_000,
        )
        rows: list[tuple[int, bytes, bytes | None]] = []
        try:
            await consumer.start()
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            while (position := await consumer.position(partition)) <= barrier:
                self._progress(number, position, barrier)
                found = await asyncio.wait_for(consumer.getmany(partition, timeout_ms=1_000), self._deadline_s)
                rows.extend(self._row(r) for r in found.get(partition, ()) if r.offset < barrier)
        except kafka_errors.KafkaError as error:
            raise Unreachable(f"reading {self._topic} failed: {error}.", remedy=_CHECK) from error
        finally:
            await consumer.stop()
        return rows

    def _row(self, found: Any) -> tuple[int, bytes, bytes | None]:
        """A row as it is stored; one that cannot be read is a lost decision and must not be passed over."""
        if isinstance(found.value, Unreadable):
            value = found.value
            raise Damaged(
                f"{self._topic}[{found.partition}] offsets {value.first} to {value.last} cannot be read: "
                f"{value.reason}.",
                remedy="Restore the topic; do not skip.",
            )
        return found.offset, found.key, found.value

    async def append(self, batches: Mapping[int, Sequence[Row]]) -> None:
        """Append one batch per claimed partition. Raises Fenced, Unreachable, Refused."""
        await self._append(batches)

    async def _read_limit(self) -> None:
        """Ask what the topic takes: an operator may have raised it for a case that outgrew it (F72)."""
        request = DescribeConfigsRequest([(_TOPIC, self._topic, [_LIMIT])], include_synonyms=False)
        node = self._client.get_random_node()
        if node is None:
            return
        try:
            response = await self._client.send(node, request)
        except kafka_errors.KafkaError:
            return  # what was known holds; a batch that is too large after all is refused by the broker
        for _code, _message, _type, _name, entries in response.resources:
            for name, value, *_ in entries:
                if name == _LIMIT and value:
                    self._batch_bytes = int(value) - _BATCH_HEADER

    async def _epoch(self, number: int) -> _Claim:
        transactional_id = f"{self._group}.{number}"
        deadline = time.monotonic() + self._deadline_s
        while True:
            try:
                node = await self._client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
                if await self._client.ready(node):
                    request = InitProducerIdRequest(transactional_id, _TRANSACTION_TIMEOUT_MS)
                    response = await self._client.send(node, request)
                    answer = kafka_errors.for_code(response.error_code)
                    if answer is kafka_errors.NoError:
                        return _Claim(response.producer_id, response.producer_epoch)
                    if not _again(answer()):
                        raise Refused(
                            f"no owner epoch for {transactional_id}: {answer.__name__}.",
                            field="transactional id",
                            remedy="Grant WRITE on it to this worker.",
                        )
            except kafka_errors.KafkaError as error:
                if not _again(error):
                    raise Unreachable(f"no owner epoch for {transactional_id}: {error}.", remedy=_CHECK) from error
            await self._pause(deadline, f"no owner epoch for {transactional_id}")

    async def _append(self, batches: Mapping[int, Sequence[Row]]) -> dict[int, int]:
        built = {number: self._build(number, rows) for number, rows in batches.items()}
        offsets: dict[int, int] = {}
        deadline = time.monotonic() + self._deadline_s
        while len(offsets) < len(built):
            waiting = {number: data for number, data in built.items() if number not in offsets}
            await asyncio.gather(
                *(self._send(node, part, offsets) for node, part in self._by_leader(waiting).items()),
            )
            if len(offsets) < len(built):
                await self._pause(deadline, f"{self._topic} takes no batch")
                self._client.force_metadata_update()
        for number, rows in batches.items():
            claim = self._claims[number]
            claim.sequence = (claim.sequence + len(rows)) % 2**31
        return offsets

    def _build(self, number: int, rows: Sequence[Row]) -> bytes:
        claim = self._claims.get(number)
        if claim is None:
            raise Fenced(f"case partition {number} is not claimed.")
        builder = DefaultRecordBatchBuilder(
            2, 0, 0, claim.producer_id, claim.epoch, claim.sequence, self._batch_bytes + _BATCH_HEADER
        )
        now = time.time_ns() // 1_000_000
        for index, (key, value) in enumerate(rows):
            if builder.append(index, now, key, value, []) is None:
                raise BusError(
                    f"a batch of {len(rows)} rows is over {self._batch_bytes} bytes.",
                    remedy=f"Raise {_LIMIT} of {self._topic}.",
                )
        return bytes(builder.build())

    def _by_leader(self, batches: Mapping[int, bytes]) -> dict[int, dict[int, bytes]]:
        by_node: dict[int, dict[int, bytes]] = {}
        for number, data in batches.items():
            node = self._client.cluster.leader_for_partition(TopicPartition(self._topic, number))
            if node is not None and node != -1:
                by_node.setdefault(node, {})[number] = data
        return by_node

    async def _send(self, node: int, batches: Mapping[int, bytes], offsets: dict[int, int]) -> None:
        request = ProduceRequest(None, -1, _REQUEST_MS, [(self._topic, list(batches.items()))])
        try:
            response = await self._client.send(node, request)
        except kafka_errors.KafkaError as error:
            if _again(error):
                return
            raise Unreachable(f"{self._topic}: {error}.", remedy=_CHECK) from error
        for _topic, answers in response.topics:
            for number, code, offset, *_ in answers:
                answer = kafka_errors.for_code(code)
                if answer in (kafka_errors.NoError, kafka_errors.DuplicateSequenceNumber):
                    offsets[number] = offset
                elif issubclass(answer, _FENCING):
                    raise Fenced(
                        f"case partition {number} has another owner ({answer.__name__}).",
                        remedy="Nothing is lost: that one goes on from the case log, this worker restarts.",
                    )
                elif not _again(answer()):
                    raise Refused(
                        f"{self._topic} refuses a batch: {answer.__name__}.",
                        field="case log",
                        remedy="See that this worker may write to the topic, and what the brokers' own log says.",
                    )

    async def _pause(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise Unreachable(f"{what} for {self._deadline_s:.0f} s.", remedy=_CHECK)
        await asyncio.sleep(_PAUSE_S)


def _again(error: kafka_errors.KafkaError) -> bool:
    return bool(getattr(error, "retriable", False) or getattr(error, "invalid_metadata", False)) or isinstance(
        error,
        kafka_errors.KafkaConnectionError | kafka_errors.RequestTimedOutError | kafka_errors.NodeNotReadyError,
    )

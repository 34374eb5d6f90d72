"""The workflow host on plain aiokafka: the same runner without Faust, and the proof that the runner needs none.

Started by `agents.worker`. One loop: take over the assignment, fetch, hand the fetch to the runner, commit about once a
second. The traps it avoids: aiokafka calls the assignment listener before it heartbeats, so recovery runs in the loop
(the fetched records of an assignment that has changed are dropped unseen: the takeover seeks); round-robin would put
equal partition numbers on different workers (F63); a member that lost its place would rejoin under the same name and
push out its replacement (F64), so it ends the process instead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from agents.health import RELEASE, Pulse
from agents.membership import (
    HostSettings,
    ask_seldom,
    date_answers,
    end_when_membership_is_lost,
    floors,
    from_kafka,
    known_ends,
)
from agents.phases import take_over, take_unit
from agents.runner import Runner
from agents.unit import Fetched
from bus.errors import Fenced, Unreachable
from bus.message import Partition
from bus.middleware.parking import parked_topic
from bus.transport.durability import refuse_weak_consumer
from bus.transport.splitter import install

COMMIT_EVERY_S = 1.0
FETCH_WAIT_MS = 200
LEAVE_S = 5.0
JOIN = 8  # fetches joined into the next unit; then fetching waits for the unit under way
IDLE_S = 0.005


class AiokafkaHost(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Runs a runner over its topics until stopped.

    Args:
        settings: group, topics, timeouts. runner: what handles the units.
        ready: called each time the assignment has been taken over, with the case partitions owned.
        pulse: where it notes what it does; None for one that nobody reads.
    """

    name = "aiokafka"

    def __init__(
        self,
        settings: HostSettings,
        runner: Runner,
        *,
        ready: Callable[[Sequence[int]], None],
        pulse: Pulse | None = None,
    ) -> None:
        self._settings = settings
        self._runner = runner
        self._pulse = pulse or Pulse(time.monotonic)
        self._ready = ready
        self._consumer: Any = None
        self._turn = 0  # counts revocations and assignments: what was begun in another turn is void
        self._assigned = asyncio.Event()
        self._unit = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._fetched_to: dict[Partition, int] = {}  # empty while this member may not work
        self._fetches: list[Fetched] = []  # gathered while the unit before is under way
        self._mailed = asyncio.Event()
        self._fetching = asyncio.Lock()  # a takeover seeks: no fetch of the turn before may still be under way
        self._failure: Exception | None = None

    def stop(self) -> None:
        """Finish the unit under way, commit, leave."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop`. Any exception means that the process must end.

        Raises:
            Unreachable, Hole, Fenced, Damaged, Refused.
        """
        committed_at = time.monotonic()
        gathering: asyncio.Task[None] | None = None
        try:
            await self._connect()
            gathering = asyncio.create_task(self._gather())
            while not self._stopping.is_set():
                if self._failure is not None:
                    raise self._failure
                if self._assigned.is_set():
                    await self._take_over()
                turn = self._turn
                await self._mail()
                async with self._unit:
                    if turn == self._turn:
                        fetches, self._fetches = self._fetches, []
                        self._mailed.clear()
                        await take_unit(self._runner, fetches, self._pulse)
                if time.monotonic() - committed_at >= COMMIT_EVERY_S:
                    await self._commit()
                    committed_at = time.monotonic()
            await self._runner.finish()
            await self._commit()
        finally:
            if gathering is not None:
                gathering.cancel()
            # A broker that is away must not keep a failed worker alive, nor its end hide what it failed of.
            with suppress(Exception):
                async with asyncio.timeout(LEAVE_S):
                    await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:  # noqa: ARG002  # all go at once
        """Called while still a member: finish the unit under way, commit it, and stop working."""
        self._begin_turn()
        with self._pulse.busy(RELEASE):
            async with self._unit:
                try:
                    await self._runner.finish()
                    await self._commit()
                    await self._runner.released()
                except Exception as error:  # noqa: BLE001  # aiokafka would log it and go on; the loop raises it
                    self._failure = error
        self._pulse.lost()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:  # noqa: ARG002  # read later
        """Called before this member heartbeats: only note it; the loop takes over."""
        self._begin_turn()
        self._assigned.set()

    def _begin_turn(self) -> None:
        self._turn += 1
        self._assigned.clear()
        self._fetched_to = {}
        self._fetches = []

    async def _connect(self) -> None:
        s = self._settings
        install.into_aiokafka()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=s.bootstrap,
            client_id=s.client_id,
            group_id=s.group,
            group_instance_id=s.instance,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            partition_assignment_strategy=[RangePartitionAssignor],
            max_poll_records=s.max_poll_records,
            session_timeout_ms=s.session_timeout_ms,
            heartbeat_interval_ms=s.heartbeat_ms,
            rebalance_timeout_ms=s.rebalance_timeout_ms,
            max_poll_interval_ms=s.max_poll_interval_ms,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        refuse_weak_consumer(self._consumer)
        try:
            await self._consumer.start()
        except kafka_errors.KafkaError as error:
            raise Unreachable(f"no broker answers at {s.bootstrap}: {error}.", remedy="Run `agencybus up`.") from error
        end_when_membership_is_lost(self._consumer)
        date_answers(self._consumer)
        ask_seldom(self._consumer, parked_topic(s.group))
        self._consumer.subscribe(topics=sorted(s.topics), listener=self)

    async def _take_over(self) -> None:
        self._assigned.clear()
        turn = self._turn
        numbers = sorted({tp.partition for tp in self._consumer.assignment()})
        try:
            seeks = await take_over(
                self._runner,
                numbers,
                self._pulse,
                floor=lambda inputs: floors(self._consumer, inputs),
                still_mine=lambda: self._turn == turn,
                limit_s=self._settings.recovery_s,
            )
        except Fenced:
            if self._turn == turn:
                raise
            return  # the group moved on meanwhile; its next assignment is taken over from the start
        async with self._fetching:
            if self._turn != turn:
                return
            for partition, offset in seeks.items():
                self._consumer.seek(TopicPartition(partition.topic, partition.number), offset)
            self._fetched_to = dict(seeks)
        if self._runner.numbers:
            self._ready(self._runner.numbers)

    async def _mail(self) -> None:
        """Wait for fetches, at most as long as one may take: time passes for timers too."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FETCH_WAIT_MS / 1000):
                await self._mailed.wait()

    async def _gather(self) -> None:
        """Fetch while units are under way, so that a busy worker takes larger units instead of older ones."""
        try:
            while True:
                async with self._fetching:
                    turn = self._turn
                    fetched = await self._fetch()
                    if fetched is not None and turn == self._turn:
                        self._fetched_to.update(fetched.positions)
                        self._fetches.append(fetched)
                        self._mailed.set()
                if fetched is None:
                    await asyncio.sleep(IDLE_S)
        except Exception as error:  # noqa: BLE001  # the loop raises it
            self._failure = error
            self._mailed.set()

    async def _fetch(self) -> Fetched | None:
        """One fetch; None when nothing may be fetched now."""
        full = self._runner.full()
        wanted = [TopicPartition(p.topic, p.number) for p in self._fetched_to if p not in full]
        if not wanted or len(self._fetches) >= JOIN:
            return None
        found = await self._consumer.getmany(*wanted, timeout_ms=FETCH_WAIT_MS)
        if not self._fetched_to:
            return None
        self._pulse.saw(known_ends(self._consumer, wanted))
        return from_kafka(self._consumer, found, wanted, self._fetched_to)

    async def _commit(self) -> None:
        offsets = {TopicPartition(p.topic, p.number): o for p, o in self._runner.committable().items()}
        owned = self._consumer.assignment()
        offsets = {tp: offset for tp, offset in offsets.items() if tp in owned}
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
            self._pulse.committed({Partition(tp.topic, tp.partition): offset for tp, offset in offsets.items()})
        except (kafka_errors.CommitFailedError, kafka_errors.IllegalStateError, kafka_errors.RebalanceInProgressError):
            return  # the group is moving; the positions record is the truth, commits are for lag tools
        except kafka_errors.KafkaError as error:
            if not getattr(error, "retriable", False):
                raise Unreachable(
                    f"committing failed: {error}.", remedy="See that this worker may READ its group; it restarts."
                ) from error

"""The hardened Faust app: the only file that imports faust.

Built by `agents.faust_host`; `build_app` is the only way one is made. What faust does badly is taken out (F-numbers:
see "Traps of Faust" in agents/DESIGN.md):

- one message carries whole fetches (F67), so its per-record tasks, acks and gaps (F1, F2, F3, F5) never run;
- positions come from the case log and are committed from there (F71);
- range assignment keeps equal partition numbers together (F63); aborted records stay unseen; no topics are made
  (F25, F28); a member that lost its place ends (F64);
- no web server (F43), no leader, no tables, no exactly_once (F11), no agent restarts (F42).
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from agents.health import Pulse
from agents.membership import (
    HostSettings,
    ask_seldom,
    date_answers,
    end_when_membership_is_lost,
    from_kafka,
    known_ends,
)
from agents.runner import Runner
from agents.unit import Fetched
from bus.errors import Refused
from bus.event_loop import new_event_loop
from bus.message import Partition
from bus.middleware.parking import parked_topic
from bus.transport.durability import refuse_weak_consumer
from bus.transport.splitter import install

_argv, sys.argv = sys.argv, sys.argv[:1]  # faust reads the command line when it is imported
import faust  # noqa: E402  # see the line above
from aiokafka import TopicPartition  # noqa: E402  # after faust, whose import must see no arguments
from aiokafka.coordinator.assignors.range import RangePartitionAssignor  # noqa: E402  # as above
from faust.transport.drivers import aiokafka as driver  # noqa: E402  # as above
from faust.types import TP, ConsumerMessage  # noqa: E402  # as above
from mode.supervisors import SupervisorStrategy  # noqa: E402  # as above
from mode.threads import WorkerThread  # noqa: E402  # as above
from mode.utils.futures import notify  # noqa: E402  # as above

sys.argv = _argv

FETCH_WAIT_S = 0.2
COMMIT_EVERY_S = 1.0
UNIT = "unit"  # the header that carries a `Unit`
JOIN = 8  # fetches joined into a unit that waits; more wait in faust's own queue
FORBIDDEN = {
    "processing_guarantee": "F11: faust's exactly_once is not atomic; effects are kept once by the case log",
    "stream_publish_on_commit": "F13: it can publish the next event's output",
    "web_enabled": "F43: faust's web server shows state without a login",
    "topic_allow_declare": "F25, F28: topics come from the topology file",
    "table_standby_replicas": "F24: there are no tables to keep standbys of",
    "agent_supervisor": "F42: it restarts a failed agent on the next unit, a hundred times a second",
    "producer_threaded": "F54: its blocking send always fails",
}


class Host(Protocol):
    """What the app needs of its host."""

    runner: Runner
    pulse: Pulse
    seeks: dict[Partition, int]

    @property
    def failed(self) -> bool:
        """Whether a unit has failed, and so will never be acked."""
        ...


class Daemon(WorkerThread):  # type: ignore[misc]  # mode ships no complete types
    """A thread that cannot keep a failed process alive when the broker does not let it leave; it closes its loop."""

    def __init__(self, service: Any, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True

    def run(self) -> None:
        """Serve, on a loop that mode leaves to whom it has it from."""
        try:
            super().run()
        finally:
            self.service.thread_loop.close()


class UnitThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # faust ships no complete types
    """Faust's consumer thread, fetching whole units."""

    def __post_init__(self) -> None:
        """Begin with no fetch chain."""
        super().__post_init__()
        self.fetched_to: dict[Partition, int] = {}

    def _create_worker_consumer(self, transport: Any) -> Any:
        install.into_aiokafka()
        consumer = super()._create_worker_consumer(transport)
        consumer._partition_assignment_strategy = [RangePartitionAssignor]  # noqa: SLF001  # F63
        consumer._fetch_max_wait_ms = int(FETCH_WAIT_S * 1000)  # noqa: SLF001  # faust fixes 1500
        consumer._isolation_level = "read_committed"  # noqa: SLF001  # faust reads aborted records
        refuse_weak_consumer(consumer)  # faust takes settings from the environment too
        return consumer

    async def on_start(self) -> None:
        """Connect, then watch for lost membership and for answers that are old, and ask seldom for commands."""
        await super().on_start()
        end_when_membership_is_lost(self._ensure_consumer())
        date_answers(self._ensure_consumer())
        ask_seldom(self._ensure_consumer(), parked_topic(self.consumer.app.conf.id))

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Iterable[Any],
        timeout: float | None = None,  # noqa: ASYNC109  # faust's own signature
        max_records: int | None = None,
    ) -> Any:
        if not self.consumer.flow_active:
            return {}
        wanted = [TopicPartition(tp.topic, tp.partition) for tp in active_partitions]
        chain = self.fetched_to
        wanted = [tp for tp in wanted if Partition(tp.topic, tp.partition) in chain]
        found = await super()._fetch_records(consumer, wanted, timeout=timeout, max_records=max_records)
        if (
            self.fetched_to is not chain
        ):  # a takeover sought meanwhile: what this took, whoever works next must be given
            self._go_back(consumer)
            return {}
        self.consumer.app.host.pulse.saw(known_ends(consumer, wanted))
        fetched = from_kafka(consumer, found, wanted, self.fetched_to)
        self.fetched_to.update(fetched.positions)
        return fetched

    async def _seek_wait(self, consumer: Any, partitions: Mapping[Any, int]) -> None:
        for tp, offset in partitions.items():
            consumer.seek(TopicPartition(tp.topic, tp.partition), offset)
        self.fetched_to = {Partition(tp.topic, tp.partition): offset for tp, offset in partitions.items()}

    def _go_back(self, consumer: Any) -> None:
        """Have everything since `fetched_to` fetched again."""
        owned = consumer.assignment()
        for place, offset in self.fetched_to.items():
            if (tp := TopicPartition(place.topic, place.number)) in owned:  # else the group has moved on again
                consumer.seek(tp, offset)


class Unit:
    """The fetches of one message.

    It grows while it waits for the agent, so that a busy worker takes larger units instead of older ones.

    Args:
        generation: faust's generation in which it was fetched; another one's fetches must not join it.
    """

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.fetches: list[Fetched] = []
        self.taken = False

    def take(self) -> list[Fetched]:
        """What has been fetched for it; nothing joins it from now on."""
        self.taken = True
        return self.fetches


class UnitConsumer(driver.Consumer):  # type: ignore[misc]  # faust ships no complete types
    """Faust's consumer, delivering one message per unit."""

    _units = 0
    _waiting: Unit | None = None

    def _new_consumer_thread(self) -> UnitThread:
        return UnitThread(self, Worker=Daemon, loop=self.loop, thread_loop=new_event_loop(), beacon=self.beacon)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109  # faust's own signature
        full = self.app.host.runner.full()
        wanted = {tp for tp in active_partitions if Partition(tp.topic, tp.partition) not in full}
        return await super()._getmany(wanted, timeout)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:  # noqa: ASYNC109, ARG002  # ours is shorter
        """One message per unit, an empty one too: time passes for timers. A fetch joins the unit that still waits."""
        if not self.flow_active:  # the next generation begins here, and what is fetched then belongs to it
            await self.wait(self.can_resume_flow)
        generation = self.app.consumer_generation_id
        fetched, _ = await self._wait_next_records(FETCH_WAIT_S)
        if not isinstance(fetched, Fetched) or self.should_stop or not self.flow_active:
            return
        if generation != self.app.consumer_generation_id or not fetched.positions:
            return
        unit = self._waiting
        if unit is not None and not unit.taken and unit.generation == generation and len(unit.fetches) < JOIN:
            unit.fetches.append(fetched)
            return
        self._waiting = unit = Unit(generation)
        unit.fetches.append(fetched)
        carrier = min(fetched.positions)
        tp = TP(carrier.topic, carrier.number)
        self._units += 1
        yield tp, ConsumerMessage(
            tp.topic, tp.partition, self._units, 0.0, 0, {UNIT: unit}, None, b"", None, 0, 0, tp,
            generation_id=generation,
        )  # fmt: skip

    def ack(self, message: Any) -> bool:
        """Note that a unit is done; offsets are the case log's business."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        return True

    async def wait_empty(self) -> None:
        """Wait for the unit under way, unless it failed: it will never be done, and the process must end."""
        if not self.app.host.failed:
            await super().wait_empty()

    def _clean_unacked_messages(self) -> None:
        if self.app.host.failed:  # while it was waited for
            self._unacked_messages.clear()
        super()._clean_unacked_messages()

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Unit numbers have no gaps that mean anything."""

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002  # faust's own signature
        """Commit what the runner has stored and sent."""
        for book in (self._acked, self._acked_index):  # faust's compiled stream enters acks here; nobody reads them
            book.clear()
        committable = self.app.host.runner.committable()
        offsets = {TP(p.topic, p.number): offset for p, offset in committable.items()}
        done = bool(offsets) and bool(await self._commit(offsets))
        if done:
            self.app.host.pulse.committed(committable)
        return done

    async def perform_seek(self) -> None:
        """Seek to the positions of the case log, never to the group's commits."""
        self._read_offset.clear()
        await self.seek_wait({TP(p.topic, p.number): offset for p, offset in self.app.host.seeks.items()})

    def verify_event_path(self, now: float, tp: Any) -> None:
        """The runner's own watch replaces it; faust's reads offsets that are not kept here."""

    def on_buffer_full(self, tp: Any) -> None:
        """A buffer of one unit is full by design; pausing the carrier's partition would stop the fetch for a second."""

    def on_buffer_drop(self, tp: Any) -> None:
        """As full is no alarm, room is no news: nothing was paused."""


class Once(SupervisorStrategy):  # type: ignore[misc]  # mode ships no complete types
    """An agent's supervisor that never restarts it: a failed unit ends the process, with backoff outside (F42)."""

    def wakeup(self) -> None:
        """Nothing to wake up for."""

    async def restart_services(self, services: Sequence[Any]) -> None:
        """Restart nothing: the host has ended the unit, and its process follows."""


class UnitTransport(driver.Transport):  # type: ignore[misc]  # faust ships no complete types
    """Faust's aiokafka transport with our consumer."""

    Consumer = UnitConsumer


class UnitApp(faust.App):  # type: ignore[misc]  # faust ships no complete types
    """A faust app that uses our transport and knows its host."""

    host: Host

    def _create_directories(self) -> None:
        """Make none: there are no tables, and faust would make three in the working directory."""

    def _new_transport(self) -> UnitTransport:
        return UnitTransport(self.conf.broker_consumer, self)


def build_app(settings: HostSettings, **overrides: object) -> UnitApp:
    """The hardened app: the only way one is made.

    Args:
        settings: how to join the group.
        overrides: further faust settings, for tests and special deployments.

    Raises:
        Refused: when an override is one that breaks the delivery contract, with the trap it would open.
    """
    for name in overrides:
        if name in FORBIDDEN:
            reason = FORBIDDEN[name]
            raise Refused(f"faust setting {name} is not allowed: {reason}.", field=name, remedy="Leave it out.")
    options: dict[str, Any] = {
        "agent_supervisor": Once,
        "broker_client_id": settings.client_id,
        "broker": [f"kafka://{address}" for address in settings.bootstrap.split(",")],
        "store": "memory://",
        "consumer_group_instance_id": settings.instance,  # "" would make every worker one static member
        "consumer_auto_offset_reset": "earliest",
        "broker_session_timeout": settings.session_timeout_ms / 1000,
        "broker_heartbeat_interval": settings.heartbeat_ms / 1000,
        "broker_rebalance_timeout": settings.rebalance_timeout_ms / 1000,
        "broker_max_poll_interval": settings.max_poll_interval_ms / 1000,
        "broker_max_poll_records": settings.max_poll_records,
        "broker_commit_interval": COMMIT_EVERY_S,
        "stream_buffer_maxsize": 1,
        "stream_recovery_delay": 0.0,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "table_standby_replicas": 0,
        "web_enabled": False,
        **overrides,
    }
    return UnitApp(settings.group, **options)

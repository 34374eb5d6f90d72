"""The parts of a connected bus, put together once; its two faces are in test_wiring."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from bus.clock import SystemClock
from bus.core import Core, Run, connect_core, transport_of
from bus.errors import Refused, Unreachable
from bus.message import Outgoing, Partition
from bus.middleware.parking import unpack
from bus.middleware.retry import Policy, RetryPolicy
from bus.ports import Producer, Reader, TopicState
from bus.settings import Settings
from bus.testing import memory_bus, memory_cluster, put
from bus.transport.kafka import KafkaTransport
from bus.transport.memory import MemoryCluster, MemoryProducer, MemoryReader
from bus.transport.schema_topic import PLACE, Registered, record_of
from schemas import avro
from schemas.catalogue import Catalogue
from schemas.errors import SchemaRefused, UnknownType
from schemas.event import Event, PersonalData
from tests.bus.support import CATALOGUE, TOPIC, Foreign, NoteWritten

OTHER = "justice.note.written.v1"


@asynccontextmanager
async def core_on(cluster: MemoryCluster, **settings: object) -> AsyncIterator[Core]:
    chosen = Settings.model_validate(settings)
    core = await connect_core(chosen, transport=cluster, catalogue=CATALOGUE, clock=None)
    yield core
    await core.close()


def test_the_transport_is_the_one_the_settings_describe() -> None:
    settings = Settings(bootstrap="kafka.example:9", publish_deadline_s=7, session_timeout_ms=9_000, agency="justice")
    found = transport_of(settings)
    assert isinstance(found, KafkaTransport)
    assert (found.bootstrap, found.deadline_s, found.session_timeout_ms) == ("kafka.example:9", 7, 9_000)
    assert found.client_id == "agencybus-justice", "who loads the broker can be told from its logs"
    assert found.max_poll_interval_ms == 300_000


def test_a_group_waits_for_a_late_handler_longer_than_its_alarm_does() -> None:
    found = transport_of(Settings(handler_deadline_s=600))
    assert isinstance(found, KafkaTransport)
    assert found.max_poll_interval_ms == 1_260_000


@contextmanager
def loop_elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_work_on_the_loop_of_another_thread_gives_its_result_or_its_error() -> None:
    async def where() -> str:
        return threading.current_thread().name

    async def fail() -> None:
        raise Refused("no")

    with loop_elsewhere() as loop:
        assert Run(loop)(where()) != threading.current_thread().name
        with pytest.raises(Refused, match="no"):
            Run(loop)(fail())


async def test_a_contract_is_read_from_every_publisher_or_from_those_named() -> None:
    async with core_on(memory_cluster(TOPIC)) as core:
        assert sorted(core.topics_of(NoteWritten, None)) == [OTHER, TOPIC]
        assert core.topics_of(NoteWritten, ["justice"]) == [OTHER]
        for model, publishers in ((NoteWritten, []), (Foreign, None), (Foreign, ["portal"])):
            with pytest.raises(UnknownType):
                core.topics_of(model, publishers)
        with pytest.raises(SchemaRefused, match="publishers: portal, justice"):
            core.topics_of(NoteWritten, ["health"])


async def test_the_clock_is_the_system_s_unless_another_is_given() -> None:
    async with core_on(memory_cluster(TOPIC)) as core:
        assert isinstance(core.clock, SystemClock)


def test_an_event_of_a_writer_with_a_newer_schema_is_read_by_the_schemas_on_the_cluster() -> None:
    """The writer knows a field this process does not; its schema is found by the id in the frame."""

    class Newer(Event, contract="note.written", agencies=("portal",), personal_data=PersonalData.NONE):
        """A note, later."""

        text: str
        """What it says."""
        tone: str | None = None
        """How it says it."""

    schema = avro.schema_of(Newer) | {"name": avro.schema_of(NoteWritten)["name"]}
    cluster = memory_cluster(TOPIC, OTHER)
    cluster.admin().create(TopicState(PLACE.topic, 1, 1, {"cleanup.policy": "compact"}))
    with memory_bus(cluster, agency="portal", catalogue=Catalogue([Newer])) as bus:
        bus.publish(Newer(text="hello", tone="warm"), case="c")
    put(cluster, PLACE, [record_of(Registered(f"{TOPIC}-value", 1, avro.schema_id(avro.schema_of(Newer)), schema))])
    with memory_bus(cluster, catalogue=CATALOGUE) as bus:
        (record,) = [r for place, log in cluster.logs.items() if place.topic == TOPIC for r in log]
        assert bus.core.codec.decode(record.value or b"", NoteWritten) == NoteWritten(text="hello")


class _Watched(MemoryCluster):
    """A cluster whose schema topic cannot be read, and that notes which producers were stopped."""

    stopped: int = 0

    def producer(self) -> Producer:  # type: ignore[override]
        outer = self

        class Noting(MemoryProducer):
            async def stop(self) -> None:
                outer.stopped += 1

        return Noting(self)

    def reader(self) -> Reader:  # type: ignore[override]
        class Silent(MemoryReader):
            def partitions(self, topic: str) -> int:
                raise Unreachable("The leader is silent.")

        return Silent(self)


async def test_a_connection_that_fails_half_way_leaves_no_producer_behind() -> None:
    cluster = _Watched(SystemClock())
    with pytest.raises(Unreachable):
        await connect_core(Settings(), transport=cluster, catalogue=CATALOGUE, clock=None)
    assert cluster.stopped == 1


@pytest.mark.parametrize("there", [False, True])
def test_dead_letters_have_a_topic_like_the_input_that_keeps_them_until_someone_looks(*, there: bool) -> None:
    cluster = memory_cluster()
    cluster.admin().create(TopicState(TOPIC, 3, 3, {"min.insync.replicas": "2"}))
    if there:
        cluster.admin().create(TopicState("g.dead", 4, 1))
    put(cluster, Partition(TOPIC, 0), [Outgoing(b"c", b"junk")])
    with memory_bus(cluster, catalogue=CATALOGUE) as bus:
        member = bus.member([TOPIC], group="g", before_commit=lambda: None)
        member.poll()
        assert [member.next(hand) for hand in member.hands()] == [None] * 3
        member.leave()
    made = cluster.topics["g.dead"]
    safe = TopicState("g.dead", 1, 3, {"retention.ms": "-1", "min.insync.replicas": "2"})
    assert made == (TopicState("g.dead", 4, 1) if there else safe), "a letter is as safe as its record"
    assert sum(len(log) for place, log in cluster.logs.items() if place.topic == "g.dead") == 1


def parked_by(cluster: MemoryCluster) -> TopicState:
    """The topic of parked entries after a first one."""
    with memory_bus(cluster, agency="portal", catalogue=CATALOGUE) as bus:
        bus.publish(NoteWritten(text="bad"), case="c")
        bus.publish(NoteWritten(text="good"), case="d")
        policy = Policy(retry=RetryPolicy(attempts=1))
        tried = []
        for delivery in bus.subscribe(NoteWritten, group="g", policy=policy):
            with delivery as event:
                tried.append(event.text)
                if event.text == "bad":
                    raise ValueError
            if sorted(tried) == ["bad", "good"]:
                bus.publish(NoteWritten(text="end"), case="e")
            if event.text == "end":
                break
    (entry,) = [r for place, log in cluster.logs.items() if place.topic == "g.parked" for r in log]
    assert unpack(entry.value or b"").record.key == b"c"
    assert entry.partition == unpack(entry.value or b"").record.partition
    return cluster.topics["g.parked"]


def test_parked_entries_have_a_compacted_topic_as_wide_as_the_widest_input() -> None:
    cluster = memory_cluster(OTHER, partitions=5)
    cluster.admin().create(TopicState(TOPIC, 3, 2, {"min.insync.replicas": "1"}))
    made = parked_by(cluster)
    assert (made.partitions, made.config["cleanup.policy"], made.config["retention.ms"]) == (5, "compact", "-1")


def test_a_topic_of_parked_entries_that_has_become_too_narrow_grows() -> None:
    cluster = memory_cluster(TOPIC, OTHER, partitions=3)
    cluster.admin().create(TopicState("g.parked", 1, 1))
    assert parked_by(cluster).partitions == 3


def test_closing_settles_what_was_taken() -> None:
    cluster = memory_cluster(TOPIC)

    async def story() -> str:
        async with core_on(cluster, agency="portal") as core:
            waiting = asyncio.create_task(core.publisher.publish(NoteWritten(text="a"), case="c"))
            await asyncio.sleep(0)
        return (await waiting).id

    assert asyncio.run(story())
    assert sum(map(len, cluster.logs.values())) == 1

"""Shipped test tools: a clock one sets, deadlines for real brokers, and the contract every transport keeps.

Called by our tests and by an agency's own. The trap it avoids: tests that pass on a kinder twin. `TransportContract`
is one suite of plain methods; subclass it, give it a `transport` and a `name` fixture, and run it with pytest on
memory and on real Kafka alike.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from bus.errors import Fenced, Refused
from bus.message import Outgoing, Partition, Record
from bus.partitioner import murmur2, partition_for
from bus.ports import Consumer, TopicState, Transport
from bus.settings import Settings
from bus.transport.memory import MemoryCluster
from bus.wiring import Bus, connect
from schemas.catalogue import Catalogue
from schemas.envelope import to_ms

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)  # a Monday, so that working-day rules start plainly


class ManualClock:
    """A clock that moves only when told.

    Args:
        start: its first time, aware.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def now(self) -> datetime:
        """The time it was set to."""
        return self._now

    def advance(self, **by: float) -> None:
        """Move forward, e.g. ``advance(hours=2)``; the arguments are `timedelta`'s."""
        self._now += timedelta(**by)


def memory_cluster(*topics: str, partitions: int = 3) -> MemoryCluster:
    """A cluster in memory with `topics` of `partitions` each, on a `ManualClock`."""
    cluster = MemoryCluster(ManualClock())
    for topic in topics:
        cluster.admin().create(TopicState(topic, partitions, 1))
    return cluster


@contextmanager
def memory_bus(
    cluster: MemoryCluster, *, agency: str | None = None, catalogue: Catalogue | None = None
) -> Iterator[Bus]:
    """A bus over `cluster` that reads no settings of its surroundings.

    Args:
        cluster: see `memory_cluster`; its topics have to be there.
        agency: in whose name to publish.
        catalogue: other event types than the standard ones.
    """
    settings = Settings(agency=agency, publish_deadline_s=5)
    with connect(settings=settings, transport=cluster, catalogue=catalogue, clock=cluster.clock) as bus:
        yield bus


@contextmanager
def expecting(error: type[Exception]) -> Iterator[None]:
    """Fail unless the block raises `error`; so that this module needs no test framework."""
    try:
        yield
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


def eventually(holds: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Call `holds` until it returns True. Raises AssertionError after `within_s` seconds."""
    give_up = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > give_up:
            raise AssertionError(f"did not hold within {within_s:g} s")
        time.sleep(0.01)


def drain(consumer: Consumer, count: int, *, within_s: float = 30.0) -> list[Record]:
    """Poll until `count` records have come. Raises AssertionError when they have not come in time.

    Args:
        consumer: polled.
        count: how many records are enough.
        within_s: seconds of patience.
    """
    found: list[Record] = []

    def enough() -> bool:
        found.extend(consumer.poll(max_records=500, timeout=0.1))
        return len(found) >= count

    eventually(enough, within_s=within_s)
    return found


def put(transport: Transport, partition: Partition, records: Sequence[Outgoing]) -> int:
    """Append with a producer of its own; return the first offset.

    Args:
        transport: makes the producer.
        partition: where to.
        records: in their order.
    """

    async def once() -> int:
        producer = transport.producer()
        await producer.start()
        try:
            return await producer.append(partition, records)
        finally:
            await producer.stop()

    return asyncio.run(once())


def numbered(count: int, *, start: int = 0) -> list[Outgoing]:
    """`count` records whose value is their number."""
    return [Outgoing(b"k", str(start + i).encode()) for i in range(count)]


class TransportContract:
    """What the bus needs of a transport. Fixtures to give: `transport` (a Transport), `name` (a fresh topic name)."""

    def silence(self, consumer: Consumer) -> None:
        """Make the cluster give `consumer`'s partitions away. On Kafka it is enough that it does not poll."""

    def make(self, transport: Transport, name: str, *, partitions: int = 3) -> list[Partition]:
        """Create the topic `name` and return its `partitions`; `transport` makes the admin."""
        admin = transport.admin()
        admin.create(TopicState(name, partitions, 1, {"message.timestamp.type": "LogAppendTime"}))
        admin.close()
        return [Partition(name, n) for n in range(partitions)]

    def test_records_come_back_in_order_with_their_offsets(self, transport: Transport, name: str) -> None:
        part = self.make(transport, name)[1]
        assert put(transport, part, numbered(5)) == 0
        assert put(transport, part, numbered(5, start=5)) == 5
        reader = transport.reader()
        found = list(reader.read(part, 0, 10))
        assert [(r.offset, r.value) for r in found] == [(i, str(i).encode()) for i in range(10)]
        assert [r.offset for r in reader.read(part, 3, 6)] == [3, 4, 5]
        assert reader.bounds([part]) == {part: (0, 10)}
        assert list(reader.read(part, 4, 4)) == []
        reader.close()

    def test_two_reads_may_take_turns(self, transport: Transport, name: str) -> None:
        one, two, _ = self.make(transport, name)
        put(transport, one, numbered(4))
        put(transport, two, numbered(4, start=10))
        reader = transport.reader()
        pairs = list(zip(reader.read(one, 0, 4), reader.read(two, 0, 4), strict=True))
        assert [(a.value, b.value) for a, b in pairs] == [(b"%d" % i, b"%d" % (10 + i)) for i in range(4)]
        reader.close()

    def test_null_keys_values_and_header_values_survive(self, transport: Transport, name: str) -> None:
        part = self.make(transport, name)[0]
        sent = [
            Outgoing(None, b"value"),
            Outgoing(b"key", None, (("ce_id", b"1"), ("empty", b""), ("none", None))),
            Outgoing(None, None),
            Outgoing(b"", b"", (("twice", b"a"), ("twice", b"b"), ("ə", "ş".encode()))),
        ]
        put(transport, part, sent)
        reader = transport.reader()
        assert [Outgoing(r.key, r.value, r.headers) for r in reader.read(part, 0, 4)] == sent
        reader.close()

    def test_partitioning_is_the_java_client_s(self) -> None:
        vectors = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
        vectors |= {b"a-little-bit-longer-string": -1486304829, b"abc": 479470107}
        for key, expected in vectors.items():  # org.apache.kafka.common.utils.UtilsTest.testMurmur2
            assert murmur2(key) == expected & 0xFFFFFFFF
            assert partition_for(key, 6) == (expected & 0x7FFFFFFF) % 6

    def test_a_record_beyond_the_limit_has_all_of_its_call_refused(self, transport: Transport, name: str) -> None:
        part = self.make(transport, name)[0]
        large, half = Outgoing(b"k", b"x" * 1_100_000), Outgoing(b"k", b"x" * 600_000)
        for records in ([large], [*numbered(1), large], [half, half, large], [half, half, *numbered(1), large]):
            with expecting(Refused):
                put(transport, part, records)
        assert put(transport, part, numbered(1)) == 0

    def test_more_than_a_batch_is_appended_whole_and_in_order(self, transport: Transport, name: str) -> None:
        part = self.make(transport, name)[0]
        sent = [Outgoing(b"%d" % i, b"x" * 300_000) for i in range(9)]
        assert put(transport, part, sent) == 0
        reader = transport.reader()
        assert [r.key for r in reader.read(part, 0, 9)] == [b"%d" % i for i in range(9)]
        reader.close()

    def test_a_topic_or_partition_that_is_not_there_is_refused(self, transport: Transport, name: str) -> None:
        with expecting(Refused):
            put(transport, Partition(name, 0), numbered(1))
        reader = transport.reader()
        with expecting(Refused):
            reader.partitions(name)
        reader.close()
        with expecting(Refused):
            transport.consumer([name], group=f"{name}-g").poll(max_records=1, timeout=0.1)
        self.make(transport, name)
        with expecting(Refused):
            put(transport, Partition(name, 3), numbered(1))

    def test_a_time_finds_the_first_record_at_or_after_it(self, transport: Transport, name: str) -> None:
        one, two, _ = self.make(transport, name)
        put(transport, one, numbered(3))
        reader = transport.reader()
        stamp = next(reader.read(one, 0, 1)).timestamp
        assert reader.at_time([one, two], stamp) == {one: 0, two: 0}
        assert reader.at_time([one], to_ms(datetime.now(UTC)) + 3_600_000) == {one: 3}
        reader.close()

    def test_a_group_resumes_where_it_committed(self, transport: Transport, name: str) -> None:
        part = self.make(transport, name, partitions=1)[0]
        put(transport, part, numbered(6))
        first = transport.consumer([name], group=f"{name}-g")
        assert len(drain(first, 6)) == 6
        first.commit({part: 4})
        first.close()
        second = transport.consumer([name], group=f"{name}-g")
        assert [r.offset for r in drain(second, 2)] == [4, 5]
        second.close()
        admin = transport.admin()
        assert admin.committed([f"{name}-g"]) == {f"{name}-g": {part: 4}}
        assert f"{name}-g" in admin.groups()
        admin.close()

    def test_a_position_is_known_before_anything_is_read_and_only_of_what_is_owned(
        self, transport: Transport, name: str
    ) -> None:
        part, other = self.make(transport, name, partitions=2)
        put(transport, part, numbered(6))
        admin = transport.admin()
        admin.commit(f"{name}-g", {part: 6})
        admin.close()
        consumer = transport.consumer([name], group=f"{name}-g")
        eventually(lambda: not consumer.poll(max_records=1, timeout=0.1) and bool(consumer.assignment()))
        assert (consumer.position(part), consumer.position(other)) == (6, 0)
        with expecting(Fenced):
            consumer.position(Partition(name, 7))
        consumer.close()

    def test_what_was_polled_but_not_committed_comes_again(self, transport: Transport, name: str) -> None:
        part = self.make(transport, name, partitions=1)[0]
        put(transport, part, numbered(3))
        for _ in range(2):
            consumer = transport.consumer([name], group=f"{name}-g")
            assert [r.offset for r in drain(consumer, 3)] == [0, 1, 2]
            consumer.close()

    def test_seek_reads_again_in_place(self, transport: Transport, name: str) -> None:
        part = self.make(transport, name, partitions=1)[0]
        put(transport, part, numbered(4))
        consumer = transport.consumer([name], group=f"{name}-g")
        drain(consumer, 4)
        consumer.seek({part: 2, Partition(name, 99): 0})
        assert [r.offset for r in drain(consumer, 2)] == [2, 3]
        consumer.close()

    def test_a_poll_keeps_to_its_bound(self, transport: Transport, name: str) -> None:
        part = self.make(transport, name, partitions=1)[0]
        put(transport, part, numbered(10))
        consumer = transport.consumer([name], group=f"{name}-g")
        found: list[Record] = []

        def all_in_small_bites() -> bool:
            bite = consumer.poll(max_records=3, timeout=0.1)
            assert len(bite) <= 3
            found.extend(bite)
            return len(found) == 10

        eventually(all_in_small_bites)
        consumer.close()

    def test_two_members_share_the_partitions_and_the_one_left_takes_all(self, transport: Transport, name: str) -> None:
        parts = frozenset(self.make(transport, name, partitions=4))
        one = transport.consumer([name], group=f"{name}-g")
        two = transport.consumer([name], group=f"{name}-g")

        def shared() -> bool:
            one.poll(max_records=1, timeout=0.1)
            two.poll(max_records=1, timeout=0.1)
            return len(one.assignment()) == len(two.assignment()) == 2 and one.assignment() | two.assignment() == parts

        eventually(shared)
        one.close()

        def inherited() -> bool:
            two.poll(max_records=1, timeout=0.1)
            return two.assignment() == parts

        eventually(inherited)
        two.close()

    def test_a_paused_partition_gives_nothing_until_it_may_again(self, transport: Transport, name: str) -> None:
        one, two, _ = self.make(transport, name)
        consumer = transport.consumer([name], group=f"{name}-g")
        eventually(lambda: not consumer.poll(max_records=1, timeout=0.1) and bool(consumer.assignment()))
        consumer.pause(frozenset([one, Partition(name, 99)]))
        put(transport, one, numbered(2))
        put(transport, two, numbered(2))
        assert {r.partition for r in drain(consumer, 2)} == {two.number}
        assert consumer.poll(max_records=9, timeout=0.3) == []
        consumer.pause(frozenset([two]))
        assert [(r.partition, r.offset) for r in drain(consumer, 2)] == [(one.number, 0), (one.number, 1)]
        consumer.close()

    def test_after_a_rebalance_kept_partitions_are_read_from_their_commit_too(
        self, transport: Transport, name: str
    ) -> None:
        parts = self.make(transport, name, partitions=2)
        for part in parts:
            put(transport, part, numbered(4))
        stays = transport.consumer([name], group=f"{name}-g")
        drain(stays, 8)
        stays.commit(dict.fromkeys(parts, 1))
        before = stays.generation()
        joins = transport.consumer([name], group=f"{name}-g")
        again: list[Record] = []

        def shared() -> bool:
            for member in (stays, joins):
                again.extend(member.poll(max_records=9, timeout=0.1))
            return len(again) == 6

        eventually(shared)
        assert stays.generation() > before
        assert sorted((r.partition, r.offset) for r in again) == [(p.number, at) for p in parts for at in (1, 2, 3)]
        stays.close()
        joins.close()

    def test_a_joining_member_waits_until_the_owner_has_polled(self, transport: Transport, name: str) -> None:
        parts = frozenset(self.make(transport, name, partitions=2))
        put(transport, Partition(name, 0), numbered(1))
        owner = transport.consumer([name], group=f"{name}-g")
        drain(owner, 1)
        joiner = transport.consumer([name], group=f"{name}-g")
        for _ in range(3):
            assert joiner.poll(max_records=9, timeout=0.1) == []
        assert (owner.assignment(), joiner.assignment()) == (parts, frozenset())
        owner.commit({Partition(name, 0): 1})  # what the owner has handled is not given away uncommitted
        owner.close()
        joiner.close()

    def test_equal_partition_numbers_of_two_topics_meet_on_one_member(self, transport: Transport, name: str) -> None:
        other = name.replace(".v1", ".v2")
        parts = {*self.make(transport, name, partitions=4), *self.make(transport, other, partitions=4)}
        members = [transport.consumer([name, other], group=f"{name}-g") for _ in range(3)]

        def settled() -> bool:
            for member in members:
                member.poll(max_records=1, timeout=0.1)
            return {p for m in members for p in m.assignment()} == parts and all(m.assignment() for m in members)

        eventually(settled)
        for member in members:
            numbers = [{p.number for p in member.assignment() if p.topic == topic} for topic in (name, other)]
            assert numbers[0] == numbers[1]
            member.close()

    def test_a_member_whose_partition_moved_cannot_commit(self, transport: Transport, name: str) -> None:
        parts = self.make(transport, name, partitions=2)
        put(transport, parts[0], numbered(2))
        put(transport, parts[1], numbered(2))
        old = transport.consumer([name], group=f"{name}-g")
        drain(old, 4)
        new = transport.consumer([name], group=f"{name}-g")
        self.silence(old)

        def taken() -> bool:
            new.poll(max_records=1, timeout=0.1)
            return new.assignment() == frozenset(parts)

        eventually(taken)
        assert old.position(parts[0]) == 2, "a member that does not poll has not heard of its loss"
        with expecting(Fenced):
            old.commit({parts[0]: 2})
        new.commit({parts[0]: 1})
        new.close()
        admin = transport.admin()
        assert admin.committed([f"{name}-g"]) == {f"{name}-g": {parts[0]: 1}}
        admin.close()
        old.close()

    def test_a_foreign_partition_cannot_be_committed(self, transport: Transport, name: str) -> None:
        part = self.make(transport, name, partitions=1)[0]
        put(transport, part, numbered(1))
        consumer = transport.consumer([name], group=f"{name}-g")
        drain(consumer, 1)
        with expecting(Fenced):
            consumer.commit({Partition(name, 7): 1})
        consumer.close()

    def test_an_admin_sets_offsets_only_of_a_group_without_members(self, transport: Transport, name: str) -> None:
        part = self.make(transport, name, partitions=1)[0]
        put(transport, part, numbered(5))
        admin = transport.admin()
        admin.commit(f"{name}-g", {part: 3})
        consumer = transport.consumer([name], group=f"{name}-g")
        assert [r.offset for r in drain(consumer, 2)] == [3, 4]
        with expecting(Refused):
            admin.commit(f"{name}-g", {part: 0})
        consumer.close()
        assert admin.committed([f"{name}-unknown"]).get(f"{name}-unknown", {}) == {}
        admin.close()

    def test_topics_are_made_altered_grown_and_deleted(self, transport: Transport, name: str) -> None:
        admin = transport.admin()
        wanted = TopicState(name, 2, 1, {"retention.ms": "1000"})
        admin.create(wanted)
        admin.create(wanted)  # again: no error, no change
        assert admin.topics()[name] == wanted
        with expecting(Refused):
            admin.create(TopicState(name, 3, 1))
        admin.alter(name, {"retention.ms": None, "cleanup.policy": "compact"})
        admin.add_partitions(name, 4)

        def changed() -> bool:
            return admin.topics()[name] == TopicState(name, 4, 1, {"cleanup.policy": "compact"})

        eventually(changed)
        with expecting(Refused):
            admin.add_partitions(name, 2)
        admin.delete(name)
        admin.delete(name)
        assert name not in admin.topics()
        admin.close()

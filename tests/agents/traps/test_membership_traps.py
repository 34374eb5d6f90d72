"""F43, F64, F65, F66, F71: what only a process or a real Kafka can show."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from agents.kafka_case_log import KafkaCaseLog
from agents.membership import EXIT_MEMBERSHIP_LOST
from agents.runner import Runner
from bus.broker.launcher import free_port
from bus.errors import Fenced
from bus.message import Partition
from tests.agents.harness import SESSION_MS, World, host_of, runner_of, until
from tests.agents.traps.support import faust, keep, stock, stock_is_trapped

FAUST_PORT = 6066  # where stock Faust serves its state


@pytest.fixture
def world(kafka: str, fresh: Callable[[str], str]) -> World:
    world = World(kafka, fresh("t"))
    world.create()
    return world


@asynccontextmanager
async def stock_running(world: World, agent: Any, **given: Any) -> AsyncIterator[Any]:
    """A stock app at work on the world's first topic; it makes folders of its own, so it is given one."""
    folder = tempfile.TemporaryDirectory()
    app = faust.App(
        f"{world.group}.stock",
        broker=f"kafka://{world.bootstrap}",
        datadir=folder.name,
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        **{"web_enabled": False, **given},
    )
    app.agent(app.topic(world.topic("asked"), value_type=bytes, value_serializer="raw"), name="stock")(agent)
    try:
        yield app
    finally:
        await app.stop()
        folder.cleanup()


async def ignore(stream: Any) -> None:
    async for _event in stream.events():
        pass


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.kafka
async def test_F43_no_web_server_shows_state(world: World) -> None:
    def closed(app: Any, port: int) -> None:
        keep(not app.boot_strategy._should_enable_web(), "a web server is started")
        keep(not listens(port), f"port {port} answers without a login")

    ready = asyncio.Event()
    async with runner_of(world) as runner:
        host = host_of("faust", world, runner, lambda _: ready.set())
        task = asyncio.create_task(host.run())
        await asyncio.wait_for(ready.wait(), 20)
        closed(host.app, FAUST_PORT)
        host.stop()
        await task
    port = free_port()
    with stock_is_trapped():
        closed(stock(), port)
    async with stock_running(world, ignore, web_enabled=True, web_bind="127.0.0.1", web_port=port) as app:
        await app.start()
        await until(lambda: listens(port), what="stock serves")


LOST = """
import asyncio, sys
from types import SimpleNamespace
from aiokafka.consumer.group_coordinator import GroupCoordinator
from agents.membership import end_when_membership_is_lost

async def main():
    coordinator = object.__new__(GroupCoordinator)
    coordinator.generation, coordinator.member_id, coordinator.group_id = 7, "m", "g"
    coordinator._closing = asyncio.get_running_loop().create_future()
    coordinator.request_rejoin = lambda: None
    coordinator._rejoin_needed_fut = asyncio.get_running_loop().create_future()
    if sys.argv[1] == "ours":
        end_when_membership_is_lost(SimpleNamespace(_coordinator=coordinator))
    coordinator.reset_generation()  # what aiokafka does when the group no longer knows the member
    print("works on with stale memory", coordinator.generation)

asyncio.run(main())
"""


def test_F64_a_member_the_group_has_forgotten_ends_its_process() -> None:
    """Stock rejoins under its old name in silence; the hook is set by both hosts when they connect."""

    def ends(whose: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", LOST, whose], capture_output=True, text=True, timeout=30, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        keep(done.returncode == EXIT_MEMBERSHIP_LOST, done.stdout)
        assert done.stderr.count("\n") == 1

    ends("ours")
    with stock_is_trapped():
        ends("stock")


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Keeps nothing; joining is what counts."""

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing to give up."""

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Nothing to take over."""


async def joined(world: World) -> tuple[AIOKafkaConsumer, int]:
    """A static member that has joined, and its generation."""
    member = AIOKafkaConsumer(
        bootstrap_servers=world.bootstrap,
        group_id=f"{world.group}.static",
        group_instance_id="w",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=SESSION_MS // 2,
    )
    await member.start()
    member.subscribe([world.topic("asked")], listener=Listener())
    await until(lambda: bool(member.assignment()), what="the member joined")
    return member, member._coordinator.generation


@pytest.mark.kafka
async def test_F65_owners_are_told_apart_by_the_log_since_the_generation_is_kept(world: World) -> None:
    def told_apart(first: object, second: object) -> None:
        keep(first != second, f"two owners under one number: {first}")

    old_log, new_log = (KafkaCaseLog(world.bootstrap, world.group, deadline_s=20) for _ in range(2))
    old_member, old_generation = await joined(world)
    await old_log.start()
    await new_log.start()
    await old_log.claim([0], "old")
    await old_member.stop()  # a static member does not leave
    new_member, new_generation = await joined(world)
    await new_log.claim([0], "new")
    old, new = old_log._claims[0], new_log._claims[0]
    told_apart((old.producer_id, old.epoch), (new.producer_id, new.epoch))
    with pytest.raises(Fenced):
        await old_log.append({0: [(b"c-1", b"late")]})
    with stock_is_trapped():
        told_apart(old_generation, new_generation)
    await new_member.stop()
    await old_log.stop()
    await new_log.stop()


class Slow(Runner):
    """A runner whose recovery takes a while; notes whether a unit came before its end."""

    recovered = False
    early = False

    async def assigned(self, numbers: Sequence[int], **how: Any) -> dict[Partition, int]:
        seeks = await super().assigned(numbers, **how)
        await asyncio.sleep(0.5)
        self.recovered = True
        return seeks

    async def handle(self, *fetches: Any) -> None:
        self.early |= not self.recovered
        await super().handle(*fetches)


@pytest.mark.kafka
async def test_F66_no_unit_comes_before_recovery_has_ended(world: World) -> None:
    """Ours recovers in `on_rebalance_complete`; a stock hook on `on_partitions_assigned` races with the flow."""
    await world.ask(["c-1", "c-2", "c-3", "c-4"])

    def waited(early: bool) -> None:  # the one thing it checks
        keep(not early, "an event came before recovery had ended")

    async with runner_of(world, Slow) as runner:
        assert isinstance(runner, Slow)
        host = host_of("faust", world, runner, lambda _: None)
        task = asyncio.create_task(host.run())
        await until(lambda: len(world.orders()) == 4, what="every case ordered")
        host.stop()
        await task
    waited(runner.early)

    seen: list[bool] = []
    recovered: list[bool] = []

    async def agent(stream: Any) -> None:
        async for _event in stream.events():
            seen.append(bool(recovered))  # noqa: PERF401  # when it came is what counts

    async with stock_running(world, agent) as app:

        @app.on_partitions_assigned.connect  # type: ignore[untyped-decorator]  # faust ships no complete types
        async def recover(_app: Any, assigned: set[Any], **_kwargs: Any) -> None:
            if assigned:
                await asyncio.sleep(3.0)
                recovered.append(True)

        await app.start()
        await until(lambda: bool(seen), what="stock delivers")
    with stock_is_trapped():
        waited(not seen[0])


def forget(world: World, group: str) -> None:
    """What the broker does to the commits of a group that was idle for seven days."""
    import kafka

    admin = kafka.KafkaAdminClient(bootstrap_servers=world.bootstrap)
    admin.delete_groups([group])
    admin.close()


@pytest.mark.kafka
async def test_F71_a_group_whose_commits_expired_resumes_from_the_case_log(world: World) -> None:
    async def started(round_: int) -> dict[Partition, int]:
        async with runner_of(world) as runner:
            ready = asyncio.Event()
            host = host_of("faust", world, runner, lambda _: ready.set())
            task = asyncio.create_task(host.run())
            await asyncio.wait_for(ready.wait(), 20)
            await until(lambda: len(world.orders()) == 4, what=f"orders, round {round_}")
            host.stop()
            await task
            return {p: offset for p, offset in host.seeks.items() if offset}

    def resumes(starts: dict[Partition, int]) -> None:
        keep(starts == world.ends(), f"starts at {starts}")

    await world.ask(["c-1", "c-2", "c-3", "c-4"])
    await started(1)
    await asyncio.to_thread(forget, world, world.group)
    assert world.committed() == {}
    resumes(await started(2))
    assert len(world.orders()) == 4  # nothing was repeated
    await asyncio.to_thread(forget, world, world.group)
    stock_consumer = AIOKafkaConsumer(
        bootstrap_servers=world.bootstrap, group_id=world.group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await stock_consumer.start()
    places = [TopicPartition(topic, n) for topic in world.inputs for n in range(4)]
    stock_consumer.assign(places)
    found = {Partition(tp.topic, tp.partition): await stock_consumer.position(tp) for tp in places}
    await stock_consumer.stop()
    with stock_is_trapped():
        resumes({p: offset for p, offset in found.items() if offset})

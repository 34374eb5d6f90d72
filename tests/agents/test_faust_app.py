"""The hardened app: what it refuses, and how it joins. The traps it avoids are in `tests/agents/traps`."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import uvloop
from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from agents import faust_app
from agents.faust_app import FORBIDDEN, JOIN, UNIT, Unit, build_app
from bus.errors import Refused
from bus.message import Partition
from tests.agents.traps.support import HERE, TOPIC, Runs, acking, carried, hardened, ours, settings, unit


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_every_forbidden_setting_is_refused_with_the_trap_it_opens(name: str) -> None:
    with pytest.raises(Refused, match=r"F\d\d") as refused:
        hardened(**{name: True})
    assert refused.value.field == name


def test_an_unnamed_worker_is_a_dynamic_member() -> None:
    """An empty instance id is a static one: every unnamed worker would push out the one before (seen on Kafka)."""
    assert hardened().conf.consumer_group_instance_id is None
    assert build_app(settings(instance="w-1")).conf.consumer_group_instance_id == "w-1"


def test_the_session_is_what_the_settings_say() -> None:
    conf = build_app(settings(session_timeout_ms=6_000, heartbeat_ms=1_000, rebalance_timeout_ms=20_000)).conf
    assert (conf.broker_session_timeout, conf.broker_heartbeat_interval, conf.broker_rebalance_timeout) == (6, 1, 20)


def test_every_broker_of_the_bootstrap_is_known() -> None:
    app = build_app(settings())
    assert [f"{url.host}:{url.port}" for url in app.conf.broker] == ["127.0.0.1:1"]


def test_its_thread_cannot_keep_a_failed_process_alive() -> None:
    thread = hardened().consumer._thread
    assert thread.Worker(thread).daemon
    thread.thread_loop.close()


def test_its_thread_runs_on_the_fast_loop_and_closes_it() -> None:
    thread = hardened().consumer._thread
    assert isinstance(thread.thread_loop, uvloop.Loop)

    async def serve() -> None:
        """Connected and stopped."""

    thread._serve = serve
    thread.Worker(thread).run()
    assert thread.thread_loop.is_closed()


def test_its_client_is_refused_when_a_setting_from_elsewhere_makes_it_weak(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = hardened().consumer._thread
    weak = SimpleNamespace(_auto_offset_reset="latest", _enable_auto_commit=False, _check_crcs=True)
    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_create_worker_consumer", lambda self, transport: weak)
    with pytest.raises(Refused, match="begins at latest"):
        thread._create_worker_consumer(None)
    thread.thread_loop.close()


async def test_its_client_dates_old_answers_asks_seldom_for_commands_and_ends_with_its_membership(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread = hardened().consumer._thread
    client = object()

    async def start(_thread: object) -> None:
        """Connected."""

    guarded: list[tuple[str, object]] = []
    for guard in ("end_when_membership_is_lost", "date_answers"):
        monkeypatch.setattr(faust_app, guard, lambda consumer, guard=guard: guarded.append((guard, consumer)))
    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "on_start", start)
    monkeypatch.setattr(thread, "_ensure_consumer", lambda: client)
    monkeypatch.setattr(faust_app, "ask_seldom", lambda consumer, topic: guarded.append((topic, consumer)))
    await thread.on_start()
    assert guarded == [("end_when_membership_is_lost", client), ("date_answers", client), ("g.parked", client)]
    thread.thread_loop.close()


async def test_a_unit_that_fails_while_a_stop_waits_for_it_is_waited_for_no_longer() -> None:
    host = ours(Runs())
    consumer = acking(host.app)
    host.app.consumer_generation_id = 0
    under_way = carried(1, unit())
    under_way.incref(1)
    consumer.track_message(under_way)
    waiting = asyncio.create_task(consumer.wait_empty())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    host._fail(ValueError("the unit broke"))
    done, _ = await asyncio.wait({waiting}, timeout=5)
    consumer._unacked_messages.clear()  # else a wait that goes on, which takes no cancel, would hold up this test
    assert done


async def test_a_fetch_joins_the_unit_that_still_waits_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    app = hardened()
    consumer = acking(app)
    app.host = ours(Runs())
    consumer._set_active_tps({HERE})

    async def getmany(*_args: object, **_kwargs: object) -> object:
        return unit(3)

    monkeypatch.setattr(consumer, "_getmany", getmany)

    async def fetched() -> list[Unit]:
        return [message.headers[UNIT] async for _tp, message in consumer.getmany(1.0)]

    app.consumer_generation_id = 1
    (first,) = await fetched()
    assert await fetched() == []
    assert len(first.take()) == 2
    (second,) = await fetched()
    app.consumer_generation_id = 2
    (third,) = await fetched()
    assert (len(second.fetches), len(third.fetches)) == (1, 1)
    for _ in range(JOIN - 1):
        assert await fetched() == []
    assert len(await fetched()) == 1


async def test_what_was_fetched_while_a_takeover_sought_is_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    app = hardened()
    thread = acking(app)._thread
    sought: list[tuple[str, int, int]] = []

    class Consumer:
        def assignment(self) -> set[TopicPartition]:
            return {TopicPartition(TOPIC, 0)}

        def seek(self, tp: TopicPartition, offset: int) -> None:
            sought.append((tp.topic, tp.partition, offset))

    async def fetch(*_args: object, **_kwargs: object) -> object:
        await thread._seek_wait(consumer, {HERE: 7, TP(TOPIC, 1): 8})  # the takeover, while records are on their way
        sought.clear()
        return {TopicPartition(TOPIC, 0): ["a record from 7 on, whose asker is gone"]}

    consumer = Consumer()
    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetch)
    thread.fetched_to = {Partition(TOPIC, 0): 3}
    assert await thread._fetch_records(consumer, {HERE}, timeout=1.0, max_records=1) == {}
    assert sought == [(TOPIC, 0, 7)]
    assert thread.fetched_to == {Partition(TOPIC, 0): 7, Partition(TOPIC, 1): 8}
    thread.thread_loop.close()


async def test_a_fetch_after_a_pause_belongs_to_the_generation_that_ended_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = hardened()
    consumer = acking(app)
    app.host = ours(Runs())
    consumer._set_active_tps({HERE})

    async def getmany(*_args: object, **_kwargs: object) -> object:
        return unit(3)

    monkeypatch.setattr(consumer, "_getmany", getmany)
    app.consumer_generation_id = 1
    consumer.stop_flow()

    async def fetched() -> list[Unit]:
        return [message.headers[UNIT] async for _tp, message in consumer.getmany(1.0)]

    waiting = asyncio.create_task(fetched())
    await asyncio.sleep(0)
    app.consumer_generation_id = 2
    consumer.resume_flow()
    (found,) = await waiting
    assert found.generation == 2

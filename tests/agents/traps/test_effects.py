"""F8, F12: nothing counts before its output is stored; what a crash repeats is applied once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.case_log import MemoryCaseLog
from bus.message import Partition
from tests.agents.harness import World
from tests.agents.traps.support import (
    HERE,
    NOWHERE,
    TOPIC,
    FutureMessage,
    PendingMessage,
    Store,
    acking,
    asked,
    commits,
    fetch,
    keep,
    message,
    owning,
    stock,
    stock_is_trapped,
    taken_in,
)

ASKED = Partition(TOPIC, 0)


@pytest.fixture
def world() -> World:
    return World(NOWHERE, "a")


def not_yet(committable: int | None) -> None:
    keep(not committable, f"input is committed to {committable} while its output is not stored")


async def test_F08_an_input_is_not_done_before_its_output_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    runner, _ = await owning(world, store, MemoryCaseLog())
    store.away = True
    await runner.handle(fetch(asked(world, "c-1", 0)))
    await asyncio.sleep(0)
    not_yet(runner.committable()[ASKED])
    store.away = False
    await runner.finish()
    assert [partition.topic for partition, _ in store.records] == [world.topic("ordered")]
    assert runner.committable()[ASKED] == 1

    app = stock()
    one = message(0)
    acking(app).track_message(one)
    topic = app.topic("out")
    pending = FutureMessage(PendingMessage(topic, b"k", b"v", None, None, None, None, None, None))
    state = app.sensors.on_send_initiated(app.producer, "out", message=pending.message, keysize=1, valsize=1)
    failed: asyncio.Future[Any] = asyncio.Future()
    failed.set_exception(ConnectionError("away"))
    topic._on_published(failed, message=pending, producer=app.producer, state=state)
    assert isinstance(pending.exception(), ConnectionError)  # nobody else looks
    app.consumer.ack(one)
    with stock_is_trapped():
        not_yet((await commits(app, monkeypatch)).get(HERE))


async def test_F12_what_a_crash_repeats_is_applied_once(world: World) -> None:
    def once(applied: int) -> None:
        keep(applied == 1, f"applied {applied} times")

    log, store = MemoryCaseLog(), Store()
    first, _ = await owning(world, store, log)
    await first.handle(fetch(asked(world, "c-1", 0)))
    again, seeks = await owning(world, store, MemoryCaseLog(log.rows, log.owners))  # the first committed nothing
    assert seeks[ASKED] == 1
    await again.handle(fetch(asked(world, "c-1", 1), start=1))  # its publisher, too, repeats it
    await again.finish()
    sent = [dict(record.headers)["ce_id"] for _, record in store.records]
    once(len(set(sent)))

    app = stock()
    table = app.Table("counts", default=int)
    table._send_changelog = lambda *_args, **_kwargs: None  # the store keeps it, as a changelog would
    table.partition_for_key = lambda _key: 0
    table._verify_source_topic_partitions = lambda _event: None

    async def count(stream: Any) -> None:
        async for event in stream.events():
            table["k"] += 1
            assert event

    for _crash in range(2):  # the second worker recovers the table and reads the uncommitted event again
        await taken_in(app, count, [message(0)])
    with stock_is_trapped():
        once(table["k"])

"""F4, F6, F7, F67: a unit that fails never counts as done; one message carries a whole fetch."""

from __future__ import annotations

from typing import Any

import pytest

from agents.intake import Dead, Intake
from bus.message import Record
from bus.testing import START
from schemas.envelope import Envelope, to_headers
from tests.agents.harness import World
from tests.agents.traps.support import (
    HERE,
    NOWHERE,
    OTHER,
    TOPIC,
    Runs,
    acking,
    carried,
    keep,
    message,
    ours,
    settings,
    stock,
    stock_is_trapped,
    taken_in,
    unit,
)


def undone(acked: list[bool]) -> None:
    keep(not any(acked), f"events of a failed handler count as done: {acked}")


async def test_F04_an_exception_in_a_unit_never_counts_as_done() -> None:
    host = ours(Runs(error=ValueError("broken")))
    undone(await taken_in(host.app, host._units, [carried(1, unit())]))
    assert host.failed

    async def agent(stream: Any) -> None:
        async for _event in stream.events():
            raise ValueError("broken")

    with stock_is_trapped():
        undone(await taken_in(stock(), agent, [message(0)]))


async def test_F06_an_exception_over_many_records_loses_none_of_them() -> None:
    runs = Runs(error=ValueError("broken"))
    host = ours(runs)
    undone(await taken_in(host.app, host._units, [carried(1, unit(5))]))
    assert sum(len(found) for found in runs.units[0].records.values()) == 5

    async def agent(stream: Any) -> None:
        async for _batch in stream.take(5, within=5):
            raise ValueError("broken")

    with stock_is_trapped():
        undone(await taken_in(stock(), agent, [message(n) for n in range(5)]))


class Away:
    """A codec whose registry cannot be reached."""

    def decode(self, *_args: Any) -> Any:
        raise ConnectionError("no registry")

    loads = decode

    def dumps(self, value: Any) -> Any:
        return value


async def test_F07_a_blip_while_decoding_skips_nothing() -> None:
    """Ours is subscribed to raw bytes and decodes in the unit: what is no fault of the record ends the process."""
    host = ours()
    assert {topic.value_serializer for topic in host.app.topics} <= {"raw"}
    world = World(NOWHERE, "a")
    envelope = Envelope(id="1", source="/agencies/a", type=TOPIC, time=START, correlationid="k", partitionkey="k")
    record = Record(TOPIC, 0, 0, 0, b"k", b"v", tuple(to_headers(envelope)))
    dead: list[Dead] = []
    with pytest.raises(ConnectionError):
        Intake(world.graph(), catalogue=world.catalogue, codec=Away(), extracts={}, partitions=1).read(record, dead)  # type: ignore[arg-type]
    assert not dead
    app = stock()
    consumer = acking(app)
    channel = app.topic(TOPIC, value_type=bytes, value_serializer=Away())
    one = message(0)
    consumer.track_message(one)
    await app.topics._build_handler(HERE, {channel})(one)
    with stock_is_trapped():
        keep(not one.acked, "the event was acked though it could not be decoded")


async def test_F67_one_message_carries_a_whole_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the settings it stands on: a bounded fetch, no gaps of unit numbers, a full buffer that pauses nothing."""

    async def delivered(app: Any, fetched: Any) -> list[Any]:
        async def getmany(*_args: Any, **_kwargs: Any) -> Any:
            return fetched

        monkeypatch.setattr(app.consumer, "_getmany", getmany)
        monkeypatch.setattr(app.consumer, "highwater", lambda _tp: 0)
        app.consumer._set_active_tps({HERE})
        return [tp async for tp, _message in app.consumer.getmany(1.0)]

    host = ours()
    fetched = unit(100)
    found = await delivered(host.app, fetched)
    keep(len(found) == 1, f"{len(found)} messages for one fetch")
    keep(found[0].topic in {TOPIC, OTHER}, "the carrier is not a partition of ours")
    with stock_is_trapped():
        records = {HERE: [_Raw(r) for r in next(iter(fetched.records.values()))]}
        keep(len(await delivered(stock(), records)) == 1, "a message per record")

    def bounded(app: Any) -> None:
        keep(app.conf.broker_max_poll_records, "a fetch has no bound")
        keep(app.conf.stream_buffer_maxsize == 1, "units pile up in the stream's buffer")
        app.consumer._set_active_tps({HERE})
        app.consumer.on_buffer_full(HERE)
        keep(HERE in app.consumer._get_active_partitions(), "a full buffer stops the fetch")

    bounded(host.app)
    assert host.app.conf.broker_max_poll_records == settings().max_poll_records
    with stock_is_trapped():
        bounded(stock())

    async def gapless(app: Any) -> None:
        await acking(app)._add_gap(HERE, 1, 5)
        keep(not app.consumer._gap[HERE], "a gap between unit numbers becomes a list of integers")

    await gapless(host.app)
    with stock_is_trapped():
        await gapless(stock())


class _Raw:
    """A record as aiokafka gives it."""

    def __init__(self, record: Record) -> None:
        self.topic, self.partition, self.offset = record.topic, record.partition, record.offset
        self.timestamp, self.timestamp_type = record.timestamp, 0
        self.headers, self.key, self.value = record.headers, record.key, record.value
        self.checksum, self.serialized_key_size, self.serialized_value_size = None, 1, 1

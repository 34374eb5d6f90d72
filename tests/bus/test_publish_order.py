"""Calls of `publish` that wait side by side, for room or for a topic's metadata, come in the order of their calls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import Unreachable
from bus.message import Outgoing, Partition, Receipt
from bus.publish import Publication
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster, MemoryProducer
from tests.bus.support import TOPIC, NoteWritten, publisher_on


class Slow(MemoryProducer):
    """Answers after some turns of the loop, now more, now fewer."""

    def __init__(self, cluster: MemoryCluster, dice: random.Random) -> None:
        super().__init__(cluster)
        self._dice = dice

    async def _wait(self) -> None:
        for _ in range(self._dice.choice([0, 0, 1, 5, 20])):
            await asyncio.sleep(0)

    async def partitions(self, topic: str) -> int:
        await self._wait()
        return await super().partitions(topic)

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        await self._wait()
        return await super().append(partition, records)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), queued=st.integers(1, 30))
def test_calls_for_a_few_events_each_keep_the_order_of_the_calls(seed: int, queued: int) -> None:
    asyncio.run(_few_each(random.Random(seed), queued))


async def _few_each(dice: random.Random, queued: int) -> None:
    cluster = memory_cluster(TOPIC)
    async with publisher_on(cluster, queued=queued) as publisher:
        publisher._producer = Slow(cluster, dice)
        tasks = []
        for call in range(12):
            said = [
                Publication(event=NoteWritten(text=f"{call:02}-{n:02}"), case=f"c{dice.randrange(3)}")
                for n in range(dice.randrange(1, 20))
            ]
            tasks.append(asyncio.create_task(publisher.publish_all(said)))
            for _ in range(dice.choice([0, 0, 1, 3])):
                await asyncio.sleep(0)
        for outcomes in await asyncio.gather(*tasks):
            assert all(isinstance(one, Receipt) for one in outcomes)
    _in_order(cluster)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), queued=st.integers(1, 6), given_up=st.booleans())
def test_calls_side_by_side_keep_their_order_however_long_each_waits(seed: int, queued: int, given_up: bool) -> None:
    asyncio.run(_side_by_side(random.Random(seed), queued, given_up=given_up))


async def _side_by_side(dice: random.Random, queued: int, *, given_up: bool) -> None:
    cluster = memory_cluster(TOPIC)
    async with publisher_on(cluster, queued=queued) as publisher:
        publisher._producer = Slow(cluster, dice)
        tasks: list[asyncio.Task[Receipt]] = []
        for number in range(40):
            event = NoteWritten(text=f"{number:03}")
            tasks.append(asyncio.create_task(publisher.publish(event, case=f"c{dice.randrange(3)}")))
            for _ in range(dice.choice([0, 0, 0, 1, 3])):
                await asyncio.sleep(0)
            if given_up and dice.random() < 0.2:
                dice.choice(tasks).cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert given_up or all(isinstance(one, Receipt) for one in done)
        await publisher.close()
        assert publisher._free == queued  # nobody keeps a place for good
    _in_order(cluster)


def _in_order(cluster: MemoryCluster) -> None:
    for log in cluster.logs.values():
        by_case: dict[bytes | None, list[bytes | None]] = {}
        for record in log:
            by_case.setdefault(record.key, []).append(record.value)
        assert all(values == sorted(values, key=str) for values in by_case.values())


async def test_all_who_wait_before_a_silent_broker_end_with_the_deadline_and_not_one_after_the_other() -> None:
    cluster = memory_cluster(TOPIC)
    cluster.faults.held = asyncio.Event()
    async with publisher_on(cluster, queued=1, deadline_s=0.2) as publisher, asyncio.timeout(4):
        calls = (publisher.publish(NoteWritten(text=str(n)), case="c") for n in range(60))
        done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, Unreachable) for one in done) > 50  # the others had room when their time was up


async def test_a_topic_whose_metadata_is_long_in_coming_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = memory_cluster(TOPIC)
    plain = MemoryProducer.partitions

    async def partitions(self: MemoryProducer, topic: str) -> int:
        await (asyncio.sleep(0) if topic == TOPIC else asyncio.Event().wait())
        return await plain(self, topic)

    monkeypatch.setattr(MemoryProducer, "partitions", partitions)
    async with publisher_on(cluster) as publisher:
        asked = asyncio.create_task(publisher._count("portal.other.written.v1", asyncio.get_running_loop().time() + 9))
        await asyncio.sleep(0)
        assert isinstance(await publisher.publish(NoteWritten(text="x"), case="c"), Receipt)
        assert not asked.done()
        asked.cancel()


async def test_partitions_that_a_topic_gets_meanwhile_are_written_to_by_the_call_under_way() -> None:
    cluster = memory_cluster(TOPIC)
    asked: list[int] = []

    class Growing(MemoryProducer):
        async def partitions(self, topic: str) -> int:
            whole = await super().partitions(topic)
            asked.append(whole if asked else 1)
            return asked[-1]

    async with publisher_on(cluster) as publisher:
        publisher._producer = Growing(cluster)
        said = [Publication(event=NoteWritten(text=str(n)), case=f"c{n}") for n in range(1_200)]
        receipts = [one for one in await publisher.publish_all(said) if isinstance(one, Receipt)]
    assert {one.partition for one in receipts[:400]} == {0}
    assert {one.partition for one in receipts[600:]} == set(range(asked[-1])) != {0}

"""The case log on real Kafka: the log is the fence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from agents.case_bytes import Damaged
from agents.kafka_case_log import KafkaCaseLog, _Claim
from bus.errors import BusError, Fenced, Refused, Unreachable
from bus.ports import TopicState
from bus.transport.kafka_admin import KafkaAdmin

pytestmark = pytest.mark.kafka

Open = Callable[[], "AsyncIterator[KafkaCaseLog]"]


@pytest.fixture
def group(kafka: str, fresh: Callable[[str], str]) -> str:
    name = fresh("workflow")
    admin = KafkaAdmin(kafka)
    admin.create(TopicState(f"{name}.cases", 2, 1, {"cleanup.policy": "compact"}))
    admin.close()
    return name


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def opened(stack: AsyncExitStack, bootstrap: str, group: str) -> KafkaCaseLog:
    log = KafkaCaseLog(bootstrap, group, deadline_s=20)
    await log.start()
    stack.push_async_callback(log.stop)
    return log


async def test_rows_come_back_in_order_up_to_the_claim(kafka: str, group: str, stack: AsyncExitStack) -> None:
    log = await opened(stack, kafka, group)
    await log.claim([0, 1], "one")
    await log.append({0: [(b"a", b"1"), (b"b", b"2")], 1: [(b"c", b"3")]})
    await log.append({0: [(b"a", None)]})
    again = await opened(stack, kafka, group)
    await again.claim([0, 1], "two")
    rows = [(key, value) for _, key, value in await again.load(0) if key != b"!barrier"]
    assert rows == [(b"a", b"1"), (b"b", b"2"), (b"a", None)]
    assert [key for _, key, _ in await again.load(1) if key != b"!barrier"] == [b"c"]


async def test_a_former_owner_is_refused_and_its_batch_is_not_stored(
    kafka: str, group: str, stack: AsyncExitStack
) -> None:
    old = await opened(stack, kafka, group)
    await old.claim([0], "old")
    await old.append({0: [(b"a", b"1")]})
    new = await opened(stack, kafka, group)
    await new.claim([0], "new")
    with pytest.raises(Fenced):
        await old.append({0: [(b"a", b"late")]})
    await new.append({0: [(b"a", b"2")]})
    third = await opened(stack, kafka, group)
    await third.claim([0], "third")
    assert [value for _, key, value in await third.load(0) if key == b"a"] == [b"1", b"2"]


async def test_the_same_batch_sent_twice_is_stored_once(kafka: str, group: str, stack: AsyncExitStack) -> None:
    log = await opened(stack, kafka, group)
    await log.claim([0], "one")
    batch = log._build(0, [(b"a", b"1")])
    offsets: dict[int, int] = {}
    for node in log._by_leader({0: batch}):
        await log._send(node, {0: batch}, offsets)
        await log._send(node, {0: batch}, offsets)
    again = await opened(stack, kafka, group)
    await again.claim([0], "two")
    assert [value for _, key, value in await again.load(0) if key == b"a"] == [b"1"]


async def test_a_partition_that_was_not_claimed_cannot_be_written(
    kafka: str, group: str, stack: AsyncExitStack
) -> None:
    log = await opened(stack, kafka, group)
    with pytest.raises(Fenced, match="not claimed"):
        await log.append({0: [(b"a", b"1")]})


async def test_a_missing_topic_is_refused_with_the_remedy(kafka: str, fresh: Callable[[str], str]) -> None:
    log = KafkaCaseLog(kafka, fresh("none"))
    with pytest.raises(Refused, match="topics apply"):
        await log.start()
    await log.stop()


async def test_no_broker_is_unreachable() -> None:
    log = KafkaCaseLog("127.0.0.1:1", "g")
    with pytest.raises(Unreachable):
        await log.start()
    await log.stop()


async def test_the_limit_of_a_batch_is_the_topic_s_and_is_asked_again_at_each_claim(
    kafka: str, group: str, stack: AsyncExitStack
) -> None:
    admin = KafkaAdmin(kafka)
    admin.alter(f"{group}.cases", {"max.message.bytes": "20000"})
    log = await opened(stack, kafka, group)
    await log.claim([0], "one")
    room = log.batch_bytes
    assert 19_000 < room < 20_000
    await log.append({0: [(b"a", b"x" * (room - 1 - 16))]})
    with pytest.raises(BusError):
        await log.append({0: [(b"a", b"x" * 20_100)]})
    admin.alter(f"{group}.cases", {"max.message.bytes": "40000"})
    admin.close()
    await log.claim([0], "two")
    await log.append({0: [(b"a", b"x" * 20_100)]})


async def test_a_row_that_cannot_be_read_ends_the_worker_and_is_never_passed_over(
    kafka: str, group: str, stack: AsyncExitStack
) -> None:
    from tests.bus.transport.splitter.encoder import batch, record
    from tests.bus.transport.splitter.raw_produce import produce

    log = await opened(stack, kafka, group)
    await log.claim([0], "one")
    await produce(kafka, f"{group}.cases", [batch([record(0), record(1, headers=[(b"\xff", b"x")])])])
    again = await opened(stack, kafka, group)
    await again.claim([0], "two")
    with pytest.raises(Damaged, match="offsets 2 to 2 cannot be read: header-key"):
        await again.load(0)


async def test_a_case_log_whose_brokers_are_gone_is_unreachable() -> None:
    log = KafkaCaseLog("127.0.0.1:1", "workflow.gone")
    log._claims[0] = _Claim(1, 0)
    with pytest.raises(Unreachable, match=r"reading workflow\.gone\.cases failed"):
        await log.load(0)

"""The Kafka producer where Kafka misbehaves: silent, refusing, restarted. Against real Kafka and a silent socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from bus.errors import OutcomeUnknown, Refused, Unreachable
from bus.message import Outgoing, Partition
from bus.ports import TopicState
from bus.testing import numbered
from bus.transport.kafka import KafkaTransport
from bus.transport.kafka_producer import KafkaProducer


@pytest.fixture
def part(kafka: str, fresh: Callable[[str], str]) -> Partition:
    name = f"{fresh('t')}.case.tested.v1"
    admin = KafkaTransport(bootstrap=kafka).admin()
    admin.create(TopicState(name, 3, 1, {"max.message.bytes": "5000"}))
    admin.close()
    return Partition(name, 1)


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[KafkaProducer]:
    made = KafkaProducer(kafka, deadline_s=10)
    await made.start()
    yield made
    await made.stop()


def values(kafka: str, part: Partition) -> list[bytes | None]:
    reader = KafkaTransport(bootstrap=kafka).reader()
    end = reader.bounds([part])[part][1]
    found = [r.value for r in reader.read(part, 0, end)]
    reader.close()
    return found


async def test_no_broker_is_unreachable_with_the_remedy() -> None:
    with pytest.raises(Unreachable, match="agencybus up"):
        await KafkaProducer("127.0.0.1:1", deadline_s=5).start()


async def test_a_socket_that_never_answers_is_unreachable_within_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        producer = KafkaProducer(f"127.0.0.1:{silent.getsockname()[1]}", deadline_s=0.3)
        with pytest.raises(Unreachable):
            await producer.start()


@pytest.mark.kafka
async def test_after_a_refusal_by_the_broker_the_partition_takes_the_next_record(
    kafka: str, part: Partition, producer: KafkaProducer
) -> None:
    assert await producer.append(part, numbered(1)) == 0
    with pytest.raises(Refused, match="MessageSizeTooLarge"):
        await producer.append(part, [Outgoing(b"k", b"x" * 6_000)])
    assert await producer.append(part, numbered(2, start=1)) == 1
    assert values(kafka, part) == [b"0", b"1", b"2"]


@pytest.mark.kafka
async def test_appends_to_one_partition_keep_their_order_and_others_are_not_held_up(
    kafka: str, part: Partition, producer: KafkaProducer
) -> None:
    other = Partition(part.topic, 2)
    firsts = await asyncio.gather(
        *(producer.append(p, numbered(3, start=3 * i)) for i in range(30) for p in (part, other))
    )
    assert firsts == [n for i in range(30) for n in (3 * i, 3 * i)]
    assert values(kafka, part) == values(kafka, other) == [b"%d" % n for n in range(90)]


@pytest.mark.kafka
async def test_a_broker_that_falls_silent_gives_an_unknown_outcome_and_the_producer_lives_on(
    kafka: str, part: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiokafka.producer.sender import SendProduceReqHandler

    producer = KafkaProducer(kafka, deadline_s=0.5)
    await producer.start()
    assert await producer.append(part, numbered(1)) == 0
    answers = asyncio.Event()
    do = SendProduceReqHandler.do

    async def late(self: SendProduceReqHandler, node_id: int) -> None:
        await answers.wait()
        await do(self, node_id)

    monkeypatch.setattr(SendProduceReqHandler, "do", late)
    with pytest.raises(OutcomeUnknown):  # F69: aiokafka itself would wait for ever
        await producer.append(part, numbered(1, start=1))
    answers.set()
    assert await producer.append(part, numbered(1, start=2)) == 2
    await producer.stop()
    assert values(kafka, part) == [b"0", b"1", b"2"]  # the late one stands before what was sent after it


@pytest.mark.kafka
async def test_stopping_before_a_silent_broker_ends_within_the_deadline(
    kafka: str, part: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiokafka.producer.sender import SendProduceReqHandler

    producer = KafkaProducer(kafka, deadline_s=0.3)
    await producer.start()
    monkeypatch.setattr(SendProduceReqHandler, "do", lambda self, node_id: asyncio.Event().wait())
    with pytest.raises(OutcomeUnknown):
        await producer.append(part, numbered(1))
    async with asyncio.timeout(5):
        await producer.stop()

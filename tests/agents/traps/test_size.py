"""F72, on real Kafka: a case grown past what its topic takes is parked, and goes on once there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from agents import case as cases
from agents import case_log
from agents.graph import Graph, Listen
from bus.message import Outgoing, Partition
from bus.middleware import parking
from bus.middleware.parking import Command, parked_topic
from bus.partitioner import partition_for
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_producer import KafkaProducer
from tests.agents.harness import PARTITIONS, World, until
from tests.agents.host_suite import running

ANSWERS = 45  # each adds about 90 bytes to the case


class Growing(World):
    """A note that is answered again and again, and never closed."""

    def graph(self) -> Graph:
        note = super().graph()
        first, listen, end = note.program
        assert isinstance(listen, Listen)
        return replace(note, program=(first, replace(listen, next=1), end))


@pytest.fixture
def world(kafka: str, fresh: Callable[[str], str]) -> Growing:
    made = Growing(kafka, fresh("size"))
    made.create()
    limit(made, 1_200)  # less than what stays open of a case's trail
    return made


def limit(world: World, size: int) -> None:
    admin = KafkaAdmin(world.bootstrap)
    admin.alter(f"{world.group}.cases", {"max.message.bytes": str(size)})
    admin.close()


def latest(world: World, topic: str) -> dict[bytes, Any]:
    rows = {record.key or b"": record.value for record in world.read(topic)}
    return {key: value for key, value in rows.items() if value is not None}


def parked(world: World) -> list[bytes]:
    return [key for key in latest(world, f"{world.group}.cases") if key.startswith(b"!parked/")]


async def release(world: World, case: str) -> None:
    command = Command(id=f"release-{case}", do="release", topic=None, key=case.encode(), by="SYN", at=datetime.now(UTC))
    producer = KafkaProducer(world.bootstrap)
    await producer.start()
    place = Partition(parked_topic(world.group), partition_for(case.encode(), PARTITIONS))
    await producer.append(place, [Outgoing(parking.command_key(command), parking.pack_command(command))])
    await producer.stop()


@pytest.mark.kafka
async def test_F72_a_case_that_outgrew_its_topic_is_parked_and_goes_on_once_there_is_room(
    world: Growing, caplog: pytest.LogCaptureFixture
) -> None:
    owned: list[Sequence[int]] = []
    async with running("aiokafka", world, owned):
        await world.ask(["c-1", "c-2"])
        await until(lambda: len(set(world.orders())) == 2)
        await world.answer(["c-1"] * ANSWERS)
        await until(lambda: bool(parked(world)), what="parking")
        assert "case c-1 is parked: TooLarge (stage size)" in caplog.text
        await world.ask(["c-3"])
        await until(lambda: len(set(world.orders())) == 3, what="another case")
        assert all(key.startswith(b"!parked/c-1\0") for key in parked(world))
    limit(world, 1_000_000)
    async with running("aiokafka", world, owned):
        await release(world, "c-1")
        await until(lambda: not parked(world), what="the release")
        await until(lambda: not latest(world, parked_topic(world.group)), what="the tombstone of the command")
    rows = latest(world, f"{world.group}.cases")
    stored = case_log.unpack(rows[b"c-1"], case_log.chapters(rows.items())["c-1"])
    assert isinstance(stored, case_log.Stored)
    answered = [mark.offset for mark in cases.whole_trail(stored.case) if mark.topic == world.topic("answered")]
    assert len(answered) == ANSWERS
    assert answered == sorted(answered)

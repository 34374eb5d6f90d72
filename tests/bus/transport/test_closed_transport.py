"""A reset under uvloop, against real Kafka: what aiokafka is told, and that its metadata are asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
import uvloop
from aiokafka import conn
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from bus.transport import closed_transport

pytestmark = pytest.mark.kafka


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process whose first client is still to be made."""
    for name in ("send", "_send_sasl_token"):
        send = getattr(conn.AIOKafkaConnection, name)
        monkeypatch.setattr(conn.AIOKafkaConnection, name, getattr(send, "__wrapped__", send))


def on_uvloop(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def sends_after_a_reset(kafka: str) -> None:
    host, _, port = kafka.rpartition(":")
    connection = await conn.create_conn(host, int(port))
    try:
        connection._writer.transport.abort()
        await asyncio.sleep(0)  # the loop has closed it, its reader has not been told
        await connection.send(MetadataRequest([]))
    finally:
        await connection.close()


async def asks_for_metadata_after_a_reset(kafka: str) -> None:
    client = AIOKafkaClient(bootstrap_servers=kafka)
    found, resets = client._get_conn, [True]

    async def found_and_reset(*given: Any, **named: Any) -> Any:
        connection = await found(*given, **named)
        if resets:
            resets.pop()
            connection._writer.transport.abort()
            await asyncio.sleep(0)
        return connection

    try:
        await client.bootstrap()
        client._get_conn = found_and_reset
        async with asyncio.timeout(5):
            assert not await client.force_metadata_update()
            assert await client.force_metadata_update()
    finally:
        with suppress(RuntimeError):  # what its task has ended of
            await client.close()


@pytest.mark.usefixtures("stock")
def test_a_closed_transport_ends_its_connection_as_broken(kafka: str) -> None:
    for _ in range(2):
        closed_transport.end_the_connection()
    with pytest.raises(KafkaConnectionError, match="the handler is closed"):
        on_uvloop(sends_after_a_reset(kafka))


@pytest.mark.usefixtures("stock")
def test_metadata_are_asked_for_again_after_a_reset(kafka: str) -> None:
    closed_transport.end_the_connection()
    on_uvloop(asks_for_metadata_after_a_reset(kafka))


@pytest.mark.usefixtures("stock")
def test_without_the_guard_aiokafka_meets_an_error_it_does_not_know(kafka: str) -> None:
    with pytest.raises(RuntimeError, match="the handler is closed"):
        on_uvloop(sends_after_a_reset(kafka))


@pytest.mark.usefixtures("stock")
def test_without_the_guard_nobody_asks_for_metadata_any_more(kafka: str) -> None:
    with pytest.raises(TimeoutError):
        on_uvloop(asks_for_metadata_after_a_reset(kafka))

"""Each fault of the proxy against a small server that speaks in Kafka's frames; one test with a real broker."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import Unreachable
from bus.message import Partition
from bus.ports import TopicState
from bus.transport.kafka import KafkaTransport
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_reader import KafkaReader
from tests.torture.proxy import FETCH, HOST, METADATA, PRODUCE, Fault, Kind, Proxies, Swap, draw, frames

BODY = bytes(range(256)) * 8


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


class Server:
    """Answers every request with what followed its head; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.answer: Callable[[bytes], bytes] = lambda body: body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())  # type: ignore[arg-type]  # there is one
        buffer = bytearray()
        try:
            while chunk := await reader.read(65536):
                buffer += chunk
                for frame in frames(buffer):
                    api, correlation = struct.unpack_from(">hxxi", frame, 4)
                    self.asked.append(api)
                    writer.write(framed(correlation.to_bytes(4, "big") + self.answer(frame[12:])))
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._next = 0

    async def ask(self, body: bytes = BODY, api: int = 99) -> bytes:
        self._next += 1
        self.writer.write(framed(struct.pack(">hhi", api, 0, self._next) + body))
        await self.writer.drain()
        return await self.hear()

    async def hear(self) -> bytes:
        size = int.from_bytes(await self.reader.readexactly(4), "big")
        return (await self.reader.readexactly(size))[4:]


class Stage:
    """A server, the proxies before it, and connections made so far."""

    def __init__(self, server: Server, proxies: Proxies) -> None:
        self.server, self.proxies = server, proxies
        self._clients: list[Client] = []

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection(HOST, int(self.proxies.bootstrap.rpartition(":")[2])))
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.writer.close()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    server = Server()
    listening = await asyncio.start_server(server.serve, HOST, 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        with Proxies(f"{HOST}:{port}") as proxies:
            set_up = Stage(server, proxies)
            try:
                yield set_up
            finally:
                set_up.close()
    finally:
        listening.close()
        await asyncio.gather(*server.tasks)


async def within(seconds: float, client: Client, *, api: int = 99) -> bool:
    """Whether an answer comes in time; the question stays asked."""
    try:
        async with asyncio.timeout(seconds):
            return await client.ask(api=api) == BODY
    except TimeoutError:
        return False


async def gone(client: Client) -> bool:
    """Whether the connection has ended."""
    try:
        await client.ask()
    except (OSError, asyncio.IncompleteReadError):
        return True
    return False


async def test_without_a_fault_what_is_asked_is_answered() -> None:
    async with stage() as on:
        client = await on.client()
        assert [await client.ask(bytes([i])) for i in range(50)] == [bytes([i]) for i in range(50)]


async def test_latency_delays_both_ways_and_ends_when_healed() -> None:
    async with stage() as on:
        client = await on.client()
        on.proxies.inject(Fault(Kind.LATENCY, 1, ms=150, jitter_ms=50))
        began = time.monotonic()
        assert await client.ask() == BODY
        assert 0.2 <= time.monotonic() - began < 2
        on.proxies.heal()
        began = time.monotonic()
        assert await client.ask() == BODY
        assert time.monotonic() - began < 0.2


async def test_bandwidth_lets_so_many_bytes_pass_a_second() -> None:
    async with stage() as on:
        client = await on.client()
        on.proxies.inject(Fault(Kind.BANDWIDTH, 1, rate=10_000))
        began = time.monotonic()
        assert await client.ask() == BODY
        assert time.monotonic() - began >= 2 * len(BODY) / 10_000 * 0.9


async def test_a_slicer_changes_nothing_but_the_pieces() -> None:
    async with stage() as on:
        client = await on.client()
        on.proxies.inject(Fault(Kind.SLICER, 1, size=7))
        assert await client.ask() == BODY


async def test_held_bytes_arrive_on_the_same_connection_once_healed() -> None:
    async with stage() as on:
        client = await on.client()
        on.proxies.inject(Fault(Kind.HOLD, 1))
        assert not await within(0.3, client)
        assert on.server.asked == []
        on.proxies.heal()
        async with asyncio.timeout(5):
            assert await client.hear() == BODY


async def test_a_reset_ends_old_and_new_connections_until_healed() -> None:
    async with stage() as on:
        client = await on.client()
        assert await client.ask() == BODY
        on.proxies.inject(Fault(Kind.RESET, 1))
        assert await gone(client)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await (await on.client()).ask()
        on.proxies.heal()
        assert await (await on.client()).ask() == BODY


@pytest.mark.parametrize(("kind", "heard"), [(Kind.HALF_UP, False), (Kind.HALF_DOWN, True)])
async def test_half_open_loses_one_direction_and_the_connection_ends_when_healed(kind: Kind, heard: bool) -> None:
    async with stage() as on:
        client = await on.client()
        on.proxies.inject(Fault(kind, 1))
        assert not await within(0.3, client)
        assert on.server.asked == [99] * heard
        on.proxies.heal()
        assert await gone(client)
        assert await (await on.client()).ask() == BODY


async def test_limit_data_ends_a_connection_after_so_many_bytes_of_answers() -> None:
    async with stage() as on:
        client = await on.client()
        on.proxies.inject(Fault(Kind.LIMIT, 1, size=3_000))
        assert await client.ask() == BODY
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await client.ask()
        assert on.server.asked == [99, 99]


async def test_refused_connections_are_taken_again_at_the_same_port_once_healed() -> None:
    async with stage() as on:
        client = await on.client()
        on.proxies.inject(Fault(Kind.REFUSE, 1))
        assert await gone(client)
        with pytest.raises(ConnectionRefusedError):
            await on.client()
        on.proxies.heal()
        assert await (await on.client()).ask() == BODY


async def test_a_dropped_answer_was_given_all_the_same_and_others_pass() -> None:
    async with stage() as on:
        client = await on.client()
        on.proxies.inject(Fault(Kind.DROP, 1, apis=frozenset({PRODUCE})))
        assert await within(5, client, api=FETCH)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await client.ask(api=PRODUCE)
        assert on.server.asked == [FETCH, PRODUCE]


async def test_a_broker_that_tells_its_address_is_quoted_with_the_proxys_and_only_there() -> None:
    async with stage() as on:
        ours, theirs = on.proxies.bootstrap.rpartition(":")[2], next(iter(on.proxies._ports))
        told = HOST.encode() + theirs.to_bytes(4, "big")
        client = await on.client()
        assert await client.ask(told, METADATA) == HOST.encode() + int(ours).to_bytes(4, "big")
        assert await client.ask(told, FETCH) == told


async def test_a_swap_puts_a_batch_in_the_place_of_a_stored_one_wherever_it_stands() -> None:
    async with stage() as on:
        stored = b"OFFSET00" + b"head" + b"THE-MARK" + b"tail"
        evil = b"????????" + b"HEAD" + b"evilevil" + b"TAIL"
        on.proxies.edit(Swap(b"THE-MARK", 12, evil))
        client = await on.client()
        kept = b"OFFSET00" + evil[8:]
        assert await client.ask(b"a" + stored + b"b" + stored, FETCH) == b"a" + kept + b"b" + kept
        assert await client.ask(b"a" + stored[:-2], FETCH) == b"a" + kept[:-2]
        assert await client.ask(stored, PRODUCE) == stored


@given(st.sampled_from(Kind), st.integers())
def test_a_kind_and_a_seed_always_draw_the_same_fault(kind: Kind, seed: int) -> None:
    fault = draw(kind, seed)
    assert fault == draw(kind, seed)
    assert fault.jitter_ms <= fault.ms
    assert (fault.rate > 0) == (kind is Kind.BANDWIDTH)
    assert replace(fault, seed=0) is not fault


@pytest.mark.kafka
async def test_clients_of_a_real_broker_stay_behind_the_proxy(kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}.note.asked.v1"
    admin = KafkaAdmin(kafka)
    admin.create(TopicState(topic, 1, 1))
    admin.close()
    with Proxies(kafka) as proxies:
        reader = KafkaReader(proxies.bootstrap)
        assert reader.bounds([Partition(topic, 0)]) == {Partition(topic, 0): (0, 0)}
        proxies.inject(Fault(Kind.REFUSE, 1))
        with pytest.raises(Unreachable):
            KafkaTransport(bootstrap=proxies.bootstrap).reader()
        ports = {broker.port for broker in reader._consumer._client.cluster.brokers()}
        assert ports == {int(address.rpartition(":")[2]) for address in proxies.bootstrap.split(",")}
        proxies.heal()
        assert reader.bounds([Partition(topic, 0)]) == {Partition(topic, 0): (0, 0)}
        reader.close()

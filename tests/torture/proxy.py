"""A TCP proxy before each broker that does to connections what networks do; controlled by the test that started it.

Used by `test_faults` (network faults) and `poison` (what a broker would refuse to store is put into its answers here).
Portable and without root: plain asyncio in a thread of its own. The traps it avoids:

- clients that go around it: a broker tells its own address, so the ports in its Metadata, FindCoordinator and
  DescribeCluster answers are replaced by the proxies' (same length, so no field has to be understood);
- a fault that heals too well: bytes that were lost are never made up for. A connection that lost some is reset when the
  fault ends, as a peer that has forgotten it would; one that was only held goes on where it stood;
- a fault nobody can repeat: everything random comes from the `Fault`'s own seed.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self, TypeVar

HOST = "127.0.0.1"
PRODUCE, FETCH, METADATA, OFFSET_COMMIT, FIND_COORDINATOR, DESCRIBE_CLUSTER = 0, 1, 3, 8, 10, 60
_ADDRESSED = (METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER)  # answers that name brokers by host and port
_CHUNK = 64 * 1024
_TICK_S = 0.02
T = TypeVar("T")


class Kind(StrEnum):
    """What can happen to a network; toxiproxy's names where it has one."""

    LATENCY = "latency"  # each chunk waits `ms`, more or less `jitter_ms`
    BANDWIDTH = "bandwidth"  # at most `rate` bytes a second each way
    HOLD = "hold"  # no byte passes, connections stay open, new ones too; all passes once healed
    RESET = "reset"  # every connection ends with RST, again and again while it lasts
    SLICER = "slicer"  # pieces of at most `size` bytes
    HALF_UP = "half-open-up"  # what clients send is lost, what brokers send arrives
    HALF_DOWN = "half-open-down"  # what brokers send is lost, what clients send arrives
    LIMIT = "limit-data"  # a connection ends after `size` bytes of answers
    REFUSE = "refuse"  # connections end, new ones are refused
    DROP = "drop-answers"  # the broker does what is asked, its answer is lost and the connection ends


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and its measures; the same values do the same again.

    Args:
        kind: what happens. seed: of everything random in it. ms, jitter_ms: delay of a chunk. rate: bytes a second.
        size: of pieces, or until a connection ends, in bytes. apis: api keys of requests whose answers are dropped.
    """

    kind: Kind
    seed: int
    ms: float = 0.0
    jitter_ms: float = 0.0
    rate: int = 0
    size: int = 0
    apis: frozenset[int] = frozenset()


def draw(kind: Kind, seed: int) -> Fault:
    """A fault of that kind with measures from its seed: bad enough to hurt, not to stop what only is slow."""
    rng = random.Random(f"{kind}-{seed}")
    bare = Fault(kind, seed)
    match kind:
        case Kind.LATENCY:
            return replace(bare, ms=(ms := rng.randint(50, 400)), jitter_ms=rng.randint(0, ms))
        case Kind.BANDWIDTH:
            return replace(bare, rate=rng.randint(2_000, 40_000))
        case Kind.SLICER:
            return replace(bare, size=rng.randint(1, 40), ms=rng.randint(0, 3))
        case Kind.LIMIT:
            return replace(bare, size=rng.randint(20, 8_000))
        case Kind.DROP:
            return replace(bare, apis=frozenset(rng.sample((PRODUCE, FETCH, OFFSET_COMMIT, METADATA), 2)))
        case _:
            return bare


@dataclass(frozen=True, slots=True)
class Swap:
    """Puts `batch` into fetch answers in the place of a stored one of the same length.

    Args:
        marker: bytes that only the stored batch contains. at: where in it they stand.
        batch: what clients get instead.
        keep: leading bytes that stay as stored: 8 is the base offset, which the broker gave.
    """

    marker: bytes
    at: int
    batch: bytes
    keep: int = 8

    def __call__(self, answer: bytes) -> bytes:
        """The answer with every place of the stored batch replaced; a cut-off tail stays cut off."""
        found = answer.find(self.marker)
        while found >= 0:
            start = found - self.at
            place = slice(start + self.keep, min(start + len(self.batch), len(answer)))
            answer = answer[: place.start] + self.batch[self.keep : place.stop - start] + answer[place.stop :]
            found = answer.find(self.marker, found + 1)
        return answer


Edit = Callable[[bytes], bytes]


def frames(buffer: bytearray) -> Iterator[bytes]:
    """Take whole frames (length and body, as on the wire) off the front of `buffer`."""
    while len(buffer) >= 4:
        end = 4 + int.from_bytes(buffer[:4], "big")
        if len(buffer) < end:
            return
        yield bytes(buffer[:end])
        del buffer[:end]


@dataclass(eq=False)
class _Link:
    """One client connection and the one behind it."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    asked: dict[int, int] = field(default_factory=dict)  # correlation id -> api key
    answered: int = 0  # bytes
    lost: bool = False  # bytes of it are gone: it cannot go on

    def end(self, *, reset: bool) -> None:
        for writer in (self.client, self.broker):
            with suppress(OSError, RuntimeError):
                if reset:
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                writer.close()


class _Proxy:
    """Before one broker; everything here runs on the proxies' loop."""

    def __init__(self, target: int, ports: dict[int, int]) -> None:
        self._target = target
        self._ports = ports  # broker's port -> its proxy's, shared by all
        self._door: socket.socket | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fault: Fault | None = None
        self._over = asyncio.Event()  # set when `_fault` ends
        self._random = random.Random(0)
        self.edits: list[Edit] = []
        self.port = 0

    async def listen(self) -> None:
        """Take connections. (asyncio's own server leaves one hanging that comes just as it closes.)"""
        self._door = socket.create_server((HOST, self.port), backlog=512)
        self._door.setblocking(False)
        self.port = self._door.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._door, self._take, self._door)

    def _take(self, door: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            task = asyncio.create_task(self._serve(door.accept()[0]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _shut(self) -> None:
        if self._door is not None:
            asyncio.get_running_loop().remove_reader(self._door)
            self._door.close()
            self._door = None

    async def set(self, fault: Fault | None) -> None:
        self._over.set()
        self._fault, self._over = fault, asyncio.Event()
        self._random = random.Random(0 if fault is None else fault.seed)
        ends = self._is(Kind.REFUSE, Kind.RESET)
        for link in list(self._links):
            link.answered = 0
            if ends or link.lost:
                link.end(reset=True)
        if self._is(Kind.REFUSE):
            self._shut()
        elif self._door is None:
            await self.listen()

    async def close(self) -> None:
        self._shut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, taken: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=taken)
        try:
            from_broker, to_broker = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, to_broker)
        pumps = [asyncio.create_task(self._up(link, reader)), asyncio.create_task(self._down(link, from_broker))]
        self._links.add(link)
        try:
            if not self._is(Kind.RESET, Kind.REFUSE):
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            link.end(reset=self._is(Kind.RESET, Kind.REFUSE))
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _up(self, link: _Link, reader: asyncio.StreamReader) -> None:
        """From the client to the broker, noting what is asked."""
        buffer = bytearray()
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                buffer += chunk
                for frame in frames(buffer):
                    api, correlation = struct.unpack_from(">hxxi", frame, 4)
                    link.asked[correlation] = api
                if self._is(Kind.HALF_UP) or link.lost:
                    link.lost = True
                else:
                    await self._pass(link, link.broker, chunk, lost=Kind.HALF_UP)

    async def _down(self, link: _Link, reader: asyncio.StreamReader) -> None:
        """From the broker to the client, answer by answer."""
        buffer = bytearray()
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                buffer += chunk
                for frame in frames(buffer):
                    api = link.asked.pop(int.from_bytes(frame[4:8], "big"), -1)
                    if (fault := self._fault) is not None and fault.kind is Kind.DROP and api in fault.apis:
                        link.end(reset=True)
                        return
                    if self._is(Kind.HALF_DOWN) or link.lost:
                        link.lost = True
                        continue
                    await self._pass(link, link.client, self._edited(api, frame), lost=Kind.HALF_DOWN)

    def _edited(self, api: int, frame: bytes) -> bytes:
        if api in _ADDRESSED:
            host = HOST.encode()
            for port, ours in self._ports.items():
                frame = frame.replace(host + port.to_bytes(4, "big"), host + ours.to_bytes(4, "big"))
        elif api == FETCH:
            for edit in self.edits:
                frame = edit(frame)
        return frame

    async def _pass(self, link: _Link, writer: asyncio.StreamWriter, data: bytes, *, lost: Kind) -> None:
        """Write `data` as the fault of each moment allows."""
        while data:
            while self._is(Kind.HOLD):
                await self._over.wait()
            fault = self._fault
            if fault is not None and fault.kind is lost:
                link.lost = True
                return
            size = await self._wait_turn(fault, len(data))
            piece, data = data[:size], data[size:]
            if fault is not None and fault.kind is Kind.LIMIT and writer is link.client:
                piece = piece[: max(0, fault.size - link.answered)]
                link.answered += len(piece)
            writer.write(piece)
            await writer.drain()
            if fault is not None and fault.kind is Kind.LIMIT and link.answered >= fault.size:
                link.end(reset=False)
                raise ConnectionResetError

    async def _wait_turn(self, fault: Fault | None, left: int) -> int:
        """Wait as long as the next piece has to; how many bytes it may have."""
        if fault is None:
            return left
        match fault.kind:
            case Kind.LATENCY:
                await asyncio.sleep((fault.ms + self._random.uniform(-fault.jitter_ms, fault.jitter_ms)) / 1000)
            case Kind.BANDWIDTH:
                size = min(left, max(1, int(fault.rate * _TICK_S)))
                await asyncio.sleep(size / fault.rate)
                return size
            case Kind.SLICER:
                await asyncio.sleep(fault.ms / 1000)
                return min(left, self._random.randint(1, fault.size))
            case _:
                pass
        return left

    def _is(self, *kinds: Kind) -> bool:
        return self._fault is not None and self._fault.kind in kinds


class Proxies:
    """A proxy before every broker of a cluster; a context manager.

    Args:
        bootstrap: all brokers, ``127.0.0.1:port`` each, joined by commas; clients would go around a missing one.
    """

    def __init__(self, bootstrap: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()
        self._ports: dict[int, int] = {}
        self._proxies = [_Proxy(int(address.rpartition(":")[2]), self._ports) for address in bootstrap.split(",")]
        for proxy, address in zip(self._proxies, bootstrap.split(","), strict=True):
            self._run(proxy.listen())
            self._ports[int(address.rpartition(":")[2])] = proxy.port
        self.bootstrap = ",".join(f"{HOST}:{proxy.port}" for proxy in self._proxies)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def inject(self, fault: Fault, *, brokers: frozenset[int] | None = None) -> None:
        """Let `fault` begin, in the place of the last one.

        Args:
            brokers: positions in the bootstrap list of those behind it; all by default.
        """
        for i, proxy in enumerate(self._proxies):
            self._run(proxy.set(fault if brokers is None or i in brokers else None))

    def heal(self) -> None:
        """End the fault; connections that lost bytes are reset."""
        for proxy in self._proxies:
            self._run(proxy.set(None))

    def edit(self, *edits: Edit) -> None:
        """From now on fetch answers pass through these, and only these."""
        for proxy in self._proxies:
            proxy.edits = list(edits)

    def close(self) -> None:
        """End every connection and the thread."""
        for proxy in self._proxies:
            self._run(proxy.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

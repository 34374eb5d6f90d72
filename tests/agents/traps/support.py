"""Stock Faust and ours side by side, without a broker where the logic needs none.

Used by every `test_F..` here. A regression test runs one check on both: it holds on ours and is `Trapped` on the stock
class or setting. When a Faust release takes a trap away, the stock half fails loudly, and a subclass of ours may go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from agents.case_log import MemoryCaseLog
from agents.faust_app import UNIT, Unit, UnitApp, build_app
from agents.faust_host import FaustHost
from agents.intake import Intake
from agents.membership import HostSettings
from agents.outputs import Outputs
from agents.runner import Runner
from agents.unit import Fetched
from bus.errors import Unreachable
from bus.message import Outgoing, Partition, Record
from bus.testing import START, ManualClock
from schemas.codec import Codec
from schemas.envelope import Envelope, to_headers
from tests.agents.harness import World

import faust  # isort: skip  # after faust_app, whose import hides the command line from it
from faust.types import TP, ConsumerMessage  # isort: skip  # as above
from faust.types.tuples import FutureMessage, PendingMessage  # isort: skip  # as above

__all__ = ["FutureMessage", "PendingMessage", "faust"]  # for the tests, so that none imports faust first

TOPIC = "a.note.asked.v1"
OTHER = "a.note.answered.v1"
HERE = TP(TOPIC, 0)
NOWHERE = "127.0.0.1:1"
MADE: list[Any] = []  # apps of the test that runs; `conftest` closes the loops of threads that never started


class Trapped(AssertionError):
    """A safety check does not hold; told apart from an assertion inside a library."""


def keep(holds: object, what: str) -> None:
    """Raise Trapped unless `holds`."""
    if not holds:
        raise Trapped(what)


def stock_is_trapped() -> Any:
    """Context: the check inside must fail on the stock class or setting."""
    return pytest.raises(Trapped)


class Runs:
    """A stand-in for the runner: keeps what is confirmed, counts units, breaks when told."""

    def __init__(self, confirmed: Mapping[Partition, int] | None = None, *, error: Exception | None = None) -> None:
        self.confirmed = dict(confirmed or {})
        self.error = error
        self.units: list[Fetched] = []

    def committable(self) -> dict[Partition, int]:
        return self.confirmed

    def full(self) -> frozenset[Partition]:
        return frozenset()

    async def handle(self, *fetches: Fetched) -> None:
        self.units.extend(fetches)
        if self.error is not None:
            raise self.error


def settings(**given: Any) -> HostSettings:
    """How to join a group nobody serves."""
    return HostSettings(bootstrap=NOWHERE, group="g", topics=frozenset({TOPIC, OTHER}), **given)


def ours(runner: Any = None, **given: Any) -> FaustHost:
    """Our host, not connected."""
    given_runner: Any = runner or Runs()
    host = FaustHost(settings(**given), given_runner, ready=lambda _: None)
    MADE.append(host.app)
    return host


def stock(**given: Any) -> Any:
    """A Faust app as the documentation makes one, not connected."""
    app = faust.App("stock", broker=f"kafka://{NOWHERE}", store="memory://", **given)
    MADE.append(app)
    return app


def hardened(**overrides: Any) -> UnitApp:
    """Our app without its host."""
    app = build_app(settings(), **overrides)
    MADE.append(app)
    return app


def message(offset: int, *, value: bytes = b"1", headers: Any = None, topic: str = TOPIC) -> Any:
    """A message as Faust's consumer makes one."""
    tp = TP(topic, 0)
    return ConsumerMessage(topic, 0, offset, 0.0, 0, headers, b"k", value, None, 1, 1, tp, generation_id=0)


def unit(records: int = 1) -> Fetched:
    """A fetch of that many records of one partition."""
    place = Partition(TOPIC, 0)
    found = [Record(TOPIC, 0, n, n, b"k", b"v", ()) for n in range(records)]
    return Fetched({place: found}, {place: 0}, {place: records}, {})


async def commits(app: Any, monkeypatch: pytest.MonkeyPatch) -> dict[Any, int]:
    """What the app's consumer would send to the broker if its commit timer struck now."""
    sent: dict[Any, int] = {}

    async def note(offsets: Mapping[Any, int]) -> bool:
        sent.update(offsets)
        return True

    async def flush() -> None:
        """Nothing waits in a producer that is not connected."""

    monkeypatch.setattr(app.consumer, "_commit", note)
    monkeypatch.setattr(app.consumer, "assignment", lambda: {HERE})
    monkeypatch.setattr(app.producer, "flush", flush)
    await app.consumer.force_commit()
    return sent


def acking(app: Any) -> Any:
    """The app's consumer, its flow open, told that TOPIC is one whose acks count."""
    app.flow_control.resume()
    app.topics._acking_topics.add(TOPIC)
    return app.consumer


async def taken_in(app: Any, agent: Callable[[Any], Awaitable[None]], messages: Iterable[Any]) -> list[bool]:
    """Put messages into a stream of the app, run an agent over it until it ends or rests; which ones were acked."""
    acking(app)
    channel = app.topic(TOPIC, value_type=bytes, value_serializer="raw").clone(is_iterator=True)
    messages = list(messages)
    stream = app.stream(channel)
    app.consumer_generation_id = 0
    for one in messages:
        one.incref(1)
        app.consumer.track_message(one)
        await channel.put(await channel.decode(one))
    task = asyncio.ensure_future(agent(stream))
    await asyncio.wait({task}, timeout=1.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return [one.acked for one in messages]


def carried(offset: int, fetched: Fetched) -> Any:
    """The message our consumer makes of a fetch."""
    one = Unit(generation=0)
    one.fetches.append(fetched)
    return message(offset, headers={UNIT: one})


def asked(world: World, case: str, offset: int) -> Record:
    """A record that opens a case, as it stands on TOPIC."""
    value = Codec(world.catalogue).encode(world.asked.model_validate({"number": 1}))
    envelope = Envelope(id=case, source="/agencies/a", type=TOPIC, time=START, correlationid=case, partitionkey=case)
    return Record(TOPIC, 0, offset, offset, case.encode(), value, tuple(to_headers(envelope)))


def fetch(*records: Record, start: int = 0) -> Fetched:
    """A fetch of TOPIC/0 with these records, everything else read to its end."""
    here, there = Partition(TOPIC, 0), Partition(OTHER, 0)
    end = start + len(records)
    return Fetched({here: records}, {here: start, there: 0}, {here: end, there: 0}, {here: 9_999, there: 9_999})


class Store:
    """A producer that stores in memory, and refuses while `away`."""

    def __init__(self) -> None:
        self.away = False
        self.records: list[tuple[Partition, Outgoing]] = []

    async def partitions(self, _topic: str) -> int:
        return 1

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        if self.away:
            raise Unreachable("away")
        self.records.extend((partition, record) for record in records)
        return len(self.records) - len(records)


async def owning(world: World, store: Store, log: MemoryCaseLog) -> tuple[Runner, dict[Partition, int]]:
    """A runner that has taken over case partition 0, and where it wants to read on."""
    catalogue, codec, graph, clock = world.catalogue, Codec(world.catalogue), world.graph(), ManualClock()
    outputs = Outputs(
        store,  # type: ignore[arg-type]  # what Outputs uses of a producer
        catalogue=catalogue,
        codec=codec,
        group=world.group,
        process="note",
        partitions=1,
        clock=clock,
    )
    intake = Intake(
        graph, catalogue=catalogue, codec=codec, extracts=dict.fromkeys(world.inputs, lambda _: {}), partitions=1
    )
    runner = Runner({graph.hash: graph}, intake=intake, log=log, outputs=outputs, clock=clock, owner="test")

    async def floor(inputs: Sequence[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(inputs, 0)

    return runner, await runner.assigned([0], floor=floor, still_mine=lambda: True)

"""A small world for the runner: a memory cluster, the birth process, offices that answer, and workers that crash.

Used by the runner's tests. Time is a manual clock; one `World` is one log shared by workers that come and go.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from agents import compile as compiler
from agents.case_log import MemoryCaseLog
from agents.extract import extract
from agents.graph import Graph
from agents.intake import Intake
from agents.outputs import Outputs
from agents.runner import Runner
from agents.unit import Fetched
from bus.message import Outgoing, Partition, Record
from bus.middleware.parking import parked_topic
from bus.partitioner import partition_for
from bus.testing import ManualClock, memory_cluster
from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.envelope import Envelope, from_headers, to_headers, to_ms
from schemas.event import Event

PARTITIONS = 2
GROUP = "workflow.test"
PARKED = parked_topic(GROUP)
_TURNS = 20
CATALOGUE = standard()
CODEC = Codec(CATALOGUE)


@dataclass
class World:
    """One cluster and one case log.

    Args:
        graph: the process under test.
        runner, case_log, intake: what workers are made of; a test puts a broken one here to see a check find it.
        skew_ms: by topic, how far its broker's clock is from the others'.
    """

    graph: Graph
    runner: type[Runner] = Runner
    case_log: type[MemoryCaseLog] = MemoryCaseLog
    intake: type[Intake] = Intake
    skew_ms: dict[str, int] = field(default_factory=dict)
    clock: ManualClock = field(default_factory=ManualClock)
    rows: dict[int, list[tuple[bytes, bytes | None]]] = field(default_factory=dict)
    owners: dict[int, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        topics = [
            *sorted(self.graph.listens | self.graph.emits),
            f"{GROUP}.archive",
            f"{GROUP}.dead",
            f"{GROUP}.parked",
        ]
        self.cluster = memory_cluster(*topics, partitions=PARTITIONS)
        self.cluster.clock = self.clock

    def publish(self, event: Event, case: str, *, agency: str, event_id: str, source: str | None = None) -> None:
        """Store an event as its agency would, or as another `source` would."""
        topic = event.topic(agency)
        source = source or f"/agencies/{agency}"
        envelope = Envelope(id=event_id, source=source, type=topic, time=self.clock.now(), correlationid=case)
        self.store(topic, case, CODEC.encode(event), tuple(to_headers(envelope)))

    def store(self, topic: str, case: str, value: bytes, headers: Sequence[tuple[str, bytes | None]]) -> None:
        """Store any bytes."""
        key = case.encode()
        place = Partition(topic, partition_for(key, PARTITIONS))
        self.cluster.clock = ManualClock(self.clock.now() + timedelta(milliseconds=self.skew_ms.get(topic, 0)))
        self.cluster.store(place, [Outgoing(key, value, tuple(headers))])
        self.cluster.clock = self.clock

    def worker(self) -> Worker:
        """A new worker process; it takes over everything at its first step."""
        return Worker(self)

    def stored(self, topic: str) -> list[Record]:
        """All records of a topic."""
        return [r for n in range(PARTITIONS) for r in self.cluster.logs[Partition(topic, n)]]

    def events(self, topic: str) -> Counter[str]:
        """How often each event id stands on a topic."""
        return Counter(from_headers(r.headers).id for r in self.stored(topic))


class Worker:
    """A host in miniature: assigned all partitions, one fetch a step, killed by being forgotten."""

    def __init__(self, world: World) -> None:
        self._world = world
        graph = world.graph
        self.log = world.case_log(world.rows, world.owners)
        self.runner = world.runner(
            {graph.hash: graph},
            intake=world.intake(
                graph,
                catalogue=CATALOGUE,
                codec=CODEC,
                extracts={t: extract([graph], t, CATALOGUE) for t in graph.listens},
                partitions=PARTITIONS,
            ),
            log=self.log,
            outputs=Outputs(
                world.cluster.producer(),
                catalogue=CATALOGUE,
                codec=CODEC,
                group=GROUP,
                process=graph.process,
                partitions=PARTITIONS,
                clock=world.clock,
            ),
            clock=world.clock,
            owner="test",
        )
        self._at: dict[Partition, int] | None = None

    async def start(self, numbers: Sequence[int] = range(PARTITIONS)) -> dict[Partition, int]:
        """Take over these partitions, and no others; where each input is read from."""

        async def floor(inputs: Sequence[Partition]) -> dict[Partition, int]:
            return dict.fromkeys(inputs, 0)

        self._at = await self.runner.assigned(numbers, floor=floor, still_mine=lambda: True)
        await _a_while()
        return dict(self._at)

    async def step(self, *, most: int = 1_000, chance: random.Random | None = None) -> None:
        """Fetch at most `most` records of each input (with `chance`: of some inputs only) and handle them."""
        if self._at is None:
            await self.start()
        assert self._at is not None
        records: dict[Partition, list[Record]] = {}
        starts, positions, seen = {}, {}, {}
        for partition, at in self._at.items():
            stored = self._world.cluster.logs[partition]
            take = most if chance is None else chance.randrange(most + 1)
            got = stored[at : at + take]
            records[partition] = got
            starts[partition] = at
            positions[partition] = at + len(got)
            if positions[partition] == len(stored):
                seen[partition] = to_ms(self._world.clock.now())
        self._at.update(positions)
        await self.runner.handle(Fetched(records, starts, positions, seen))
        await _a_while()


async def _a_while() -> None:
    """The wait for the next fetch, while the outputs go out."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def compiled(text: str, folder: Path) -> Graph:
    """Compile a process given as text."""
    path = folder / "process.yaml"
    path.write_text(text)
    return compiler.compile_file(path, CATALOGUE)


def decoded(record: Record) -> Any:
    """The event of a stored record."""
    return CODEC.decode(record.value or b"", CATALOGUE.topic(record.topic).model, record.headers)

"""Where the worker's time goes per event: stages of the runner, in one process, without a broker.

Called by ``python -m tests.bench --profile``. The runner, intake, outputs and codec are the real ones; the case log is
the one in memory and the producer builds real record batches and drops them. Each stage's own time is taken by wrapping
its function, callees that are stages themselves taken off. The trap it avoids: a tracing profiler charges small Python
functions several times their cost and C calls next to nothing.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from agents import case, case_log, intake, machine, outputs, worker
from agents import compile as compiler
from agents.case_log import MemoryCaseLog, Row
from agents.decide import Decider
from agents.extract import extract
from agents.graph import Graph
from agents.intake import Intake
from agents.outputs import Outputs
from agents.runner import Runner
from agents.unit import Fetched, Lane
from bus.clock import SystemClock
from bus.message import Outgoing, Partition, Record
from bus.partitioner import partition_for
from schemas.catalogue import standard
from schemas.codec import Codec
from tests.bench import ready, recorded
from tests.bench.cluster import PARTITIONS

UNIT = 4_000  # records of one unit: fetches of 1,000, joined while the worker is busy
_BATCH_BYTES = 1_000_000


class Stages:
    """Own CPU time of wrapped functions, in seconds by stage."""

    def __init__(self) -> None:
        self.own: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._open: list[float] = []  # seconds spent in stages inside each one under way

    def wrap(self, owner: Any, name: str, stage: str) -> Callable[[], None]:
        """Count ``owner.name`` as `stage`; return what undoes it."""
        plain = getattr(owner, name)
        self.own.setdefault(stage, 0.0)

        @functools.wraps(plain)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._open.append(0.0)
            begin = time.thread_time()
            try:
                return plain(*args, **kwargs)
            finally:
                took = time.thread_time() - begin
                self.own[stage] += took - self._open.pop()
                self.calls[stage] = self.calls.get(stage, 0) + 1
                if self._open:
                    self._open[-1] += took

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, plain)


class _Dropping:
    """A producer that builds the record batches a real one would send, and drops them."""

    def __init__(self) -> None:
        self._ends: dict[Partition, int] = {}

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def partitions(self, topic: str) -> int:
        return PARTITIONS

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        _batch([(r.key, r.value, list(r.headers)) for r in records])
        first = self._ends.get(partition, 0)
        self._ends[partition] = first + len(records)
        return first


class _Building(MemoryCaseLog):
    """The case log in memory, which builds the record batches the real one would append."""

    async def append(self, batches: Mapping[int, Sequence[Row]]) -> None:
        for rows in batches.values():
            _batch([(key, value, []) for key, value in rows])
        await super().append(batches)


def _batch(rows: Sequence[tuple[bytes | None, bytes | None, list[Any]]]) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, _BATCH_BYTES)
    for index, (key, value, headers) in enumerate(rows):
        builder.append(index, 0, key, value, headers)
    return bytes(builder.build())


@contextmanager
def _watched(stages: Stages) -> Iterator[None]:
    undo = [
        stages.wrap(Intake, "_envelope", "envelope"),
        stages.wrap(intake, "fingerprint", "fingerprint"),
        stages.wrap(Codec, "decode_fields", "decode values"),
        stages.wrap(Intake, "read_all", "intake, rest (extract, arrival)"),
        stages.wrap(machine, "step", "step"),
        stages.wrap(Outputs, "check", "check outputs"),
        stages.wrap(Outputs, "_outgoing", "output record (envelope, headers)"),
        stages.wrap(Codec, "encode_json", "output event (validate, encode)"),
        stages.wrap(Decider, "_fire", "timers"),
        stages.wrap(case_log, "pack", "pack case"),
        stages.wrap(Lane, "take", "merge"),
        stages.wrap(Lane, "add", "merge"),
        stages.wrap(case, "place", "places in trail"),
        stages.wrap(Decider, "decide", "decide, rest"),
        stages.wrap(Runner, "_install", "keep on shelf"),
        stages.wrap(outputs, "partition_for", "partition of output"),
        stages.wrap(_this(), "_batch", "record batches (log and outputs)"),
    ]
    try:
        yield
    finally:
        for restore in undo:
            restore()


def _this() -> Any:
    import sys

    return sys.modules[__name__]


def table(events: int) -> str:
    """The profile as a table, from two runs: one plain for the total, one with every stage watched."""
    graph = compiler.compile_file(worker.process_file("recorded"), standard())
    units = list(_units(ready.records(events, "profile")))
    worker.calm_collector()  # as the real one does
    total = asyncio.run(_run(graph, units))
    stages = Stages()
    with _watched(stages):
        watched = asyncio.run(_run(graph, units))
    lines = [f"runner in process, {events} events: {total / events * 1e6:.1f} us of CPU per event"]
    lines.append(f"  {'stage':<38}{'us/event':>9}{'share':>8}{'calls/event':>13}")
    scale = 1e6 / events
    for stage, seconds in sorted(stages.own.items(), key=lambda found: -found[1]):
        calls = stages.calls.get(stage, 0) / events
        lines.append(f"  {stage:<38}{seconds * scale:>9.2f}{seconds / watched:>8.1%}{calls:>13.2f}")
    rest = watched - sum(stages.own.values())
    lines.append(f"  {'rest (asyncio, sending, settling)':<38}{rest * scale:>9.2f}{rest / watched:>8.1%}")
    return "\n".join(lines)


def _units(records: Sequence[Outgoing]) -> Iterator[Fetched]:
    """The records as fetches of `UNIT`, as a consumer that is behind gets them."""
    offsets = dict.fromkeys(range(PARTITIONS), 0)
    for start in range(0, len(records), UNIT):
        found: dict[Partition, list[Record]] = {Partition(recorded.TOPIC, number): [] for number in range(PARTITIONS)}
        begins = {place: offsets[place.number] for place in found}
        for stamp, record in enumerate(records[start : start + UNIT], start):
            number = partition_for(record.key or b"", PARTITIONS)
            found[Partition(recorded.TOPIC, number)].append(
                Record(recorded.TOPIC, number, offsets[number], stamp, record.key, record.value, record.headers)
            )
            offsets[number] += 1
        yield Fetched(found, begins, {place: offsets[place.number] for place in found}, {})


async def _run(graph: Graph, units: Sequence[Fetched]) -> float:
    catalogue, clock = standard(), SystemClock()
    codec = Codec(catalogue)
    extracts = {topic: extract([graph], topic, catalogue) for topic in graph.listens}
    made = Runner(
        {graph.hash: graph},
        intake=Intake(graph, catalogue=catalogue, codec=codec, extracts=extracts, partitions=PARTITIONS),
        log=_Building(),
        outputs=Outputs(
            _Dropping(),
            catalogue=catalogue,
            codec=codec,
            group="profile",
            process=graph.process,
            partitions=PARTITIONS,
            clock=clock,
        ),
        clock=clock,
        owner="profile",
    )

    async def floor(inputs: Sequence[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(inputs, 0)

    await made.assigned(range(PARTITIONS), floor=floor, still_mine=lambda: True)
    begin = time.thread_time()
    for unit in units:
        await made.handle(unit)
    await made.finish()
    return time.thread_time() - begin

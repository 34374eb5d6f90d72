"""A worker's runner in this process: real but for a producer that drops what it is given.

Called by the programs that weigh cases. The trap it avoids: memory that the measuring itself holds (events made
beforehand, a log kept in memory) and that would count as the worker's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from agents import compile as compiler
from agents import worker
from agents.case_log import CaseLog, MemoryCaseLog
from agents.case_log import Row as LogRow
from agents.extract import extract
from agents.intake import Intake
from agents.outputs import Outputs
from agents.runner import Runner
from agents.unit import Fetched
from bus.clock import SystemClock
from bus.message import Partition, Record
from bus.partitioner import partition_for
from bus.publish import Publication
from schemas.catalogue import standard
from schemas.codec import Codec
from tests.bench import recorded
from tests.bench.profile import _batch, _Dropping
from tests.bench.ready import composed


class Weighing(MemoryCaseLog):
    """A case log that builds its batches as the real one does, weighs them and drops them.

    Args:
        written: bytes of all batches so far.
    """

    written = 0

    async def append(self, batches: Mapping[int, Sequence[LogRow]]) -> None:
        """Weigh one batch per partition."""
        for rows in batches.values():
            self.written += len(_batch([(key, value, []) for key, value in rows]))


def runner_of(process: str, log: CaseLog, partitions: int) -> Runner:
    """A runner of a shipped process over a case log.

    Args:
        process: its name. log: where its cases are. partitions: of its topics.
    """
    catalogue, clock = standard(), SystemClock()
    codec = Codec(catalogue)
    graph = compiler.compile_file(worker.process_file(process), catalogue)
    extracts = {topic: extract([graph], topic, catalogue) for topic in graph.listens}
    return Runner(
        {graph.hash: graph},
        intake=Intake(graph, catalogue=catalogue, codec=codec, extracts=extracts, partitions=partitions),
        log=log,
        outputs=Outputs(
            _Dropping(),
            catalogue=catalogue,
            codec=codec,
            group="bench",
            process=process,
            partitions=partitions,
            clock=clock,
        ),
        clock=clock,
        owner="bench",
    )


async def take_over(runner: Runner, partitions: int) -> None:
    """Let a runner take every partition over, inputs not committed anywhere."""

    async def floor(inputs: Sequence[Partition]) -> dict[Partition, int]:
        return dict.fromkeys(inputs, 0)

    await runner.assigned(range(partitions), floor=floor, still_mine=lambda: True)


def units(said: Iterable[Publication], partitions: int, *, at_once: int) -> Iterator[Fetched]:
    """Recorded activities as fetches of a consumer that is behind, each made when it is asked for.

    Args:
        said: the events. partitions: of their topic. at_once: records of one fetch.
    """
    offsets = dict.fromkeys(range(partitions), 0)
    rest, stamp = composed(said, "replay"), 0
    while some := list(islice(rest, at_once)):
        found: dict[Partition, list[Record]] = {Partition(recorded.TOPIC, number): [] for number in offsets}
        begins = {place: offsets[place.number] for place in found}
        for record in some:
            number = partition_for(record.key or b"", partitions)
            found[Partition(recorded.TOPIC, number)].append(
                Record(recorded.TOPIC, number, offsets[number], stamp, record.key, record.value, record.headers)
            )
            offsets[number] += 1
            stamp += 1
        yield Fetched(found, begins, {place: offsets[place.number] for place in found}, {})

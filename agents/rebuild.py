"""Rebuilds a damaged case store on Kafka, under the fence and only while nobody works.

Called by `agents.cli_worker` for ``agencybus worker rebuild``. What is written comes from `agents.rebuild_plan`. The
traps it avoids: a worker that goes on beside it (the group must be empty, and the claim fences one that was not seen);
group commits that lie behind the new positions and so hide them (they go back first); a case whose first event is no
longer stored and so would never come back (found before anything is written).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agents.graph import Graph
from agents.kafka_case_log import KafkaCaseLog
from agents.rebuild_plan import Damage, Plan, plan
from agents.runner import MARKER_LIFE_US
from bus.errors import BusError, Refused
from bus.message import Partition, Record
from bus.middleware.parking import parked_topic
from bus.ports import Reader
from bus.transport import kafka_facts
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_reader import KafkaReader

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be done.

    Args:
        plans: by case partition.
        gone: cases of damaged rows whose first event is no longer stored: they cannot come back.
    """

    plans: tuple[Plan, ...]
    gone: tuple[str, ...]

    @property
    def damaged(self) -> tuple[Damage, ...]:
        """Every row that cannot be read."""
        return tuple(damage for found in self.plans for damage in found.damaged)


async def look(bootstrap: str, group: str, graph: Graph, *, say: Say) -> Found:
    """Read a group's case log and archive and plan what is to be done; changes nothing.

    Args:
        bootstrap: broker addresses.
        group: of the process.
        graph: the process.
        say: takes progress lines.

    Raises:
        Refused: the group has members, or a topic is missing. BusError, Unreachable.
    """
    refuse_members(bootstrap, group)
    log = KafkaCaseLog(bootstrap, group)
    await log.start()
    reader = KafkaReader(bootstrap)
    try:
        plans = [
            _plan(reader, group, graph, number=n, limit=log.batch_bytes, say=say)
            for n in range(reader.partitions(f"{group}.cases"))
        ]
        lost = {d.case for found in plans for d in found.damaged if not d.archived and not d.key.startswith(b"!")}
        return Found(tuple(plans), tuple(sorted(lost - _opened(reader, graph, lost, say))))
    finally:
        reader.close()
        await log.stop()


def refuse_members(bootstrap: str, group: str) -> None:
    """Refuse while anyone works in the group. Raises Refused, Unreachable."""
    members = kafka_facts.members(bootstrap, group)
    if members:
        raise Refused(
            f"Group {group} has {len(members)} running member(s), {members[0].client_id} for one.",
            field="group",
            remedy="Stop its workers; one that was killed is forgotten after its session timeout.",
        )


async def rebuild(bootstrap: str, group: str, graph: Graph, *, say: Say) -> Found:
    """Do it. The plans are made again after the claim, so that nothing a worker still wrote is missed.

    Args:
        bootstrap: broker addresses.
        group: of the process.
        graph: the process.
        say: takes progress lines.

    Raises:
        Refused: the group has members. Fenced: one came. BusError, Unreachable.
    """
    refuse_members(bootstrap, group)
    log = KafkaCaseLog(bootstrap, group)
    await log.start()
    reader = KafkaReader(bootstrap)
    admin = KafkaAdmin(bootstrap)
    done: list[Plan] = []
    try:
        for number in range(reader.partitions(f"{group}.cases")):
            await log.claim([number], "rebuild")
            found = _plan(reader, group, graph, number=number, limit=log.batch_bytes, say=say)
            admin.commit(group, {Partition(topic, number): offset for topic, offset in found.positions.items()})
            for batch in found.batches(log.batch_bytes):
                await log.append({number: batch})
            say(f"partition {number}: {len(found.damaged)} row(s) replaced; it is read again from the beginning")
            done.append(found)
    finally:
        reader.close()
        admin.close()
        await log.stop()
    return Found(tuple(done), ())


def _plan(reader: Reader, group: str, graph: Graph, *, number: int, limit: int, say: Say) -> Plan:
    say(f"partition {number}: reading the case log and the archive")
    rows = [(r.offset, r.key or b"", r.value) for r in _all(reader, Partition(f"{group}.cases", number))]
    inputs = [Partition(topic, number) for topic in sorted(graph.listens | {parked_topic(group)})]
    first = {p.topic: start for p, (start, _) in reader.bounds(inputs).items()}
    try:
        return plan(
            number,
            rows,
            _all(reader, Partition(f"{group}.archive", number)),
            first=first,
            listens=graph.listens,
            now=time.time_ns() // 1_000,
            marker_life=MARKER_LIFE_US,
            limit=limit,
        )
    except BusError as error:
        raise BusError(f"{group}.cases[{number}]: {error.message}", remedy=error.remedy) from None


def _all(reader: Reader, place: Partition) -> Iterable[Record]:
    start, end = reader.bounds([place])[place]
    return reader.read(place, start, end)


def _opened(reader: Reader, graph: Graph, wanted: set[str], say: Say) -> set[str]:
    """Those of these cases whose opening event is still stored."""
    if not wanted:
        return set()
    say(f"looking for the first events of {len(wanted)} case(s) on {graph.opens_on}")
    keys = {case.encode(): case for case in wanted}
    places: Sequence[Partition] = [Partition(graph.opens_on, n) for n in range(reader.partitions(graph.opens_on))]
    return {keys[r.key] for place in places for r in _all(reader, place) if r.key in keys}

"""Stores of open births for the recovery scenarios: a group's case log, and the same cases as a Faust changelog.

Called by `recovery` and `growth`. Half of the cases wait for the registry and half for the benefit alone; their rows
are what the state machine and `case_log.pack` make of a birth's events, batches end with a positions row as the
runner's do, and all outputs are confirmed. The trap it avoids: rows that are all due to be sent again, which would
measure the sending.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

from agents import case_bytes, case_log, worker
from agents import compile as compiler
from agents.case import Case
from agents.case_log import Positions, Row, Stored
from agents.extract import extract
from agents.kafka_case_log import KafkaCaseLog
from agents.machine import Arrival, step
from bus.message import Outgoing, Partition
from bus.partitioner import partition_for
from bus.ports import TopicState
from bus.topology import group_states
from bus.transport.kafka_admin import KafkaAdmin
from schemas.catalogue import standard
from tests.bench import cluster
from tests.bench.stepping import _BIRTH

PROCESS = "birth"
_AT_ONCE = 500  # rows of one batch, as the runner's `TAKE`
_NAME = "SYN-00000000"  # every id is as long: a stored case becomes another's by replacing it
_STAGES = (1, 3)  # events a case has taken


def _names(count: int) -> Iterator[str]:
    return (f"SYN-{number:08d}" for number in range(count))


def _births() -> list[Case]:
    """One case of each stage."""
    catalogue = standard()
    graph = compiler.compile_file(worker.process_file(PROCESS), catalogue)
    found: list[Case] = []
    case: Case | None = None
    for place, (agency, event) in enumerate(_BIRTH):
        topic = event.topic(agency)
        values = extract([graph], topic, catalogue)(vars(event))
        at = 1_772_600_767_000_000 + place * 1_000_000
        case, _ = step(graph, case, Arrival(_NAME, topic, 0, place, f"{place:016x}", f"e-{place}", at, values))
        if place + 1 in _STAGES:
            found.append(case)
    return found


def create(bootstrap: str, *names: str, partitions: int) -> None:
    """Create compacted topics.

    Args:
        bootstrap: of the broker. names: of the topics. partitions: of each.
    """
    like = TopicState("", partitions, 1, {"message.timestamp.type": "LogAppendTime"})
    (config,) = (state.config for state in group_states("", like) if state.name == ".cases")
    admin = KafkaAdmin(bootstrap)
    try:
        for name in names:
            admin.create(TopicState(name, partitions, 1, config))
    finally:
        admin.close()


async def fill(bootstrap: str, group: str, count: int, partitions: int) -> None:
    """Write `count` open cases to the case log of a group, through the real one."""
    rows = [case_log.pack(Stored(case)) for case in _births()]
    log = KafkaCaseLog(bootstrap, group)
    await log.start()
    await log.claim(range(partitions), "filler")
    names = _names(count)
    written = 0
    while some := list(islice(names, _AT_ONCE * partitions)):
        batches: dict[int, list[Row]] = {number: [] for number in range(partitions)}
        for name in some:
            key = name.encode()
            written += 1
            batches[partition_for(key, partitions)].append(
                (key, rows[written % len(rows)].replace(_NAME.encode(), key))
            )
        await log.append({n: [*found, _positions(written, len(found))] for n, found in batches.items()})
    await log.append({number: [_positions(written, 0)] for number in range(partitions)})  # outputs are confirmed
    await log.stop()


def _positions(written: int, rows: int) -> Row:
    inputs = {event.topic(agency): written for agency, event in _BIRTH}
    return case_log.POSITIONS, case_log.pack_positions(Positions(inputs, rows))


async def fill_changelog(bootstrap: str, topic: str, count: int, partitions: int) -> None:
    """Write the same cases to a topic as a Faust table of JSON values keeps them."""
    values = [case_bytes.to_bytes(case) for case in _births()]
    batches: dict[Partition, list[Outgoing]] = {}
    for number, name in enumerate(_names(count), 1):
        key = json.dumps(name).encode()
        place = Partition(topic, partition_for(key, partitions))
        value = values[number % len(values)].replace(_NAME.encode(), name.encode())
        batches.setdefault(place, []).append(Outgoing(key, value))
    await cluster.append(bootstrap, batches)

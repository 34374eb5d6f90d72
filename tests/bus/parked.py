"""Parked rows in memory, and somebody who obeys commands, for the tests of the commands `parked`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bus.message import Outgoing, Partition, Record
from bus.middleware.dead_letter import Failure
from bus.middleware.parking import (
    QUEUED,
    Command,
    Entry,
    Mode,
    command_key,
    entry_key,
    is_command,
    pack,
    pack_command,
    unpack,
    unpack_command,
)
from bus.middleware.retry import Kind
from bus.transport.memory import MemoryCluster
from tests.bus.letters import GROUP, TOPIC

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
FAILED = Failure(stage="handler", kind=Kind.BUG, error="ValueError", attempt=5, first=NOW, last=NOW)
WAITING = replace(FAILED, stage=QUEUED, attempt=0)


def entry(
    offset: int,
    key: bytes | None,
    *,
    partition: int = 0,
    queued: bool = False,
    topic: str = TOPIC,
    mode: Mode = Mode.KEY,
    due: datetime | None = None,
    first: datetime = NOW,
) -> Entry:
    record = Record(topic, partition, offset, 1_000 + offset, key, b"value", ())
    failure = replace(WAITING if queued else FAILED, first=first)
    return Entry(record=record, failure=failure, mode=mode, due=due)


def row(one: Entry, *, case: bytes | None = None) -> Outgoing:
    """The row of an entry, in a workflow's case log when `case` is given."""
    key = entry_key(one)
    return Outgoing(key if case is None else b"!parked/" + case + b"\0" + key, pack(one))


def park(cluster: MemoryCluster, *entries: Entry, group: str = GROUP) -> None:
    for one in entries:
        cluster.store(Partition(f"{group}.parked", one.record.partition), [row(one)])


def commands(cluster: MemoryCluster, *, group: str = GROUP) -> list[Command]:
    """The commands that were ever written."""
    rows = [record for place, log in cluster.logs.items() if place.topic == f"{group}.parked" for record in log]
    return [unpack_command(r.key, r.value) for r in rows if r.key and r.value and is_command(r.key)]


def obey(cluster: MemoryCluster, *, failing: bytes | None = None, group: str = GROUP) -> None:
    """What a consumer does with commands: tombstones for a key's entries; of the key `failing`, a new failure."""
    for place, log in list(cluster.logs.items()):
        if place.topic != f"{group}.parked":
            continue
        rows = {one.key: one.value for one in log}
        said = [unpack_command(key, value) for key, value in rows.items() if key and value and is_command(key)]
        for command in said:
            for key, value in rows.items():
                if key is None or value is None or is_command(key):
                    continue
                found = unpack(value)
                if found.record.key != command.key:
                    continue
                if command.key == failing and not found.queued:
                    again = replace(found.failure, attempt=6, last=command.at + timedelta(seconds=1))
                    cluster.store(place, [Outgoing(key, pack(replace(found, failure=again)))])
                elif command.key != failing:
                    cluster.store(place, [Outgoing(key, None)])
            cluster.store(place, [Outgoing(command_key(command), None)])


__all__ = ["FAILED", "NOW", "commands", "entry", "obey", "pack_command", "park", "row"]

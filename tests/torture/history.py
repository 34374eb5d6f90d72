"""What happened in a run, as every actor saw it: operations as JSON lines, merged by the machine's monotonic clock.

Written by the actors of the kill and fault tests (each line with one system call: what a process did before its SIGKILL
is in its file), read by `tests.torture.checker`. The trap it avoids: a history kept in the memory of what is killed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

Did = Literal[
    "called",  # publish was called
    "acked",  # it returned a receipt
    "failed",  # it said that nothing was stored
    "unknown",  # it could not say
    "polled",  # a reader was given the record
    "applied",  # the effect of the event is durable
    "committed",  # `offset` is the next to read, and the broker has taken it
    "stored",  # the record stands in the log when everything is over
    "read",  # the whole log of `topic` was read for that
    "killed",
    "paused",
    "resumed",
    "started",
    "healed",  # no fault is in force from here on
]


class Op(NamedTuple):
    """One operation.

    Args:
        t: when, in nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
        actor: who did it, or whom it was done to; a reader's names its session: a new one may start anew anywhere.
        did: what.
        topic, partition, offset: the place, where the operation has one.
        key, n: the event: the n-th of its key, counted upwards by whoever publishes it.
    """

    t: int
    actor: str
    did: Did
    topic: str = ""
    partition: int = -1
    offset: int = -1
    key: str = ""
    n: int = -1


Place = tuple[str, int, int, str, int]  # topic, partition, offset, key, n


class Recorder:
    """Appends the operations of one process to its file.

    Args:
        folder: of the run; every actor has a file of its own there.
        actor: its name, unique per process.
    """

    def __init__(self, folder: Path, actor: str) -> None:
        self.actor = actor
        self._file = os.open(folder / f"{actor.replace('/', '-')}.ops", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(
        self, did: Did, places: Sequence[Place] = (("", -1, -1, "", -1),), *, actor: str = "", t: int | None = None
    ) -> None:
        """Note one operation on several places, as of now (or `t`)."""
        if places:
            line = json.dumps([time.monotonic_ns() if t is None else t, actor or self.actor, did, places])
            os.write(self._file, line.encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def load(folder: Path) -> list[Op]:
    """All operations of a run, by time; a last line that was cut short is no operation."""
    found: list[Op] = []
    for path in sorted(folder.glob("*.ops")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            t, actor, did, places = json.loads(line)
            found.extend(Op(t, actor, did, *place) for place in places)
    return merged(found)


def merged(ops: Iterable[Op]) -> list[Op]:
    """Operations by time; those of one moment stay in the order given."""
    return sorted(ops, key=_time)


def save(path: Path, ops: Iterable[Op]) -> None:
    """Keep a whole history in one file, for a look at what went wrong."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_told(op)) + "\n" for op in ops)


def _told(op: Op) -> dict[str, Any]:
    return {name: value for name, value in op._asdict().items() if value not in ("", -1)}


def _time(op: Op) -> int:
    return op.t

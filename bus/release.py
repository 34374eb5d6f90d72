"""Tells a group what an operator wants done with parked keys, and sees whether it was done.

Called by the commands `parked release|drop`. A command is a row of ``<group>.parked``: the group's own consumer or
worker obeys it, since only it knows the order of a key. The traps it avoids: an operator who believes that a key moves
while no worker runs, and a failure of before that is taken for a new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from bus.message import Outgoing, Partition
from bus.middleware.parking import Command, command_key, pack_command, parked_topic
from bus.operators import Operator
from bus.parked_desk import Held, ParkedDesk, row_id
from schemas.bus_events import OperatorAct

_LOOK_S = 0.5  # between two looks while waiting
_ACTS = {"release": OperatorAct.RELEASE, "drop": OperatorAct.DISCARD}


@dataclass(slots=True)
class Outcome:
    """What became of the keys so far.

    Args:
        settled: none of the records that stood there stands there any more.
        failed: it was tried, and the first one failed again; as it stands now.
        waiting: not obeyed yet.
    """

    settled: list[Held] = field(default_factory=list)
    failed: list[Held] = field(default_factory=list)
    waiting: list[Held] = field(default_factory=list)


def send(held: Sequence[Held], do: Literal["release", "drop"], operator: Operator, *, at: datetime) -> None:
    """Write a command for each key, then that it was said.

    Args:
        held: the keys, of any groups; each has a key.
        do: what.
        operator: writes.
        at: now, aware; is kept with the command.

    Raises:
        BusError: a command could not be stored; the same once more is harmless.
    """
    rows: dict[Partition, list[Outgoing]] = {}
    ids: dict[str, list[str]] = {}
    for number, one in enumerate(held, 1):
        assert one.key is not None
        said = Command(id=f"{operator.action}-{number}", do=do, topic=one.topic, key=one.key, by=operator.by, at=at)
        place = Partition(parked_topic(one.group), one.place.number)
        rows.setdefault(place, []).append(Outgoing(command_key(said), pack_command(said)))
        ids.setdefault(one.group, []).extend(row_id(one.group, row.key) for row in one.rows)
    for place, commands in rows.items():
        operator.writer.append(place, commands)
    for group, records in ids.items():
        operator.say(_ACTS[do], group, records, planned=len(records))


def follow(
    held: Sequence[Held],
    desk: ParkedDesk,
    *,
    patience_s: float,
    stop: Callable[[], bool],
    progress: Callable[[int], None],
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Outcome:
    """See what becomes of the keys, for so long or until all of them are settled or have failed again.

    Args:
        held: as they stood when the command was written.
        desk: reads on.
        patience_s: seconds to wait.
        stop: whether to end now.
        progress: told how many are settled.
        sleep: waits so many seconds.
        monotonic: seconds.
    """
    groups = sorted({one.group for one in held})
    end = monotonic() + patience_s
    while True:
        desk.read(groups)
        found = _compare(held, desk.held(groups)[0])
        progress(len(found.settled))
        if not found.waiting or stop() or monotonic() >= end:
            return found
        sleep(min(_LOOK_S, max(0.0, end - monotonic())))


def _compare(before: Sequence[Held], after: Sequence[Held]) -> Outcome:
    """What of `before` still stands, by its rows; a failure that was not there is a new one, whatever clocks say."""
    there = {(one.place, row.key): one for one in after for row in one.rows}
    found = Outcome()
    for one in before:
        left = [(one.place, row.key) for row in one.rows if (one.place, row.key) in there]
        if not left:
            found.settled.append(one)
            continue
        now = there[left[0]]
        stood = {row.key: row.entry.failure for row in one.rows}
        again = any(not r.entry.queued and stood.get(r.key, r.entry.failure) != r.entry.failure for r in now.rows)
        (found.failed if again else found.waiting).append(now)
    return found

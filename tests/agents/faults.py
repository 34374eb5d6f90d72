"""Bugs that a test switches on and off, and the operators who release, drop and redrive what they parked.

Used by the tests of parking and by the crash histories. A fault stands in the decider, where a bug in a step, in the
reading of an event or in an output shows as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from agents.case import Case
from agents.case_log import Stored
from agents.decide import Decider
from agents.intake import Broken, Dead, Intake
from agents.machine import Arrival, Emit
from agents.runner import Runner
from bus.errors import Refused
from bus.message import Outgoing, Partition, Record
from bus.middleware import parking
from bus.middleware.dead_letter import Failure
from bus.middleware.parking import Command, Entry
from bus.middleware.retry import Kind
from bus.partitioner import partition_for
from tests.agents.world import PARKED, PARTITIONS, World


@dataclass
class Faults:
    """What fails for now.

    Args:
        events: ids of events whose step raises. unread: ids of events whose reading raises.
        outputs: (case, topic) of outputs that cannot be built.
        decider: what the workers decide with; a control puts a broken one here.
    """

    events: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)
    outputs: set[tuple[str, str]] = field(default_factory=set)
    decider: type[Decider] = Decider

    def mend(self) -> None:
        """Nothing fails any more."""
        self.events.clear()
        self.unread.clear()
        self.outputs.clear()

    def runner(self, kind: type[Runner] = Runner) -> type[Runner]:
        """A runner that meets these faults."""
        faults = self

        class Failing(self.decider):  # type: ignore[misc,name-defined]  # a base chosen by the test
            _unbuildable = False

            def _step(self, arrival: Arrival) -> None:
                if arrival.event_id in faults.events:
                    raise ZeroDivisionError
                super()._step(arrival)

            def _keep(self, entry: Stored | None, after: Case, emits: Sequence[Emit]) -> None:
                if any((after.id, emit.topic) in faults.outputs for emit in emits):
                    if self._careful:
                        raise Refused("SYN-secret", field="made.up")
                    self._unbuildable = True
                super()._keep(entry, after, emits)

            def _checked(self) -> bool:
                built, unbuildable = super()._checked(), self._unbuildable
                self._unbuildable = False
                return built and not unbuildable

        return type("Failing", (kind,), {"decider": Failing})

    def intake(self, kind: type[Intake] = Intake) -> type[Intake]:
        """An intake that meets these faults."""
        faults = self

        class Breaking(kind):  # type: ignore[misc,valid-type]  # a base chosen by the test
            def _together(self, records: Sequence[Record]) -> list[Arrival]:
                arrivals: list[Arrival] = super()._together(records)
                if any(arrival.event_id in faults.unread for arrival in arrivals):
                    raise KeyError("SYN-secret")
                return arrivals

            def read(self, record: Record, dead: list[Dead]) -> Arrival | None:
                arrival: Arrival | None = super().read(record, dead)
                if arrival is not None and arrival.event_id in faults.unread:
                    raise Broken(arrival.case, "KeyError")
                return arrival

        return Breaking


def tell(
    world: World, case: str, do: Literal["release", "drop"] = "release", *, action: str = "a1", times: int = 1
) -> None:
    """An operator's command about a case."""
    command = Command(id=action, do=do, topic=None, key=case.encode(), by="SYN-operator", at=world.clock.now())
    row = Outgoing(parking.command_key(command), parking.pack_command(command))
    world.cluster.store(Partition(PARKED, partition_for(case.encode(), PARTITIONS)), [row] * times)


def redrive(world: World, letter: Record, *, action: str = "r1", times: int = 1) -> None:
    """What `agencybus dlq redrive` writes for a dead letter."""
    told = {name: value for name, value in letter.headers if name.startswith("dead_")}
    place = {name: (told["dead_" + name] or b"").decode() for name in ("topic", "partition", "offset")}
    number = int(place["partition"])
    log = world.cluster.logs[Partition(place["topic"], number)]
    original = log[int(place["offset"])]
    assert (original.key, original.value) == (letter.key, letter.value)
    now = world.clock.now()
    failure = Failure(stage="redriven", kind=Kind.REFUSED, error="redriven", attempt=1, first=now, last=now)
    count = int(told.get("dead_redrive") or b"0") + 1
    entry = Entry(record=original, failure=failure, redrive=count, action=action, due=now)
    world.cluster.store(Partition(PARKED, number), [Outgoing(parking.entry_key(entry), parking.pack(entry))] * times)


def parked_rows(world: World) -> dict[bytes, bytes]:
    """The parked rows of all case logs that stand."""
    latest: dict[bytes, bytes | None] = {}
    for rows in world.rows.values():
        latest.update({key: value for key, value in rows if key.startswith(b"!parked/")})
    return {key: value for key, value in latest.items() if value is not None}


def untold(world: World) -> list[bytes]:
    """Keys of rows of the group's parked topic that have no tombstone."""
    found: list[bytes] = []
    for number in range(PARTITIONS):
        latest = {r.key or b"": r.value for r in world.cluster.logs[Partition(PARKED, number)]}
        found += [key for key, value in latest.items() if value is not None]
    return found

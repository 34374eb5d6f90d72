"""Trouble in a crash history: bugs that come and go, a log that takes less, and operators who release, drop, redrive.

Used by `crashes`. One seed is one history. Operators act twice now and then, and at the end they clear up: everything
is mended, every parked case released, every dead letter redriven, until nothing is left.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from agents import case as cases
from agents import case_bytes
from agents.case_log import MemoryCaseLog
from tests.agents.faults import Faults, parked_rows, redrive, tell, untold
from tests.agents.world import GROUP, World, decoded

_KINDS = ("n", "r", "i", "b")
_OUTPUTS = ("portal.request.created.v1", "bus.deadline.missed.v1")
_SMALL, _LARGE = 1_000, 900_000  # bytes of a batch: a case with its request is larger than the first
_TOLERANCE_US = 1_000_000  # what brokers' clocks may differ by


class Operators:
    """What goes wrong, and what is done about it.

    Args:
        world: where. ids: of the cases. chance: of this history alone.
    """

    def __init__(self, world: World, faults: Faults, ids: Sequence[str], chance: random.Random) -> None:
        self._world = world
        self._faults = faults
        self._ids = ids
        self._chance = chance
        self._acts = 0
        self._redriven: set[bytes | None] = set()
        self.dropped: set[str] = set()
        self.limit = _LARGE

    def limited(self, kind: type[MemoryCaseLog]) -> type[MemoryCaseLog]:
        """A case log that takes as much as the topic does just now."""
        operators = self

        class Limited(kind):  # type: ignore[misc,valid-type]  # a base chosen by the test
            @property
            def batch_bytes(self) -> int:
                return operators.limit

        return Limited

    def go_on(self) -> None:
        """Perhaps something breaks, or is mended, or somebody acts."""
        chance, case = self._chance, self._chance.choice(self._ids)
        if chance.random() < 0.15:
            kind = chance.choice(("events", "unread", "outputs"))
            if kind == "outputs":
                self._faults.outputs.add((case, chance.choice(_OUTPUTS)))
            else:
                getattr(self._faults, kind).add(f"{chance.choice(_KINDS)}-{case}")
        if chance.random() < 0.05:
            self._faults.mend()
        if chance.random() < 0.1:
            self.limit = chance.choice((_SMALL, _LARGE))
        if chance.random() < 0.2:
            self._act(chance.choice(("release", "release", "drop", "redrive")), case)

    def _act(self, what: str, case: str) -> None:
        self._acts += 1
        times = self._chance.choice((1, 1, 2))
        if what == "redrive":
            self._redrive(times)
            return
        if what == "drop":
            self.dropped.add(case)
        tell(self._world, case, "drop" if what == "drop" else "release", action=f"a{self._acts}", times=times)

    def _redrive(self, times: int) -> bool:
        """Redrive every letter that has not been; False when there is none."""
        found = False
        for letter in self._world.stored(f"{GROUP}.dead"):
            letter_id = dict(letter.headers)["dead_id"]
            if letter_id not in self._redriven:
                self._redriven.add(letter_id)
                redrive(self._world, letter, action=f"r{self._acts}", times=times)
                found = True
        return found

    def clear_up(self) -> bool:
        """Mend all, release all, redrive all; False when nothing was left to do."""
        self._faults.mend()
        self.limit = _LARGE
        self._acts += 1
        held = {key.split(b"\0", 1)[0].removeprefix(b"!parked/").decode() for key in parked_rows(self._world)}
        for case in sorted(held):
            tell(self._world, case, action=f"a{self._acts}")
        return self._redrive(1) or bool(held)

    def wrong(self) -> list[str]:
        """What is wrong with the end."""
        world = self._world
        found = [f"still parked: {key!r}" for key in parked_rows(world)]
        found += [f"not settled: {key!r}" for key in untold(world)]
        letters = {dict(r.headers)["dead_id"] for r in world.stored(f"{GROUP}.dead")}
        found += [f"dead letter: {letter!r}" for letter in letters - self._redriven]
        missed = {dict(r.headers)["ce_id"]: decoded(r).step for r in world.stored("bus.deadline.missed.v1")}
        for record in world.stored(f"{GROUP}.archive"):
            case = case_bytes.from_bytes(record.value or b"")
            if case.id not in self.dropped:
                found += _out_of_time(case, {(i or b"").decode(): step for i, step in missed.items()})
        return found


def _out_of_time(case: cases.Case, missed: dict[str, str]) -> list[str]:
    """Events taken before older ones, and deadlines said to be missed by events that came in time."""
    taken = [mark for mark in case.trail if not mark.id]
    found = [
        f"{case.id}: {later.topic} is out of order"
        for earlier, later in itertools.pairwise(taken)
        if later.at < earlier.at - _TOLERANCE_US
    ]
    came = {mark.step: mark.at for mark in taken}
    for mark in case.trail:
        step = missed.get(mark.id, "")
        if step in came and came[step] < mark.at - _TOLERANCE_US:
            found.append(f"{case.id}: {step} came in time but its deadline counts as missed")
    return found

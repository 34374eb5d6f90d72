"""Programs of the simulated country that break and are mended, and the operators who release what they parked.

Called by `tests.simulation.history` every half second. Breaking and mending is the storm's; in the calm all is mended,
and operators release until nothing is parked.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from bus.message import Outgoing, Partition
from bus.middleware import parking
from bus.middleware.lanes import Parking
from bus.middleware.parking import Command
from tests.agents.faults import Faults, parked_rows, tell
from tests.agents.world import PARTITIONS, World
from tests.simulation.fund import FUND, Database

_KINDS = ("n", "r", "i", "b")
_OUTPUTS = ("portal.request.created.v1", "bus.deadline.missed.v1")


class Operators:
    """See the module.

    Args:
        world, faults, database: what breaks. cases: ids. chance: the seed's. met: counts what happened.
    """

    def __init__(
        self,
        world: World,
        faults: Faults,
        database: Database,
        *,
        cases: Sequence[str],
        chance: random.Random,
        met: Counter[str],
    ) -> None:
        self._world = world
        self._faults = faults
        self._database = database
        self._cases = cases
        self._chance = chance
        self._met = met
        self._acts = 0

    def meddle(self) -> None:
        """Perhaps something breaks, or is mended, or somebody releases a case."""
        chance, case = self._chance, self._chance.choice(self._cases)
        if chance.random() < 0.03:
            self._database.broken.add(case)
        if chance.random() < 0.03:
            kind = chance.choice((self._faults.events, self._faults.unread))
            kind.add(f"{chance.choice(_KINDS)}-{case}")
        if chance.random() < 0.02:
            self._faults.outputs.add((case, chance.choice(_OUTPUTS)))
        if chance.random() < 0.05:
            self._mend()
        if chance.random() < 0.1:
            self.release()

    def clear_up(self) -> None:
        """Mend all, release all."""
        self._mend()
        if self._chance.random() < 0.3:
            self.release()

    def release(self) -> None:
        """Release every case and key that is parked now."""
        self._acts += 1
        for case in sorted(
            {key.split(b"\0", 1)[0].removeprefix(b"!parked/").decode() for key in parked_rows(self._world)}
        ):
            self._met["releases of cases"] += 1
            tell(self._world, case, action=f"a{self._acts}-{case}", times=self._chance.choice((1, 1, 2)))
        for number in range(PARTITIONS):
            keys = {entry.record.key for entry in self.parked(number)}
            for key in sorted(key for key in keys if key is not None):
                self._met["releases of keys"] += 1
                self._command(number, key)

    def parked(self, number: int) -> Parking:
        """What the fund has parked on a partition."""
        state = Parking()
        for row in self._world.cluster.logs[Partition(parking.parked_topic(FUND), number)]:
            state.apply(row.key or b"", row.value)
        return state

    def _command(self, number: int, key: bytes) -> None:
        said = Command(
            id=f"a{self._acts}-{key.decode()}", do="release", topic=None, key=key, by="SYN", at=self._world.clock.now()
        )
        row = Outgoing(parking.command_key(said), parking.pack_command(said))
        self._world.cluster.store(Partition(parking.parked_topic(FUND), number), [row])

    def _mend(self) -> None:
        self._faults.mend()
        self._database.broken.clear()

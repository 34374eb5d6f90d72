"""Whatever fails, moves or dies: nothing is lost, order per key holds, other keys move, no commit passes a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial

import pytest

from bus.hold import Hold
from bus.member import Hand, Member
from bus.message import Partition, Record
from bus.middleware.lanes import Parking
from bus.parked_store import ParkedStore
from bus.pipeline import Attempt
from tests.bus.histories import Parts, live

SEEDS = 40


def test_no_history_goes_wrong_and_everything_that_can_happen_does() -> None:
    met: Counter[str] = Counter()
    for seed in range(SEEDS):
        world = live(seed)
        assert world.wrong == [], f"seed {seed}"
        met += world.met
        met["repeated"] += world.ledger.repeated
        met["events"] += sum(world.published.values())
    for what in ("joins", "crashes", "zombies", "releases", "parked", "repeated", "events"):
        assert met[what] > SEEDS / 2, met


class AcksBeforeTheCopy(Member):
    """Counts a record as dealt with although its copy is not stored yet."""

    def failed(self, hand: Hand, error: Exception, *, where: str) -> None:
        attempt = hand.attempt
        super().failed(hand, error, where=where)
        if hand.owed is not None and attempt is not None and attempt.entry is None:
            self._count(hand, 1)
            verdict = self._pipeline.judge(attempt, error)
            hand.owed = partial(self._hold.set_aside, attempt, verdict, where=where)  # type: ignore[arg-type]  # no Again


class QueuesNothing(Hold):
    """Later records of a parked key go to the handler."""

    def take(self, partition: Partition, records: Iterable[Record]) -> tuple[int, Attempt | None]:
        for record in records:
            return 0, self.pipeline.begin(record)
        return 0, None


class ReadsNothing(ParkedStore):
    """What was parked before is not read at assignment."""

    def own(self, partitions: frozenset[Partition]) -> None:
        super().own(partitions)
        self._parkings = {partition: Parking() for partition in partitions}


class ParksUnfenced(Member):
    """Does not ask whether the partition is still its own before it parks."""

    def _fence(self, partition: Partition) -> None:
        pass


@pytest.mark.parametrize(
    ("parts", "anomaly"),
    [
        (Parts(member=AcksBeforeTheCopy), "a commit passed"),
        (Parts(hold=QueuesNothing), "inversions"),
        (Parts(store=ReadsNothing), "is lost"),
        (Parts(member=ParksUnfenced), "a stranger parked"),
    ],
)
def test_without_a_guard_a_history_goes_wrong(parts: Parts, anomaly: str) -> None:
    assert any(anomaly in what for seed in range(SEEDS) for what in live(seed, parts=parts).wrong)

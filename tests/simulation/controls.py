"""Guards taken out one at a time, to see that the simulation would notice.

Used by `test_simulation`, and by hand: ``python -m tests.simulation --without fence``. Each entry names the guard, what
stands in its place, and words of the anomaly that must show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bus.message import Message, Outgoing, Partition, Record
from tests.agents import test_runner_controls as broken
from tests.simulation.blocking import FarConsumer
from tests.simulation.fund import Database
from tests.simulation.history import Parts
from tests.simulation.network import FarCaseLog, FarProducer


class NoFence(FarCaseLog, broken.NoFence):
    """A former owner may still write."""


class ResendsNothing(FarCaseLog, broken.ResendsNothing):
    """A new owner takes the last batch's outputs for sent."""


class IgnoresPositions(FarCaseLog, broken.IgnoresPositions):
    """A new owner reads its inputs from the beginning."""


class Forgetful(Database):
    """The mark of an event is not kept with its effect."""

    def pay(self, message: Message) -> None:
        """Pay, whatever was paid."""
        super().pay(message)
        self.marks.clear()


class AcksFirst(FarConsumer):
    """What was polled is committed before it is handled."""

    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        """Poll, then commit at once."""
        found = super().poll(max_records=max_records, timeout=timeout)
        if found:
            self.commit({Partition(r.topic, r.partition): r.offset + 1 for r in found})
        return found


class ForgetsAppends(FarProducer):
    """Some appends are acknowledged and not stored, as a leader without replicas forgets them when it dies."""

    async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        """Acknowledge; store most."""
        if self._weather.chance.random() < 0.02:
            return len(self._cluster.log(partition))
        return await super().append(partition, records)


CONTROLS: Mapping[str, tuple[Parts, str]] = {
    "fence": (Parts(case_log=NoFence), "is not closed"),
    "decision before its outputs": (
        Parts(runner=broken.SendsFirst, decider=broken.DecidesNewIds),
        "requests of one id each",
    ),
    "resending what is unconfirmed": (Parts(case_log=ResendsNothing), "was paid 0 times"),
    "positions and applied ids": (Parts(intake=broken.ForgetsEvents, case_log=IgnoresPositions), "dead letter"),
    "dedupe with the effect": (Parts(database=Forgetful), "was paid 2 times"),
    "commit after the effect": (Parts(consumer=AcksFirst), "was paid 0 times"),
    "replicated acknowledgement": (Parts(producer=ForgetsAppends), "does not stand where its receipt says"),
}

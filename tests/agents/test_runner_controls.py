"""Negative controls: each guard of the runner taken out alone, to see that the crash property would notice.

A guard whose absence leaves no anomaly is stated as such, with the guard that stands behind it: someone who removes
the other one learns here that nothing is left.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import structs

from agents import case_log
from agents.case import Case
from agents.case_log import MemoryCaseLog, Positions, Row, Stored
from agents.decide import Decider
from agents.decision import Decision
from agents.intake import Dead, Intake, Read
from agents.machine import Arrival, Emit
from agents.parked import PREFIX, Waiting
from agents.runner import Runner
from bus.message import Record
from bus.middleware.dead_letter import Failure
from tests.agents.crashes import anomalies

SEEDS = range(60)  # as many as `test_runner` looks at
_serial = itertools.count()


class SendsFirst(Runner):
    """Outputs leave before the decision behind them is durable."""

    async def _store(self, decisions: Mapping[int, Decision]) -> None:
        entries = [(n, *e) for n, decision in decisions.items() for e in decision.changes.items()]
        emits = [(n, c, emit) for n, c, e in entries if isinstance(e, Stored) for emit in e.pending]
        await self._outputs.send(await self._outputs.prepare(emits))
        await super()._store(decisions)


class DecidesNewIds(Decider):
    """An output gets another id each time it is decided."""

    def _keep(self, entry: Stored | None, after: Case, emits: Sequence[Emit]) -> None:
        super()._keep(entry, after, [structs.replace(e, id=f"{next(_serial):032x}") for e in emits])


class NewIds(Runner):
    """As its decider."""

    decider = DecidesNewIds


class NewIdsSentFirst(NewIds, SendsFirst):
    """Both."""


class ForgetsEvents(Intake):
    """No event is recognised when it comes again."""

    def read_all(self, records: Sequence[Record]) -> list[Read]:
        return [self._alone(record) for record in records]

    def read(self, record: Record, dead: list[Dead]) -> Arrival | None:
        arrival = super().read(record, dead)
        return None if arrival is None else structs.replace(arrival, fingerprint=f"{next(_serial):016x}")


class IgnoresPositions(MemoryCaseLog):
    """A new owner reads its inputs from the beginning."""

    async def load(self, number: int) -> list[tuple[int, bytes, bytes | None]]:
        rows = await super().load(number)
        return [
            (offset, key, case_log.pack_positions(Positions({}, case_log.unpack_positions(value or b"").rows)))
            if key == case_log.POSITIONS
            else (offset, key, value)
            for offset, key, value in rows
        ]


class WritesNoPositions(MemoryCaseLog):
    """Batches hold cases only."""

    async def append(self, batches: Mapping[int, Sequence[Row]]) -> None:
        await super().append({n: [row for row in rows if row[0] != case_log.POSITIONS] for n, rows in batches.items()})


class NoFence(MemoryCaseLog):
    """A former owner may still write."""

    async def append(self, batches: Mapping[int, Sequence[Row]]) -> None:
        for number in batches:
            self.owners[number] = self
        await super().append(batches)


class ResendsNothing(MemoryCaseLog):
    """A new owner takes the last batch's outputs for sent."""

    async def load(self, number: int) -> list[tuple[int, bytes, bytes | None]]:
        rows = await super().load(number)
        return [
            (offset, key, case_log.pack_positions(Positions(case_log.unpack_positions(value or b"").inputs, 0)))
            if key == case_log.POSITIONS
            else (offset, key, value)
            for offset, key, value in rows
        ]


class ParkedRowsApart(MemoryCaseLog):
    """What is parked is appended after the batch that moves the positions."""

    async def append(self, batches: Mapping[int, Sequence[Row]]) -> None:
        await super().append({n: [row for row in rows if not _is_parked(row)] for n, rows in batches.items()})
        apart = {n: [row for row in rows if _is_parked(row)] for n, rows in batches.items()}
        if any(apart.values()):
            await super().append(apart)


class ForgetsTheParked(MemoryCaseLog):
    """A new owner does not know what is parked."""

    async def load(self, number: int) -> list[tuple[int, bytes, bytes | None]]:
        return [row for row in await super().load(number) if not _is_parked(row[1:])]


class ForgetsTheSettled(MemoryCaseLog):
    """A new owner takes the tombstones of the last batch for sent."""

    async def load(self, number: int) -> list[tuple[int, bytes, bytes | None]]:
        rows = await super().load(number)
        return [(o, k, _unsettled(v or b"") if k == case_log.POSITIONS else v) for o, k, v in rows]


class Overtakes(Decider):
    """Later events of a parked case do not queue."""

    _blind = False

    def _held(self, case_id: str) -> bool:
        return not self._blind and super()._held(case_id)

    def _record(self, record: Record, arrival: Read) -> bool:
        self._blind = True
        try:
            return super()._record(record, arrival)
        finally:
            self._blind = False


class FiresWhileParked(Decider):
    """Timers of a parked case go on."""

    _blind = False

    def _held(self, case_id: str) -> bool:
        return not self._blind and super()._held(case_id)

    def _fire(self, moment: int) -> bool:
        self._blind = True
        try:
            return super()._fire(moment)
        finally:
            self._blind = False


class EndsAtABug(Decider):
    """A bug ends the process."""

    def _try(self, arrival: Arrival, record: Record) -> Failure | None:
        failure = super()._try(arrival, record)
        if failure is not None and failure.stage == "step":
            raise ZeroDivisionError
        return failure


class NeverTooLarge(Decider):
    """A case that no batch holds is tried again and again."""

    def _try(self, arrival: Arrival, record: Record) -> Failure | None:
        flags = dict(self._rules.too_large)
        self._rules.too_large.clear()
        failure = super()._try(arrival, record)
        self._rules.too_large.update(flags)
        return failure


class DropsWithoutALetter(Decider):
    """What an operator drops is gone."""

    def _give_up(self, waiting: Waiting) -> Failure | None:
        letters = len(self.decision.dead)
        failure = super()._give_up(waiting)
        del self.decision.dead[letters:]
        return failure


def _is_parked(row: Sequence[Any]) -> bool:
    return bool(row[0].startswith(PREFIX))


def _unsettled(value: bytes) -> bytes:
    positions = case_log.unpack_positions(value)
    return case_log.pack_positions(Positions(positions.inputs, positions.rows))


async def noticed(words: str, **without: Any) -> bool:
    """Whether some history shows an anomaly with these words."""
    for seed in SEEDS:
        if any(words in said for said in await anomalies(seed, **without)):
            return True
    return False


async def harmless(**without: Any) -> bool:
    """Whether no history shows an anomaly."""
    return not [said for seed in SEEDS[:10] for said in await anomalies(seed, **without)]


async def test_parked_rows_outside_the_batch_are_lost_with_the_worker() -> None:
    assert await noticed("is not closed", case_log=ParkedRowsApart, trouble=True)


async def test_a_queue_that_a_new_owner_does_not_rebuild_is_lost() -> None:
    assert await noticed("is not closed", case_log=ForgetsTheParked, trouble=True)


async def test_rows_of_operators_stay_when_their_tombstones_are_not_sent_again() -> None:
    assert await noticed("not settled", case_log=ForgetsTheSettled, trouble=True)


async def test_without_a_queue_later_events_overtake_the_parked_one() -> None:
    assert await noticed("out of order", decider=Overtakes, trouble=True)


async def test_timers_that_fire_while_a_case_is_parked_blame_who_was_in_time() -> None:
    assert await noticed("its deadline counts as missed", decider=FiresWhileParked, trouble=True)


async def test_without_parking_a_bug_ends_the_worker_again_and_again() -> None:
    assert await noticed("a worker ended: ZeroDivisionError", decider=EndsAtABug, trouble=True)


async def test_without_parking_a_case_that_grew_too_large_ends_the_worker() -> None:
    assert await noticed("a worker ended: BusError", decider=NeverTooLarge, trouble=True)


async def test_without_a_letter_what_an_operator_drops_is_lost() -> None:
    assert await noticed("is not closed", decider=DropsWithoutALetter, trouble=True)


async def test_outputs_that_leave_before_the_append_become_two_events() -> None:
    assert await noticed("requests of one id each", runner=SendsFirst)


async def test_without_the_memory_of_applied_events_and_the_positions_an_event_counts_twice() -> None:
    assert await noticed("dead letter", intake=ForgetsEvents, case_log=IgnoresPositions, told_again=False)


async def test_without_the_memory_of_applied_events_one_told_twice_is_taken_twice() -> None:
    assert await noticed("dead letter", intake=ForgetsEvents)


async def test_positions_alone_keep_a_restart_from_counting_twice() -> None:
    assert await harmless(intake=ForgetsEvents, told_again=False)


async def test_without_a_positions_row_a_clean_restart_reads_all_again() -> None:
    assert await noticed("is read again from 0", case_log=WritesNoPositions)


async def test_without_a_positions_row_only_the_memory_of_applied_events_saves_the_cases() -> None:
    assert await noticed("dead letter", case_log=WritesNoPositions, intake=ForgetsEvents, told_again=False)


async def test_without_the_fence_a_worker_that_wakes_up_undoes_what_its_successor_did() -> None:
    assert await noticed("is not closed", case_log=NoFence)


async def test_outputs_not_resent_after_a_crash_are_lost() -> None:
    assert await noticed("requests of one id each", case_log=ResendsNothing)


async def test_ids_made_anew_are_harmless_as_long_as_nothing_leaves_before_its_id_is_durable() -> None:
    assert await harmless(runner=NewIds)


async def test_ids_made_anew_and_outputs_that_leave_before_the_append_become_many_events() -> None:
    assert await noticed("requests of one id each", runner=NewIdsSentFirst)

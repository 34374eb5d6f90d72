"""The workflow runner: decide, fence, send. Host-neutral; both hosts hand it what they fetched since the last unit.

For each unit: (1) take the records that are in time order and step their cases, in memory and pure; (2) wait for the
outputs of the unit before; (3) append per case partition one fenced batch with the changed cases and the input
positions, building the outputs meanwhile; (4) keep the result and start sending its outputs, while the next unit is
being stepped. A crash anywhere repeats from the last batch: positions and applied ids refuse what was taken,
deterministic ids make a repeated output the same event. The traps it avoids: an output that leaves before its decision
is durable (topics interleave otherwise after a crash); a dead letter lost between batch and send (it is stored first, a
repeat carries the same position).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from agents import case as cases
from agents import pace, trace
from agents import shelf as shelves
from agents.case_log import CaseLog, Marker, Row, Stored, positions_row, size_of
from agents.decide import Decider, idle
from agents.decision import Decision, Rules, said
from agents.decision import place as place_of
from agents.graph import Graph
from agents.hot import Hot
from agents.intake import Intake
from agents.outputs import Outputs, Places, Ready, Said
from agents.parked import GRACE_MS, TIMER
from agents.shelf import Entry, Shelf
from agents.unit import Fetched, Lane, Merge
from bus.errors import BusError, Fenced
from bus.message import Partition, Record
from bus.ports import Clock
from schemas.envelope import to_us

_log = logging.getLogger(__name__)
_AT_ONCE = 4  # partitions taken over side by side: while one waits for a broker, another is read
_HAND_OVER = 8  # turns of the loop until the client has written what it was given: deciding holds the loop for long
_MOST_TRIES = 2  # of work that is too large alone: then its case is parked, then its event is a dead letter
QUIET_US = 1_000_000
UNIT_S = 20.0  # a unit that hangs ends the process before the group's rebalance timeout of 30 s does worse (F20)
_SHARE_S = 5.0  # after so long a unit leaves the rest to the next: a backlog of any length is no unit that hangs
MARKER_LIFE_US = 35 * 86_400_000_000  # longest input retention (30 days) and five for a redrive

Floor = Callable[[Sequence[Partition]], Awaitable[dict[Partition, int]]]
_Found = tuple[dict[Partition, int], Shelf]  # where its inputs begin at the earliest, and its cases


class Runner:
    """Steps the cases of the partitions it owns.

    Args:
        graphs: versions of one process by hash; the first is the one new cases open on.
        intake: decodes records into arrivals.
        log: the durable case log. outputs: where emitted events, archives and dead letters go.
        clock: wall time, for the patience of the merge and the life of markers.
        owner: this process's name, written into barriers.
    """

    decider: ClassVar[type[Decider]] = Decider

    def __init__(
        self, graphs: Mapping[str, Graph], *, intake: Intake, log: CaseLog, outputs: Outputs, clock: Clock, owner: str
    ) -> None:
        self._graph = next(iter(graphs.values()))
        self._rules = Rules(dict(graphs), self._graph, intake, outputs)
        self._log = log
        self._outputs = outputs
        self._clock = clock
        self._owner = owner
        self._shelves: dict[int, Shelf] = {}
        self._merge = Merge()
        self._sent: dict[int, dict[str, Stored]] = {}  # what `_sending` sends: case partition -> case id -> entry
        self._sending: asyncio.Task[Places] | None = None
        self._settled: dict[int, Sequence[bytes]] = {}  # rows of `<group>.parked` whose tombstones it sends as well
        self._markers: dict[int, dict[str, Marker]] = {}  # archived cases whose markers the next batch will carry
        self._covered: dict[Partition, int] = {}  # positions of the last stored unit
        self._confirmed: dict[Partition, int] = {}  # the same, once its outputs are acknowledged
        self._fed: frozenset[Partition] = frozenset()
        self._stored_at = 0
        self._limit = pace.TAKE
        self._busy = asyncio.Lock()  # hosts call from more than one task; a unit is never cut into by a takeover

    async def assigned(
        self, numbers: Sequence[int], *, floor: Floor, still_mine: Callable[[], bool]
    ) -> dict[Partition, int]:
        """Take over case partitions: fence, recover, resend what stands unconfirmed.

        Args:
            numbers: every case partition now owned; what was held before is dropped and read again.
            floor: for topic partitions, where to start when the log knows no position; the first stored offset when
                retention has passed the position. It leaves out what is not assigned: beside a worker of a version
                that listens to fewer topics, a number's topics may go to two members; only who has all the topics
                of events owns it, and commands wait until one member has both.
            still_mine: asked before each claim; False means another rebalance is under way, and going on would fence
                the rightful owner (seen in a run: research/faust-host.md 2).

        Returns:
            Where each input must be read from.

        Raises:
            Fenced: when `still_mine` turns False. Damaged, Unreachable.
        """
        async with self._whole():
            await self._release()
            return await self._assigned(numbers, floor, still_mine)

    async def _assigned(
        self, numbers: Sequence[int], floor: Floor, still_mine: Callable[[], bool]
    ) -> dict[Partition, int]:
        hot = Hot()
        seeks: dict[Partition, int] = {}
        gate = asyncio.Semaphore(_AT_ONCE)

        async def recovered(number: int) -> _Found | None:
            async with gate:
                return await self._recovered(number, floor, still_mine, hot)

        recovering = [asyncio.create_task(recovered(number)) for number in numbers]
        try:
            for number, found in zip(numbers, await asyncio.gather(*recovering), strict=True):
                if found is not None:
                    seeks.update(self._keep(number, *found))
        finally:
            for task in recovering:
                task.cancel()
            await asyncio.gather(*recovering, return_exceptions=True)  # none claims anything after a failure
        self._fed = frozenset(seeks)
        self._covered = dict(seeks)
        self._confirmed = dict(seeks)
        self._stored_at = to_us(self._clock.now())
        await self._start_sending(await self._outputs.prepare(said(self._sent)))
        return seeks

    async def _recovered(self, number: int, floor: Floor, still_mine: Callable[[], bool], hot: Hot) -> _Found | None:
        """Claim and read one partition; None: it is not ours."""
        floors = await floor([Partition(topic, number) for topic in sorted(self.inputs)])
        if not self._graph.listens <= {partition.topic for partition in floors}:
            return None
        if not still_mine():
            raise Fenced("the assignment changed while it was being taken over.")
        await self._log.claim([number], self._owner)
        if not still_mine():
            raise Fenced("the assignment changed while it was being taken over.")
        return floors, shelves.recover(await self._log.load(number), opens_on=self._graph.opens_on, hot=hot)

    def _keep(self, number: int, floors: Mapping[Partition, int], shelf: Shelf) -> dict[Partition, int]:
        """Hold a partition that was read; where its inputs must be read from."""
        known = shelf.positions
        shelf.positions = {t: max(known.get(t, 0), floors.get(Partition(t, number), 0)) for t in self.inputs}
        self._shelves[number] = shelf
        self._merge.lanes[number] = Lane(
            dict(shelf.positions), self._graph.opens_on, GRACE_MS, aside=self._outputs.told
        )
        self._settled[number] = shelf.settled
        self._sent[number] = {c: e for c in shelf.unconfirmed if isinstance(e := shelf.get(c), Stored)}
        return {p: shelf.positions[p.topic] for p in floors}

    async def released(self) -> None:
        """Give up every partition; outputs under way are finished first (their decisions are durable)."""
        async with self._whole():
            await self._release()

    @asynccontextmanager
    async def _whole(self) -> AsyncIterator[None]:
        """One thing at a time, and what fails or is cut short is dropped whole.

        A rebalance may come between a failure and the end of its process. It would confirm events that were taken off
        their queues and never stored, or outputs that nobody has sent.
        """
        async with self._busy:
            try:
                yield
            except BaseException:
                self._drop()
                raise

    async def _release(self) -> None:
        await self._settle({})
        self._drop()

    def _drop(self) -> None:
        self._stored_at = 0
        self._shelves.clear()
        self._merge.lanes.clear()
        self._sent.clear()
        self._settled.clear()
        self._rules.too_large.clear()
        self._outputs.forget()
        self._markers.clear()
        self._covered.clear()
        self._confirmed.clear()

    @property
    def inputs(self) -> frozenset[str]:
        """The topics to join the group with: of events, and of what operators say of this group's events."""
        return self._graph.listens | {self._outputs.told}

    @property
    def numbers(self) -> tuple[int, ...]:
        """The case partitions it owns."""
        return tuple(self._shelves)

    @property
    def standing(self) -> tuple[int, int]:
        """For ``/metrics``: cases that are parked on the partitions it owns, dead letters it has written."""
        return sum(len(shelf.parked) for shelf in self._shelves.values()), self._outputs.letters

    def committable(self) -> dict[Partition, int]:
        """Next offset per input whose effects are stored and whose outputs are acknowledged."""
        return {partition: offset for partition, offset in self._confirmed.items() if partition in self._fed}

    def full(self) -> frozenset[Partition]:
        """Inputs that hold enough records in memory; fetch the others first."""
        return frozenset(self._merge.full())

    async def handle(self, *fetches: Fetched) -> None:
        """Take one unit in: the fetches since the last one. Any exception must end the process (F4).

        What is left of a long backlog (many timers due at the end of one day) is taken with the next unit.

        Raises:
            Hole, Fenced, Damaged, Unreachable, Refused; TimeoutError after `UNIT_S`.
        """
        async with self._whole(), asyncio.timeout(UNIT_S):
            for fetched in fetches:
                self._merge.add(fetched)
            loop = asyncio.get_running_loop()
            enough = loop.time() + _SHARE_S
            while loop.time() < enough and (decisions := self._decide()):
                await self._store(decisions)
            if self._sending is None or self._sending.done():
                await self._rest()

    async def finish(self) -> None:
        """Wait for the outputs under way and note them as confirmed, so a clean restart repeats nothing."""
        async with self._whole():
            await self._settle({})
            if self._shelves:
                await self._confirm()

    def _decide(self) -> dict[int, Decision]:
        now = self._clock.now()
        decisions = {
            number: self.decider(self._rules, shelf, lane, number=number, limit=self._limit, now=now).decide()
            for number, shelf in self._shelves.items()
            if not idle(self._rules, shelf, lane := self._merge.lanes[number])
        }
        return {number: decision for number, decision in decisions.items() if not decision.empty}

    async def _store(self, decisions: Mapping[int, Decision]) -> None:
        """Store decisions and start their outputs; the records of a batch that is too large are given back."""
        sent = dict(self._sent)
        places = await self._settle(decisions)
        batches: dict[int, list[Row]] = {}
        kept: dict[int, Decision] = {}
        sizes: list[tuple[int, int]] = []
        for number, decision in decisions.items():
            before = sent.get(number, {})
            for case_id, entry in decision.changes.items():
                if isinstance(entry, Stored) and case_id in before:
                    cases.place(entry.case, len(before[case_id].pending), places)
            rows = self._rows(number, decision)
            if size_of(rows) > self._log.batch_bytes and self._markers.get(number):
                await self._store_markers(number)
                rows = self._rows(number, decision)
            sizes.append((max(1, len(decision.work)), size := size_of(rows)))
            if size <= self._log.batch_bytes:
                batches[number], kept[number] = rows, decision
            else:
                self._shrink(number, decision)
                for case_id in decision.changes.keys() & before.keys():
                    self._shelves[number].acknowledge(case_id, before[case_id], places)
        await self._outputs.dead([letter for decision in kept.values() for letter in decision.dead])
        ready = await self._append(batches, said({number: decision.stored for number, decision in kept.items()}))
        for number, decision in kept.items():
            self._install(number, decision, batches[number])
        await self._start_sending(ready)
        self._limit = pace.next_limit(self._limit, sizes, self._log.batch_bytes)
        if len(kept) == len(decisions):
            self._rules.too_large.clear()

    async def _append(self, batches: Mapping[int, Sequence[Row]], emits: Sequence[Said]) -> Ready:
        """Append the batches; meanwhile, build what may leave once they are stored."""
        appending = asyncio.create_task(self._log.append(batches))
        try:
            ready = await self._outputs.prepare(emits)
            await appending
        finally:
            appending.cancel()
        return ready

    def _rows(self, number: int, decision: Decision) -> list[Row]:
        """The rows of one batch, its positions last."""
        entries: dict[str, Entry | None] = {**self._markers.get(number, {}), **decision.changes}
        shelf = self._shelves[number]
        rows = [row for case_id, entry in entries.items() for row in shelf.rows(case_id, entry)]
        rows += [(key, None) if waiting is None else waiting.row() for key, waiting in decision.rows.items()]
        end = positions_row(self._merge.lanes[number].positions, len(rows) + 1, decision.settled)
        if self._graph.hash not in shelf.processes:
            process = trace.describe(self._graph)
            decision.described = size_of([*rows, process, end]) <= self._log.batch_bytes
            rows += [process] if decision.described else []
        return [*rows, positions_row(self._merge.lanes[number].positions, len(rows), decision.settled)]

    async def _store_markers(self, number: int) -> None:
        """Markers that leave no room beside them, in batches of their own under the positions of the last batch."""
        shelf, markers = self._shelves[number], self._markers.pop(number)
        while markers:
            rows: list[Row] = []
            end = positions_row(shelf.positions, len(markers), ())
            for case_id, marker in list(markers.items()):
                found = shelf.rows(case_id, marker)
                if rows and size_of([*rows, *found, end]) > self._log.batch_bytes:
                    break
                rows += found
                shelf.put(case_id, dict(found), markers.pop(case_id))
            await self._log.append({number: [*rows, positions_row(shelf.positions, len(rows), ())]})

    def _shrink(self, number: int, decision: Decision) -> None:
        """Drop a decision that no batch holds; the next is smaller. What is alone too large parks its case.

        Raises:
            BusError: not even the row that would park it fits.
        """
        if len(decision.work) <= 1 and len(decision.told) <= 1:
            one = decision.work[0] if decision.work else None
            place = place_of(one) if isinstance(one, Record) else one
            tries = self._rules.too_large.get(place, 0) + 1 if place is not None else _MOST_TRIES + 1
            if place is None or tries > (1 if place[0] == TIMER else _MOST_TRIES):
                raise BusError(
                    f"case partition {number}: its case log takes no more than {self._log.batch_bytes:,} bytes.",
                    remedy="Raise max.message.bytes of the cases topic; the worker restarts from here.",
                )
            self._rules.too_large[place] = tries
        lane = self._merge.lanes[number]
        lane.give_back(decision.taken)
        lane.give_back(decision.told)
        self._shelves[number].restore(decision.fired)
        self._outputs.forget()  # its outputs are built again with the next one, or never

    def _install(self, number: int, decision: Decision, rows: Sequence[Row]) -> None:
        shelf, values = self._shelves[number], dict(rows)
        if decision.described:
            shelf.processes.add(self._graph.hash)
        for case_id, marker in self._markers.pop(number, {}).items():
            shelf.put(case_id, values, marker)
        for case_id, entry in decision.changes.items():
            shelf.put(case_id, values, entry)
        for case_id, queue in decision.queues.items():
            shelf.queue(case_id, queue)
        for alarm in decision.alarms:
            _log.error("case %s is parked: %s (stage %s)", alarm.case, alarm.error, alarm.stage)
        shelf.positions = dict(self._merge.lanes[number].positions)
        self._covered.update({Partition(topic, number): offset for topic, offset in shelf.positions.items()})
        self._sent[number] = decision.stored
        self._settled[number] = decision.settled
        self._stored_at = to_us(self._clock.now())

    async def _start_sending(self, ready: Ready) -> None:
        closed = {n: [e for e in sent.values() if e.case.closed] for n, sent in self._sent.items()}
        self._sending = asyncio.create_task(self._send(ready, closed, dict(self._settled)))
        for _ in range(_HAND_OVER):
            await asyncio.sleep(0)

    async def _send(
        self, ready: Ready, closed: Mapping[int, Sequence[Stored]], settled: Mapping[int, Sequence[bytes]]
    ) -> Places:
        places = await self._outputs.send(ready)
        for entries in closed.values():
            for entry in entries:
                cases.place(entry.case, len(entry.pending), places)
        await self._outputs.archive({number: [entry.case for entry in found] for number, found in closed.items()})
        await self._outputs.settle(settled)
        return places

    async def _settle(self, decisions: Mapping[int, Decision]) -> Places:
        """Wait for the outputs under way; note them, but of cases that `decisions` replace; closed ones shrink."""
        if self._sending is None:
            return {}
        sending, self._sending = self._sending, None
        places = await sending
        expires = to_us(self._clock.now()) + MARKER_LIFE_US
        for number, sent in self._sent.items():
            shelf = self._shelves[number]
            replaced = decisions[number].changes if number in decisions else ()
            for case_id, entry in sent.items():
                if case_id not in replaced:
                    shelf.acknowledge(case_id, entry, places)
                if entry.case.closed:
                    marker = Marker(entry.case.graph, tuple(cases.whole_applied(entry.case)), expires)
                    self._markers.setdefault(number, {})[case_id] = marker
        self._sent.clear()
        self._settled.clear()
        self._confirmed.update(self._covered)
        return places

    async def _rest(self) -> None:
        """Nothing to decide: confirm what was sent, once it has been quiet for a while."""
        await self._settle({})
        for number, lane in self._merge.lanes.items():
            self._confirmed.update({Partition(topic, number): offset for topic, offset in lane.positions.items()})
        if self._stored_at and to_us(self._clock.now()) - self._stored_at > QUIET_US:
            await self._confirm()

    async def _confirm(self) -> None:
        """Append markers and positions alone: the last batch's outputs are then known to be sent."""
        for number in self._shelves:
            if size_of(self._rows(number, Decision())) > self._log.batch_bytes and self._markers.get(number):
                await self._store_markers(number)
        nothing = {number: Decision() for number in self._shelves}
        batches = {number: self._rows(number, decision) for number, decision in nothing.items()}
        await self._log.append(batches)
        for number, decision in nothing.items():
            self._install(number, decision, batches[number])
        self._sent.clear()
        self._stored_at = 0

"""The workflow runner: decide, fence, send. Host-neutral; both hosts hand it what they fetched since the last unit.

For each unit: (1) take the records that are in time order and step their cases, in memory and pure; (2) wait for the
outputs of the unit before; (3) append per case partition one fenced batch with the changed cases and the input
positions; (4) keep the result and start sending its outputs, while the next unit is being stepped. A crash anywhere
repeats from the last batch: positions and applied ids refuse what was taken, deterministic ids make a repeated output
the same event. The traps it avoids: an output that leaves before its decision is durable (topics interleave otherwise
after a crash); a dead letter lost between batch and send (it is stored first, a repeat carries the same position).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agents import case_log, machine, trace
from agents import shelf as shelves
from agents.case import Case, Mark
from agents.case_log import CaseLog, Marker, Positions, Row, Stored
from agents.graph import Graph
from agents.intake import Dead, Intake
from agents.machine import Arrival, Emit, Rejected
from agents.outputs import Outputs, Places
from agents.shelf import Entry, Shelf
from agents.unit import Fetched, Lane, Merge
from bus.errors import BusError, Fenced, Refused
from bus.message import Partition, Record
from bus.middleware.retry import Kind
from bus.ports import Clock
from schemas.envelope import to_us

_log = logging.getLogger(__name__)
TAKE = 500  # records of one case partition decided at once; bounds a batch and the latency behind it
PATIENCE_MS = 2_000
GRACE_MS = 1_000  # brokers' clocks differ by less: an event may be stamped before the one that opens its case
_GRACE_US = GRACE_MS * 1_000
QUIET_US = 1_000_000
UNIT_S = 20.0  # a unit that hangs ends the process before the group's rebalance timeout of 30 s does worse (F20)
MARKER_LIFE_US = 35 * 86_400_000_000  # longest input retention (30 days) and five for a redrive

Floor = Callable[[Sequence[Partition]], Awaitable[dict[Partition, int]]]


@dataclass(slots=True)
class _Decision:
    """What one partition's part of a unit comes to; nothing of it is kept before the batch is stored.

    Args:
        taken: the records it covers. changes: new entries by case id. dead: records for the dead letters.
        fired: timers taken off the heap, put back when the decision is dropped.
    """

    taken: list[Record]
    changes: dict[str, Entry | None] = field(default_factory=dict)
    dead: list[Dead] = field(default_factory=list)
    fired: list[tuple[int, str]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not self.taken and not self.changes


class Runner:
    """Steps the cases of the partitions it owns.

    Args:
        graphs: versions of one process by hash; the first is the one new cases open on.
        intake: decodes records into arrivals.
        log: the durable case log. outputs: where emitted events, archives and dead letters go.
        clock: wall time, for the patience of the merge and the life of markers.
        owner: this process's name, written into barriers.
    """

    def __init__(
        self, graphs: Mapping[str, Graph], *, intake: Intake, log: CaseLog, outputs: Outputs, clock: Clock, owner: str
    ) -> None:
        self._graphs = dict(graphs)
        self._graph = next(iter(graphs.values()))
        self._intake = intake
        self._log = log
        self._outputs = outputs
        self._clock = clock
        self._owner = owner
        self._shelves: dict[int, Shelf] = {}
        self._merge = Merge()
        self._sent: dict[int, dict[str, Stored]] = {}  # what `_sending` sends: case partition -> case id -> entry
        self._sending: asyncio.Task[Places] | None = None
        self._markers: dict[int, dict[str, Marker]] = {}  # archived cases whose markers the next batch will carry
        self._covered: dict[Partition, int] = {}  # positions of the last stored unit
        self._confirmed: dict[Partition, int] = {}  # the same, once its outputs are acknowledged
        self._stored_at = 0
        self._busy = asyncio.Lock()  # hosts call from more than one task; a unit is never cut into by a takeover

    async def assigned(
        self, numbers: Sequence[int], *, floor: Floor, still_mine: Callable[[], bool]
    ) -> dict[Partition, int]:
        """Take over case partitions: fence, recover, resend what stands unconfirmed.

        Args:
            numbers: every case partition now owned; what was held before is dropped and read again.
            floor: for topic partitions, where to start when the log knows no position; the first stored offset when
                retention has passed the position.
            still_mine: asked before each claim; False means another rebalance is under way, and going on would fence
                the rightful owner (seen in a run: research/faust-host.md 2).

        Returns:
            Where each input must be read from.

        Raises:
            Fenced: when `still_mine` turns False. Damaged, Unreachable.
        """
        async with self._busy:
            return await self._assigned(numbers, floor, still_mine)

    async def _assigned(
        self, numbers: Sequence[int], floor: Floor, still_mine: Callable[[], bool]
    ) -> dict[Partition, int]:
        await self._release()
        seeks: dict[Partition, int] = {}
        for number in numbers:
            if not still_mine():
                raise Fenced("the assignment changed while it was being taken over.")
            await self._log.claim([number], self._owner)
            if not still_mine():
                raise Fenced("the assignment changed while it was being taken over.")
            shelf = shelves.recover(await self._log.load(number))
            inputs = [Partition(topic, number) for topic in sorted(self._graph.listens)]
            floors = await floor(inputs)
            shelf.positions = {p.topic: max(shelf.positions.get(p.topic, 0), floors[p]) for p in inputs}
            self._shelves[number] = shelf
            self._merge.lanes[number] = Lane(dict(shelf.positions), self._graph.opens_on, GRACE_MS)
            seeks.update({p: shelf.positions[p.topic] for p in inputs})
            self._sent[number] = {c: e for c in shelf.unconfirmed if isinstance(e := shelf.get(c), Stored)}
        self._covered = dict(seeks)
        self._confirmed = dict(seeks)
        self._stored_at = to_us(self._clock.now())
        self._start_sending()
        return seeks

    async def released(self) -> None:
        """Give up every partition; outputs under way are finished first (their decisions are durable)."""
        async with self._busy:
            await self._release()

    async def _release(self) -> None:
        await self._settle()
        self._shelves.clear()
        self._merge.lanes.clear()
        self._sent.clear()
        self._outputs.forget()
        self._markers.clear()
        self._covered.clear()
        self._confirmed.clear()

    def committable(self) -> dict[Partition, int]:
        """Next offset per input whose effects are stored and whose outputs are acknowledged."""
        return dict(self._confirmed)

    def full(self) -> frozenset[Partition]:
        """Inputs that hold enough records in memory; fetch the others first."""
        return frozenset(self._merge.full())

    async def handle(self, *fetches: Fetched) -> None:
        """Take one unit in: the fetches since the last one. Any exception must end the process (F4).

        Raises:
            Hole, Fenced, Damaged, Unreachable, Refused; TimeoutError after `UNIT_S`.
        """
        async with self._busy, asyncio.timeout(UNIT_S):
            for fetched in fetches:
                self._merge.add(fetched)
            limit = TAKE
            while decisions := self._decide_all(limit):
                limit = TAKE if await self._store(decisions) else max(1, limit // 8)
            if self._sending is None or self._sending.done():
                await self._rest()

    async def finish(self) -> None:
        """Wait for the outputs under way and note them as confirmed, so a clean restart repeats nothing."""
        async with self._busy:
            await self._settle()
            if self._shelves:
                await self._confirm()

    # -- deciding: in memory, nothing leaves ------------------------------------------------------------------------

    def _decide_all(self, limit: int) -> dict[int, _Decision]:
        now_ms = to_us(self._clock.now()) // 1_000
        decisions = {number: self._decide(number, limit, now_ms) for number in self._shelves}
        return {number: decision for number, decision in decisions.items() if not decision.empty}

    def _decide(self, number: int, limit: int, now_ms: int) -> _Decision:
        shelf = self._shelves[number]
        lane = self._merge.lanes[number]
        taken = lane.take(limit, now=now_ms, patience_ms=PATIENCE_MS)
        decision = _Decision(taken)
        for index, record in enumerate(taken):
            arrival = self._intake.read(record, decision.dead)
            if arrival is None:
                continue
            # An opening is taken ahead of older records of other cases, whose timers must not fire before those.
            lead = _GRACE_US if arrival.topic == self._graph.opens_on and self._graph.time == "append" else 0
            if not self._fire(shelf, decision, arrival.at - 1 - lead, limit):
                lane.give_back(taken[index:])
                decision.taken = taken[:index]
                return decision
            try:
                self._step(shelf, decision, arrival)
            except Rejected as rejected:
                if rejected.reason == "unopened" and lane.may_still_come(
                    self._graph.opens_on, record.timestamp + GRACE_MS
                ):
                    lane.give_back(taken[index:])
                    decision.taken = taken[:index]
                    break
                decision.dead.append(Dead(record, "case", rejected.reason, Kind.REFUSED))
            except Refused as refused:
                decision.dead.append(Dead(record, "emit", refused.field, Kind.BUG))
        reached = lane.time()
        if reached is not None and self._graph.time == "append":
            self._fire(shelf, decision, reached * 1_000, limit)
        return decision

    def _step(self, shelf: Shelf, decision: _Decision, arrival: Arrival) -> None:
        entry = shelves.merged(shelf, decision.changes, arrival.case)
        if isinstance(entry, Marker):
            if arrival.fingerprint not in entry.applied:
                raise Rejected("late", f"case {arrival.case} is closed")
            return
        before = None if entry is None else entry.case
        after, emits = machine.step(self._graph if before is None else self._graph_of(before), before, arrival)
        if after is not before:
            self._keep(decision, entry, after, emits)

    def _fire(self, shelf: Shelf, decision: _Decision, moment: int, limit: int) -> bool:
        """Fire what is due at or before `moment` (microseconds), in (due, case) order.

        Returns False when `limit` timers were taken: many fall due at the end of one day, and the next batch goes on.
        """
        for due, case_id in shelf.due(moment):
            decision.fired.append((due, case_id))
            entry = shelves.merged(shelf, decision.changes, case_id)
            if isinstance(entry, Marker):
                decision.changes[case_id] = None
            elif entry is not None:
                after, emits = machine.due(self._graph_of(entry.case), entry.case, moment)
                try:
                    if after is not entry.case:
                        self._keep(decision, entry, after, emits)
                except Refused as refused:  # no record to dead-letter; ending the process would repeat it for ever
                    _log.error("case %s: what its timer puts out is refused (%s)", case_id, refused.field)
            if len(decision.fired) >= limit:
                return False
        return True

    def _keep(self, decision: _Decision, entry: Stored | None, after: Case, emits: Sequence[Emit]) -> None:
        self._outputs.check(emits)
        earlier = entry.pending if entry is not None and after.id in decision.changes else ()
        # `after` is this unit's own copy. Offset -1 stands until the output is acknowledged.
        after.trail.extend(Mark(e.step, e.topic, -1, -1, e.at, e.id) for e in emits)
        decision.changes[after.id] = Stored(after, earlier + tuple(emits))

    def _graph_of(self, case: Case) -> Graph:
        graph = self._graphs.get(case.graph)
        if graph is None:
            raise BusError(
                f"case {case.id} runs on another version of {self._graph.process} ({case.graph[:12]}).",
                remedy="Give the older process file to the worker as well.",
            )
        return graph

    # -- storing: the fence, then the outputs -----------------------------------------------------------------------

    async def _store(self, decisions: Mapping[int, _Decision]) -> bool:
        """Store decisions and start their outputs; False when a batch was too large and its records were given back."""
        sent = {case_id: entry.pending for found in self._sent.values() for case_id, entry in found.items()}
        places = await self._settle()
        batches: dict[int, list[Row]] = {}
        kept: dict[int, _Decision] = {}
        for number, decision in decisions.items():
            for case_id, entry in decision.changes.items():
                if isinstance(entry, Stored) and (emits := sent.get(case_id)):
                    _place(entry.case, emits, places)
            rows = self._rows(number, decision.changes)
            if sum(len(key) + len(value or b"") + 16 for key, value in rows) <= self._log.batch_bytes:
                batches[number], kept[number] = rows, decision
            elif not self._shrink(number, decision):
                raise BusError(
                    f"case partition {number}: one event makes a case larger than the log takes.",
                    remedy="Raise max.message.bytes of the cases topic; the worker restarts from here.",
                )
        await self._outputs.dead([letter for decision in kept.values() for letter in decision.dead])
        if batches:
            await self._log.append(batches)
        for number, decision in kept.items():
            self._install(number, decision)
        self._start_sending()
        return len(kept) == len(decisions)

    def _rows(self, number: int, changes: Mapping[str, Entry | None]) -> list[Row]:
        entries: dict[str, Entry | None] = {**self._markers.get(number, {}), **changes}
        rows: list[Row] = [(c.encode(), None if e is None else case_log.pack(e)) for c, e in entries.items()]
        if self._graph.hash not in self._shelves[number].processes:
            rows.append(trace.describe(self._graph))
        positions = Positions(self._merge.lanes[number].positions, len(rows))
        return [*rows, (case_log.POSITIONS, case_log.pack_positions(positions))]

    def _shrink(self, number: int, decision: _Decision) -> bool:
        """Drop a decision; False when it covers a single record or timer and so cannot become smaller."""
        if len(decision.taken) + len(decision.fired) <= 1:
            return False
        self._merge.lanes[number].give_back(decision.taken)
        self._shelves[number].restore(decision.fired)
        return True

    def _install(self, number: int, decision: _Decision) -> None:
        shelf = self._shelves[number]
        shelf.processes.add(self._graph.hash)
        for case_id, marker in self._markers.pop(number, {}).items():
            shelf.put(case_id, marker)
        for case_id, entry in decision.changes.items():
            shelf.put(case_id, entry)
        lane = self._merge.lanes[number]
        self._covered.update({Partition(topic, number): offset for topic, offset in lane.positions.items()})
        self._sent[number] = {c: e for c, e in decision.changes.items() if isinstance(e, Stored)}
        self._stored_at = to_us(self._clock.now())

    def _start_sending(self) -> None:
        emits = [(c, emit) for sent in self._sent.values() for c, entry in sent.items() for emit in entry.pending]
        closed = {n: [e for e in sent.values() if e.case.closed] for n, sent in self._sent.items()}
        self._sending = asyncio.create_task(self._send(emits, closed))

    async def _send(self, emits: Sequence[tuple[str, Emit]], closed: Mapping[int, Sequence[Stored]]) -> Places:
        places = await self._outputs.send(emits)
        for entries in closed.values():
            for entry in entries:
                _place(entry.case, entry.pending, places)
        await self._outputs.archive({number: [entry.case for entry in found] for number, found in closed.items()})
        return places

    async def _settle(self) -> Places:
        """Wait for the outputs under way; then they are confirmed, and their closed cases shrink to markers."""
        if self._sending is None:
            return {}
        sending, self._sending = self._sending, None
        places = await sending
        expires = to_us(self._clock.now()) + MARKER_LIFE_US
        for number, sent in self._sent.items():
            shelf = self._shelves[number]
            for case_id, entry in sent.items():
                case = entry.case
                _place(case, entry.pending, places)
                shelf.entries[case_id] = Stored(case)
                if case.closed:
                    marker = Marker(case.graph, tuple(case.applied), expires)
                    self._markers.setdefault(number, {})[case_id] = marker
        self._sent.clear()
        self._confirmed.update(self._covered)
        return places

    async def _rest(self) -> None:
        """Nothing to decide: confirm what was sent, once it has been quiet for a while."""
        await self._settle()
        for number, lane in self._merge.lanes.items():
            self._confirmed.update({Partition(topic, number): offset for topic, offset in lane.positions.items()})
        if self._stored_at and to_us(self._clock.now()) - self._stored_at > QUIET_US:
            await self._confirm()

    async def _confirm(self) -> None:
        """Append markers and positions alone: the last batch's outputs are then known to be sent."""
        await self._log.append({number: self._rows(number, {}) for number in self._shelves})
        for number in self._shelves:
            self._install(number, _Decision([]))
        self._sent.clear()
        self._stored_at = 0


def _place(case: Case, emits: Sequence[Emit], places: Places) -> None:
    """Write into the case's trail where these outputs of it stand, now that they are acknowledged.

    From the end, and no further than the last of them: a long case must not cost more at each event.
    """
    trail = case.trail
    index, left = len(trail), len(emits)
    while left and index:
        index -= 1
        mark = trail[index]
        place = places.get(mark.id)
        if place is not None:
            left -= 1
            trail[index] = mark._replace(partition=place[0], offset=place[1])

"""The relay: what agencies have committed to their outbox goes to the bus, in order, with acknowledgement.

Run by ``agencybus connector run outbox-relay`` and beside the example agency. Each round reads the first rows in line,
sends those of each partition in order, waits for the replicated acknowledgement, then deletes what is acknowledged. A
crash between the two sends the same bytes under the same id again; readers keep one of two. The traps it avoids: a row
overtaken by a later one of its topic and case when a send fails, and one refused row that holds up all others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from bus.errors import BusError, OutcomeUnknown, Refused, Unreachable
from bus.message import Outgoing, Partition
from bus.partitioner import partition_for
from bus.ports import Clock, Producer
from connectors.outbox import record_of
from connectors.relay_rows import RelayRows
from schemas.envelope import to_ms
from schemas.errors import EnvelopeRefused

_log = logging.getLogger(__name__)
T = TypeVar("T")
BATCH = 500
LOOK_S = 0.2  # between two looks at an empty table
RETRY_MS = 30_000  # a refused row, and what stands behind it
_PAUSES_S = (0.1, 0.5, 2.0, 5.0)


@dataclass(slots=True)
class Counts:
    """What a relay has done: rows acknowledged, refusals met."""

    sent: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Round:
    """What became of the rows of one round: places acknowledged, and refused with the error's name."""

    sent: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    broken: BusError | None = None


class Relay:
    """Publishes the rows of one outbox. Bound to the running loop; the database has a thread of its own.

    Args:
        producer: started; where the records go.
        rows: the table.
        clock: for the time a refused row waits.
        stop: asked between rounds.
        look_s: seconds between two looks at an empty table.
    """

    def __init__(
        self, producer: Producer, rows: RelayRows, *, clock: Clock, stop: Callable[[], bool], look_s: float = LOOK_S
    ) -> None:
        self._producer = producer
        self._rows = rows
        self._clock = clock
        self._stop = stop
        self._look_s = look_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="agencybus-relay")
        self.counts = Counts()

    async def serve(self, *, idle_s: float | None = None) -> Counts:
        """Publish until `stop`; through outages of the broker and the database, which only make it wait.

        Args:
            idle_s: end after so many seconds in which nothing was in line that may be sent; 0 is at once.

        Raises:
            DBAPIError: there is no outbox, or another fault of the database that waiting does not mend.
        """
        failures = 0
        busy_at = _now()
        try:
            while not self._stop():
                try:
                    found = await self._round() if await self._db(self._rows.acquire) else 0
                    failures = 0
                except (Unreachable, OutcomeUnknown) as error:
                    await self._db(self._rows.release)  # another relay may have better luck
                    _log.warning("%s Nothing is lost; the outbox waits.", error)
                    await self._pause(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                    failures += 1
                    continue
                if found:
                    busy_at = _now()
                elif idle_s is not None and _now() - busy_at >= idle_s:
                    break
                else:
                    await self._pause(self._look_s)
        finally:
            await self._db(self._rows.release)
            self._thread.shutdown()
        return self.counts

    async def _round(self) -> int:
        """Read, send, settle; how many rows were read. Raises what broke the sending, after the rest is settled."""
        now = to_ms(self._clock.now())
        rows = await self._db(partial(self._rows.read, BATCH, now_ms=now))
        if not rows:
            return 0
        result = _Round()
        lanes = await self._lanes(rows, result)
        await asyncio.gather(*(self._send(place, lane, result) for place, lane in lanes.items()))
        await self._db(partial(self._rows.settle, result.sent, refused=result.refused, retry_ms=now + RETRY_MS))
        self.counts.sent += len(result.sent)
        self.counts.refused += len(result.refused)
        for place, name in result.refused.items():
            _log.error("Row %d of the outbox was refused (%s); it and what stands behind it waits.", place, name)
        if result.broken is not None:
            raise result.broken
        return len(rows)

    async def _lanes(self, rows: Sequence[Any], result: _Round) -> dict[Partition, list[tuple[Any, Outgoing]]]:
        """The rows by partition, in order; what can be sent nowhere is refused, and all behind it is left out."""
        lanes: dict[Partition, list[tuple[Any, Outgoing]]] = {}
        held: set[tuple[str, str]] = set()
        for row in rows:
            name = (row.aggregatetype, row.aggregateid)
            if name in held:
                continue
            try:
                record = record_of(row)
                count = await self._producer.partitions(row.aggregatetype)
            except (Refused, EnvelopeRefused, ValueError) as error:
                held.add(name)
                result.refused[row.seq] = type(error).__name__
                continue
            place = Partition(row.aggregatetype, partition_for(record.key or b"", count))
            lanes.setdefault(place, []).append((row, record))
        return lanes

    async def _send(self, place: Partition, lane: Sequence[tuple[Any, Outgoing]], result: _Round) -> None:
        """Append one partition's rows in order; the first that stays out keeps out all that follow it."""
        try:
            await self._producer.append(place, [record for _, record in lane])
            result.sent += [row.seq for row, _ in lane]
        except Refused as error:
            if len(lane) == 1:
                result.refused[lane[0][0].seq] = type(error.__cause__ or error).__name__
                return
            held: set[str] = set()
            for row, record in lane:  # find the rows the broker will not take; others of their case wait behind them
                if row.aggregateid not in held and result.broken is None:
                    await self._send(place, [(row, record)], result)
                    if row.seq in result.refused:
                        held.add(row.aggregateid)
        except (Unreachable, OutcomeUnknown) as error:
            result.broken = error

    async def _db(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not for long after a stop."""
        for _ in range(max(1, round(seconds / 0.1))):
            if self._stop():
                return
            await asyncio.sleep(min(seconds, 0.1))


def _now() -> float:
    return asyncio.get_running_loop().time()

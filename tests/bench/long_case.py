"""What an event of a long case costs: cases of so many events side by side, one event of each in a fetch.

Started by `tests.bench.growth`. The runner in process without a broker; its case log builds its batches and weighs
them. The trap it avoids: many events of a case in one fetch, which cost one record and hide how large it is.

Usage: python -m tests.bench.long_case EVENTS_OF_A_CASE
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from agents.worker import calm_collector
from bus.publish import Publication
from schemas.recorded import ActivityRecorded
from tests.bench.cluster import PARTITIONS
from tests.bench.in_process import Weighing, runner_of, take_over, units

CASES = 48
_START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def said(length: int, count: int) -> Iterator[Publication]:
    """The events of `count` cases of `length` events, the first of each, then the second of each, and so on."""
    for sequence in range(1, length + 1):
        event = ActivityRecorded(
            run="long", activity="Confirmation of receipt", sequence=sequence, last=sequence == length
        )
        moment = _START + timedelta(minutes=sequence)
        for number in range(count):
            yield Publication(event=event, case=f"long-{number:08d}", id=f"{number}-{sequence}", time=moment)


async def main(length: int) -> None:
    """Carry the cases from opening to end; print CPU seconds and bytes written to the case log."""
    log = Weighing()
    runner = runner_of("recorded", log, PARTITIONS)
    calm_collector()
    await take_over(runner, PARTITIONS)
    spent = 0.0
    for unit in units(said(length, CASES), PARTITIONS, at_once=CASES):
        begin = time.thread_time()
        await runner.handle(unit)
        spent += time.thread_time() - begin
    await runner.finish()
    json.dump({"cpu_s": spent, "bytes": log.written}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

"""Memory of open cases that were just worked on: each is opened, and takes one event more once all are open.

Started by `tests.bench.growth`. The runner in process without a broker; nothing it is given or writes is kept.

Usage: python -m tests.bench.worked_on CASES PARTITIONS
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Iterator
from itertools import islice

from agents.worker import calm_collector
from bus.publish import Publication
from tests.bench.in_process import Weighing, runner_of, take_over, units
from tests.bench.long_case import said
from tests.bench.resident import resident

_EVENTS = 2
_AT_ONCE = 1_000  # records of one fetch, as the hosts ask for
_WARM_UP = 1_000


async def main(count: int, partitions: int) -> None:
    """Work on the cases and print how many bytes of memory they took."""
    runner = runner_of("recorded", Weighing(), partitions)
    calm_collector()
    await take_over(runner, partitions)
    rest = units(_opened(count + _WARM_UP), partitions, at_once=_AT_ONCE)
    for unit in islice(rest, _WARM_UP // _AT_ONCE):
        await runner.handle(unit)
    before = resident()
    for unit in rest:
        await runner.handle(unit)
    await runner.finish()
    gc.collect()
    held = sum(len(shelf.entries) for shelf in runner._shelves.values()) - _WARM_UP
    json.dump({"bytes": resident() - before, "cases": held}, sys.stdout)


def _opened(count: int) -> Iterator[Publication]:
    """Events of cases that never end: the first of each, and then the second of each."""
    return islice(said(_EVENTS + 1, count), _EVENTS * count)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))

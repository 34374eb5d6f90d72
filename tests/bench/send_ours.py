"""Our publisher: typed events in, a receipt for each.

Usage: python -m tests.bench.send_ours BOOTSTRAP EVENTS RUN all|each
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from bus.message import Receipt
from bus.publish import Publication, Publisher
from bus.wiring import connect_async
from tests.bench import recorded
from tests.bench.meter import metered
from tests.bench.statistics import Void

AT_ONCE = 2_000  # tasks of "each": a busy gateway's open requests


async def main(bootstrap: str, events: int, run: str, way: str) -> None:
    said = list(recorded.publications(events, run=run))
    async with connect_async(agency="replay", bootstrap=bootstrap) as bus:
        publisher = bus.core.publisher
        await publisher.publish_all(said[:1])  # the topic's metadata; harmless, the same id is published again
        with metered():
            results = await (publisher.publish_all(said[1:]) if way == "all" else _each(publisher, said[1:]))
    if not all(isinstance(result, Receipt) for result in results):
        raise Void("not all were acknowledged")


async def _each(publisher: Publisher, said: list[Publication]) -> list[Receipt]:
    results: list[Receipt] = []
    for start in range(0, len(said), AT_ONCE):
        results += await asyncio.gather(
            *(
                publisher.publish(one.event, case=one.case, id=one.id, time=one.time)
                for one in said[start : start + AT_ONCE]
            )
        )
    return results


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))

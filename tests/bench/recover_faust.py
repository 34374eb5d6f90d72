"""The yardstick: stock Faust recovering a table from its changelog, default settings and the store in memory.

Started by `tests.bench.recovery`. The clock runs from the assignment of partitions, so joining the group is not
counted, to Faust's own notice that the table is recovered. The web server is off: it would take a port, and no time.

Usage: python -m tests.bench.recover_faust BOOTSTRAP APP PARTITIONS
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from typing import Any

import faust

from tests.bench.resident import resident

TABLE = "cases"


def changelog_of(app: str) -> str:
    """The topic Faust keeps the table in."""
    return f"{app}-{TABLE}-changelog"


def source_of(app: str) -> str:
    """The topic its agent reads."""
    return f"{app}-source"


async def main(bootstrap: str, name: str, partitions: int) -> None:
    """Recover and print seconds, CPU seconds, keys and bytes of memory."""
    app = faust.App(name, broker=f"kafka://{bootstrap}", web_enabled=False, datadir=f"/tmp/{name}")
    cases = app.Table(TABLE, default=list, partitions=partitions)
    recovered = asyncio.Event()
    told: dict[str, float] = {}

    @app.agent(app.topic(source_of(name), value_type=bytes))  # type: ignore[untyped-decorator]  # no complete types
    async def follow(stream: Any) -> None:
        async for _ in stream:
            pass

    @app.on_partitions_assigned.connect(weak=False)  # type: ignore[untyped-decorator]  # as above
    async def assigned(*_: Any, **__: Any) -> None:
        told.update(wall=time.perf_counter(), cpu=time.process_time(), memory=resident())

    @cases.on_recover  # type: ignore[untyped-decorator]  # as above
    async def done() -> None:
        recovered.set()

    await app.start()
    await recovered.wait()
    found = {"seconds": time.perf_counter() - told["wall"], "cpu_s": time.process_time() - told["cpu"]}
    gc.collect()
    found |= {"bytes": resident() - told["memory"], "cases": len(cases.data)}
    json.dump(found, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # Faust's own stop takes seconds and has nothing left to do


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

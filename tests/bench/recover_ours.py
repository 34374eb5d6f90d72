"""Our takeover: from an assignment of all case partitions to a runner that takes units, then the first touch of cases.

Started by `tests.bench.recovery` and `tests.bench.growth`. The runner, its case log on Kafka and uvloop are the
worker's own.

Usage: python -m tests.bench.recover_ours BOOTSTRAP GROUP PARTITIONS
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time

import uvloop

from agents.kafka_case_log import KafkaCaseLog
from agents.worker import calm_collector
from tests.bench.case_store import PROCESS
from tests.bench.in_process import runner_of, take_over
from tests.bench.resident import resident

_TOUCHED = 2_000  # cases, at most


async def main(bootstrap: str, group: str, partitions: int) -> None:
    """Take over and print seconds, CPU seconds, cases, bytes of memory and microseconds of a first touch."""
    log = KafkaCaseLog(bootstrap, group)
    await log.start()
    runner = runner_of(PROCESS, log, partitions)
    calm_collector()
    before = resident()
    wall, cpu = time.perf_counter(), time.process_time()
    await take_over(runner, partitions)
    told = {"seconds": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    gc.collect()
    told["bytes"] = resident() - before
    shelves = list(runner._shelves.values())
    told["cases"] = sum(len(shelf.entries) for shelf in shelves)
    every = [(shelf, name) for shelf in shelves for name in sorted(shelf.entries)]
    some = random.Random(20).sample(every, min(_TOUCHED, len(every)))
    begin = time.thread_time()
    for shelf, name in some:
        shelf.get(name)
    told["touch_us"] = (time.thread_time() - begin) / len(some) * 1e6
    await log.stop()
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

"""What a consumer holds while it reads: memory after each hundredth of the events.

Started by `tests.bench.memory`. It begins as one that has been at work for long: the memory of what a partition has had
(`bus.middleware.dedupe`) is full. The trap it avoids: that memory is bounded, but fills while the first 50,000 events
of a partition are read, and its table grows once more some 37,000 later. Partitions are not read evenly: of a million
events a quarter had filled three of six and a half all of them, and the last tables grew at nine tenths. That looks
like a leak.

Usage: python -m tests.bench.consumer_memory BOOTSTRAP EVENTS
"""

from __future__ import annotations

import json
import sys
import uuid

from bus.message import Partition
from bus.middleware.dedupe import _WINDOW, MemorySeen
from bus.wiring import connect
from schemas.envelope import fingerprint
from schemas.recorded import ActivityRecorded
from tests.bench.cluster import PARTITIONS
from tests.bench.recorded import TOPIC
from tests.bench.resident import resident


def main(bootstrap: str, events: int) -> None:
    """Read that many events as a new group and print the memory in bytes after each hundredth."""
    weights: list[int] = []
    with (
        connect(bootstrap=bootstrap) as bus,
        bus.subscribe(ActivityRecorded, group=f"mem-{uuid.uuid4().hex[:8]}", seen=long_at_work(PARTITIONS)) as found,
    ):
        for number, delivery in enumerate(found, 1):
            with delivery:
                pass
            if number % (events // 100) == 0:
                weights.append(resident())
            if number == events:
                break
    json.dump(weights, sys.stdout)


def long_at_work(partitions: int) -> MemorySeen:
    """The memory every consumer has by default, twice filled: full, and its tables as large as they become.

    Args:
        partitions: of the topic, all of them this consumer's.
    """
    seen = MemorySeen()
    for number in range(partitions):
        for event in range(2 * _WINDOW):
            seen.add(Partition(TOPIC, number), fingerprint("/agencies/bench", f"{number}-{event}"))
    return seen


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

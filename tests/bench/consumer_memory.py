"""What a consumer holds while it reads: memory after each hundredth of the events.

Started by `tests.bench.memory`.

Usage: python -m tests.bench.consumer_memory BOOTSTRAP EVENTS
"""

from __future__ import annotations

import json
import sys
import uuid

from bus.wiring import connect
from schemas.recorded import ActivityRecorded
from tests.bench.resident import resident


def main(bootstrap: str, events: int) -> None:
    """Read that many events as a new group and print the memory in bytes after each hundredth."""
    weights: list[int] = []
    with (
        connect(bootstrap=bootstrap) as bus,
        bus.subscribe(ActivityRecorded, group=f"mem-{uuid.uuid4().hex[:8]}") as found,
    ):
        for number, delivery in enumerate(found, 1):
            with delivery:
                pass
            if number % (events // 100) == 0:
                weights.append(resident())
            if number == events:
                break
    json.dump(weights, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""What a publisher holds while it publishes: memory after each hundredth of its events.

Started by `tests.bench.memory`. Cases come and go: a few hundred are open at any moment, as in steady work.

Usage: python -m tests.bench.publisher_memory BOOTSTRAP EVENTS
"""

from __future__ import annotations

import json
import sys
import uuid

from bus.message import Receipt
from bus.wiring import connect
from tests.bench import recorded
from tests.bench.resident import resident
from tests.bench.statistics import Void


def main(bootstrap: str, events: int) -> None:
    """Publish and print the memory in bytes after each hundredth."""
    run, weights = f"mem-{uuid.uuid4().hex[:8]}", []
    at_once = events // 100
    with connect(agency="replay", bootstrap=bootstrap) as bus:
        for number in range(100):
            results = bus.publish_all(recorded.publications(at_once, run=f"{run}-{number}"))
            if not all(isinstance(result, Receipt) for result in results):
                raise Void("not all were acknowledged")
            weights.append(resident())
    json.dump(weights, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""Wall and CPU time around the work of one program, printed as JSON. Called by the `send_*` programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def metered() -> Iterator[None]:
    """Print ``{"seconds", "cpu_s"}`` of the block on stdout."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    json.dump({"seconds": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}, sys.stdout)

"""What a figure depends on besides the program: versions, cores, memory. No names of machines and no paths.

Called once per run of `tests.bench`. The trap it avoids: figures that cannot be compared because nobody knows on what
they were taken.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

from bus.broker.lock import KAFKA_VERSION

LIBRARIES = (
    "aiokafka",
    "faust-streaming",
    "kafka-python",
    "fastavro",
    "pydantic",
    "uvloop",
)


def load() -> float:
    """Programs that ran or waited for a core over the last minute; beside a run of ours it tells of neighbours."""
    return round(os.getloadavg()[0], 2)


def facts() -> dict[str, object]:
    """Cores this process may use, memory in GiB, load before the run, versions."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": load(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        "versions": {name: version(name) for name in LIBRARIES},
    }

"""What a figure depends on besides the program: versions, cores, memory, pace. No names of machines and no paths.

Called once per run of `tests.bench`. The trap it avoids: figures that cannot be compared because nobody knows on what
they were taken.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from importlib.metadata import Distribution
from pathlib import Path

from bus.broker.lock import KAFKA_VERSION

LIBRARIES = (
    "aiokafka",
    "faust-streaming",
    "kafka-python",
    "fastavro",
    "pydantic",
    "uvloop",
    "confluent-kafka",
    "faststream",
)
QUIX = Path(sys.prefix, "quix")  # Quix Streams wants older versions than ours: an environment of its own
QUIX_LIBRARIES = ("quixstreams", "confluent-kafka", "rocksdict", "fastavro")
ABSENT = "not installed"
MEMORY = Path("/dev/shm")  # a file system in memory, where the system has one
_ROOM = 8 * 2**30  # bytes all runs together may take of it
_TURNS = 200_000


def broker_files() -> Path | None:
    """Where the broker's files are kept: in memory if there is room, else (None) in a temporary directory on disk.

    A broker hands its log to the system and waits for no disk. Still, a shared disk that has fallen behind holds up
    appends by a third of a second, for whichever side is running; in memory all sides see what the clients cost.
    """
    try:
        return MEMORY if shutil.disk_usage(MEMORY).free >= _ROOM else None
    except OSError:  # the system has none
        return None


def load() -> float:
    """Programs that ran or waited for a core over the last minute; beside a run of ours it tells of neighbours."""
    return round(os.getloadavg()[0], 2)


def loop_ms() -> float:
    """How long this interpreter takes for a fixed loop of plain Python, in ms of CPU, the least of five.

    Two things move it that no version tells: the machine of the day, and how the interpreter was built. CPython made
    with profile-guided optimisation, as distributions and container images ship it, takes 0.6 of the time of one that
    was compiled as `configure` has it (17 and 28 ms on one machine, 30 November 2026).
    """
    return round(min(_loop() for _ in range(5)) * 1000, 1)


def _loop() -> float:
    begun = time.process_time()
    found: dict[str, int] = {}
    for turn in range(_TURNS):
        found[str(turn % 1000)] = turn
    return time.process_time() - begun


def facts() -> dict[str, object]:
    """Cores, memory in GiB, load before, where the broker writes, the interpreter's pace, versions (Quix's apart)."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": load(),
        "broker_files": "in memory" if broker_files() else "on disk",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "python_loop_ms": loop_ms(),
        "kafka": KAFKA_VERSION,
        "versions": {name: _version(name, sys.path) for name in LIBRARIES},
        "versions_quix": {name: _version(name, _packages(QUIX)) for name in QUIX_LIBRARIES},
    }


def _packages(home: Path) -> list[str]:
    return [str(path) for path in home.glob("lib/python*/site-packages")]


def _version(name: str, path: list[str]) -> str:
    """The version of an installed package; a peer may be missing from a run that does not need it."""
    return next((found.version for found in Distribution.discover(name=name, path=path)), ABSENT)

"""What this machine must offer: compression codecs, Java for the local broker, disk space.

Called by `agencybus doctor`. The trap it avoids: a missing codec is noticed only when the first compressed batch
arrives, and then the consumer stands still on it for good (research/poison.md).
"""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path

from bus.broker import process
from bus.errors import BusError
from bus.selfcheck import Verdict

CODECS = ("gzip", "snappy", "lz4", "zstd")
CLIENTS = ("kafka", "aiokafka")
_LEAST_FREE = 1 << 30  # 1 GiB: two days of 300-byte events at 20 a second


def check(data_dir: Path) -> list[Verdict]:
    """Everything found wrong with this machine; `data_dir` is where the local broker's records would lie."""
    return [*codecs(), *java(), *disk(data_dir)]


def codecs() -> list[Verdict]:
    """Codecs a client cannot read: any producer may use any of the four."""
    missing = [
        f"{codec} ({client})"
        for client in CLIENTS
        for codec in CODECS
        if not getattr(import_module(f"{client}.codec"), f"has_{codec}")()
    ]
    if not missing:
        return []
    message = f"Cannot read records compressed with {', '.join(missing)}: a consumer would stand still on them."
    return [Verdict("error", "codecs", "python", message, "Install agencybus again with all its dependencies.")]


def java() -> list[Verdict]:
    """Whether the local broker could be started."""
    try:
        process.java()
    except BusError as error:
        return [Verdict("warning", "java", "local broker", error.message, error.remedy)]
    return []


def disk(directory: Path) -> list[Verdict]:
    """Whether there is room for records below `directory`, which need not exist yet."""
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free >= _LEAST_FREE:
        return []
    message = f"{free >> 20} MiB are free at {there}; a broker that fills its disk stops."
    return [Verdict("warning", "disk", str(directory), message, "Free some space or set AGENCYBUS__DATA_DIR.")]

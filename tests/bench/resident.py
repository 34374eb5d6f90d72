"""How much memory a process holds. Called by the measured programs and the scenarios that weigh them."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int | None = None) -> int:
    """Resident bytes of a process, 0 when it has ended.

    Args:
        pid: its id; this process when None.
    """
    try:
        return int(Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0

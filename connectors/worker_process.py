"""A workflow worker as a child process: started beside a replay, watched, and always stopped with it.

Called by `commands`. The trap it avoids: connectors never import agents, so the worker is the command anyone would
type, in a process of its own; and a worker that outlives the replay that started it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bus.errors import BusError

_STOP_S = 20.0
_LAST_WORDS = 3


class WorkerProcess:
    """Runs ``agencybus ARGUMENTS`` while its block is open.

    Args:
        arguments: the command line after ``agencybus``.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)

    def __enter__(self) -> Self:
        self._output = tempfile.NamedTemporaryFile(prefix="agencybus-worker-", suffix=".log")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bus.cli.main", *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the replay, which stops its worker in order
        )
        return self

    def check(self) -> None:
        """Raise BusError with the worker's last words when it has ended."""
        code = self._process.poll()
        if code is not None:
            words = Path(self._output.name).read_text(errors="replace").strip().splitlines()[-_LAST_WORDS:]
            raise BusError(f"The workflow worker ended with code {code}: {' / '.join(words) or 'no output'}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(OSError):
            self._output.close()

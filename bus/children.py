"""Our own commands as child processes: started with their output in files, watched, and always stopped again.

Called by `agents.demo` (worker, offices, clinic), `agents.cli_worker` (the command line alone) and
`connectors.cli_replay` (the worker beside a replay; connectors never import agents, so it is the command anyone would
type). The traps it avoids: a child that outlives its parent's Ctrl-C, and a failed child whose reason is lost.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bus.errors import BusError

_GRACE_S = 20.0  # a worker finishes its unit and leaves its group in less
_LAST_WORDS = 12


def command(arguments: Sequence[str]) -> list[str]:
    """The command line that runs ``agencybus ARGUMENTS`` with this very Python, whatever stands on the PATH."""
    return [sys.executable, "-m", "bus.cli.main", *arguments]


class Children:
    """Starts `agencybus` commands and stops them; as a context manager, when its block is left.

    Args:
        bootstrap: Kafka's address, given to each through the environment.
        logs: folder of their output, one file per name; None for a temporary one that goes when they are stopped.
    """

    def __init__(self, bootstrap: str, *, logs: Path | None = None) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if logs is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="agencybus-")
            logs = Path(self._temporary.name)
        self._logs = logs
        self._env = {**os.environ, "AGENCYBUS__BOOTSTRAP": bootstrap}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._may_end: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, arguments: Sequence[str], *, may_end: bool = False) -> None:
        """Start ``agencybus ARGUMENTS`` under `name`.

        Args:
            name: of the child, and of its output file.
            arguments: of the command line, without ``agencybus``.
            may_end: ending well is no failure of it.
        """
        if may_end:
            self._may_end.add(name)
        with self.log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                command(arguments),
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the parent, which stops them in order
            )

    def log(self, name: str) -> Path:
        """Where the output of `name` goes."""
        return self._logs / f"{name}.log"

    def check(self) -> None:
        """Forget children that ended well and may. Raises BusError with the last lines of any other that ended."""
        for name, child in list(self._running.items()):
            code = child.poll()
            if code == 0 and name in self._may_end:
                del self._running[name]
            elif code is not None:
                said = " | ".join(self.log(name).read_text(errors="replace").strip().splitlines()[-_LAST_WORDS:])
                remedy = "" if self._temporary else f"Its output: {self.log(name)}."
                raise BusError(f"The {name} ended with code {code}: {said or 'no output'}.", remedy=remedy)

    def pids(self) -> dict[str, int]:
        """The process ids by name."""
        return {name: child.pid for name, child in self._running.items()}

    def stop(self) -> None:
        """End all, politely first; returns when they are gone. Safe to call twice."""
        for child in self._running.values():
            child.terminate()
        for child in self._running.values():
            try:
                child.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._running.clear()
        if self._temporary is not None:
            self._temporary.cleanup()

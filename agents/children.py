"""Child processes of the demo: our own commands, started with their output in files, and always stopped again.

Called by `agents.demo`. The traps it avoids: a child that outlives a Ctrl-C, and a failed child whose reason is lost.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bus.errors import BusError

GRACE_S = 15.0
_TAIL = 12


class Children:
    """Starts `agencybus` commands and stops them.

    Args:
        logs: folder of their output, one file per name.
        bootstrap: Kafka's address, given to each through the environment.
    """

    def __init__(self, logs: Path, bootstrap: str) -> None:
        self._logs = logs
        self._env = {**os.environ, "AGENCYBUS__BOOTSTRAP": bootstrap}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start ``agencybus ARGUMENTS`` under `name`."""
        with self.log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "bus.cli.main", *arguments],
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
        """Forget children that ended well. Raises BusError with the last lines of one that did not."""
        for name, child in list(self._running.items()):
            code = child.poll()
            if code == 0:
                del self._running[name]
            elif code is not None:
                said = " | ".join(self.log(name).read_text(errors="replace").splitlines()[-_TAIL:])
                raise BusError(f"{name} ended with {code}: {said}.", remedy=f"Its output: {self.log(name)}.")

    def pids(self) -> dict[str, int]:
        """The process ids by name."""
        return {name: child.pid for name, child in self._running.items()}

    def stop(self) -> None:
        """End all, politely first; returns when they are gone."""
        for child in self._running.values():
            child.terminate()
        for child in self._running.values():
            try:
                child.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._running.clear()

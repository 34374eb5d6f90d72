"""Starts a worker as a child process again and again, with backoff, and passes SIGTERM on to it.

Called by `agents.cli_worker`. The traps it avoids: faust's own supervisor restarts a hundred times a second without
backoff (F42), and restarts inside a process keep its stale memory (F65), so each try is a clean process; a signal
between the start of a child and the note of it would be lost; a child that does not end would hold its supervisor.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from agents.watchdog import EXIT_NOT_DRAINED, EXIT_STALLED
from bus.children import command

FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S = 0.5, 30.0, 60.0
CHILD = "AGENCYBUS_WORKER_CHILD"  # the supervisor's pid, for the process it starts; no setting of a user's
_SLICE_S = 0.1
_GRACE_S = 3.0  # beyond its budget a child ends itself; one that cannot is killed after so long
_FINAL = (0, 2, 3)  # done, a wrong call, a check that failed: starting again cannot mend them
# Told to stop, and gone: with its goodbye, at once while it was starting, or because the group had moved on meanwhile.
_STOPPED = (0, -signal.SIGTERM, -signal.SIGINT, EXIT_STALLED)


class Supervisor:
    """One worker, whatever happens to its processes.

    Args:
        arguments: of the command line, without ``agencybus``. drain_s: a child's budget from SIGTERM to its end.
    """

    def __init__(self, arguments: Sequence[str], *, drain_s: float) -> None:
        self._command = command(arguments)
        self._patience_s = drain_s + _GRACE_S
        self._child: subprocess.Popen[bytes] | None = None
        self._stop_at: float | None = None

    def run(self) -> int:
        """Run children until one ended well, cannot be helped, or a signal came; the exit code.

        0 also when a signal ended it, 124 when the child was not done within its budget.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        pause = FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            code = self._one()
            if self._stop_at is not None:
                return 0 if code in _STOPPED else code
            if code in _FINAL:
                return code
            if time.monotonic() - started > STEADY_S:
                pause = FIRST_PAUSE_S
            sys.stderr.write(f"agencybus worker: ended with {code}; starting again in {pause:.1f} s\n")
            again_at = time.monotonic() + pause
            while time.monotonic() < again_at:  # in slices: sleep goes on after a signal, and one may come now
                time.sleep(_SLICE_S)
                if self._stop_at is not None:
                    return 0
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _one(self) -> int:
        self._child = child = subprocess.Popen(self._command, env={**os.environ, CHILD: str(os.getpid())})
        if self._stop_at is not None:  # the signal came while it was being started
            child.terminate()
        while True:
            try:
                return child.wait(timeout=_SLICE_S * 10)
            except subprocess.TimeoutExpired:
                if self._stop_at is not None and time.monotonic() > self._stop_at + self._patience_s:
                    child.kill()
                    child.wait()
                    return EXIT_NOT_DRAINED

    def _told(self, _signal: int, _frame: object) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic()
        if self._child is not None:
            self._child.terminate()

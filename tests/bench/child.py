"""A program under measurement, in a process of its own, with the CPU time it and its children have used.

Called by the scenarios. The traps it avoids: a worker's supervisor whose child does the work (its CPU counts too), and
a process left running after a failed round.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.statistics import Void

_TICK = os.sysconf("SC_CLK_TCK")
_STOP_S = 30.0


class Child:
    """A running program.

    Args:
        process: the program as started. output: the file that takes all it prints.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output

    def check(self) -> None:
        """Raises Void with the program's last words when it has ended by itself."""
        if self._process.poll() is not None:
            raise self.failed(f"the program ended with {self._process.returncode}")

    def failed(self, what: str) -> Void:
        """The error that says what went wrong, with the program's last words."""
        return Void(f"{what}:\n{self._output.read_text(errors='replace')[-2000:]}")

    def cpu_s(self) -> float:
        """Seconds of CPU (user and system) used so far by the program and its living descendants."""
        return sum(_cpu_s(pid) for pid in _family(self._process.pid))

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to the whole family when that is not enough."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                for pid in reversed(_family(self._process.pid)):
                    os.kill(pid, signal.SIGKILL)
                self._process.wait()


@contextmanager
def running(
    module: str, arguments: Sequence[str], output: Path, *, python: str | Path = sys.executable
) -> Iterator[Child]:
    """Run ``python -m module arguments`` for the length of the block.

    Args:
        module: what to run. arguments: as on a command line. output: file for stdout and stderr.
        python: the interpreter of a program that lives in an environment of its own.
    """
    with output.open("wb") as sink:
        process = subprocess.Popen([python, "-m", module, *arguments], stdout=sink, stderr=sink)
    child = Child(process, output)
    try:
        yield child
    finally:
        child.stop()


def result_of(module: str, arguments: Sequence[str]) -> bytes:
    """Run a program to its end and return what it printed. Raises Void when it failed."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        raise Void(f"{module} ended with {done.returncode}:\n{done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


def _family(pid: int) -> list[int]:
    """The process and its descendants, parents first."""
    found = [pid]
    for parent in found:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            for task in tasks:
                found.extend(int(child) for child in (task / "children").read_text().split())
        except OSError:  # it has just ended
            continue
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK  # utime, stime

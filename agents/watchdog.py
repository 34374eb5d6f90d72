"""Ends a worker that no longer works, and passes SIGTERM on: a thread that needs nothing of the event loop.

Started by `agents.worker`. Signals are taken from those pending: a loop that is blocked would never see them.
The traps it avoids: a member that heartbeats from another thread while its loop is stuck keeps its partitions for ever
(F20); a stop that waits for a broker that is away outlives the grace period and is killed in the middle (F47); code
that never lets go of the interpreter's lock stops every thread, so a timer of `faulthandler`, which is none of
Python's, stands behind this one. A process that was paused as a whole (SIGSTOP, a suspended machine) has done no wrong:
that time is not counted, the case log and the group decide what it may still do.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from agents.health import Limits, Pulse, assess
from agents.membership import EXIT_MEMBERSHIP_LOST

EXIT_STALLED = EXIT_MEMBERSHIP_LOST  # the supervisor starts a clean process for either
EXIT_NOT_DRAINED = 124  # as timeout(1) says it
TICK_S = 0.5
_LOOK_S = 0.05
_PAUSED_S = 3.0  # two ticks so far apart: the process did not run in between
STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})


def hold_signals() -> None:
    """Block the signals that stop a worker in this thread and those it starts; `Watchdog` takes them.

    Called before any thread is started. One that comes before stays what it was: the end of the process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


class Watchdog:
    """Looks at the pulse twice a second in a thread of its own.

    Args:
        pulse: what the worker notes of itself. limits: when it must end.
        stop: called once from that thread at the first SIGTERM or SIGINT; further ones change nothing.
    """

    def __init__(self, pulse: Pulse, limits: Limits, *, stop: Callable[[], None]) -> None:
        self._pulse = pulse
        self._limits = limits
        self._stop = stop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on the end tells where the tasks of `loop` wait, too."""
        self._loop = loop

    def close(self) -> None:
        """Watch no longer: the worker has ended well."""
        self._ended.set()
        self._thread.join()  # it would set the timer once more
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        stopping = False
        before = time.monotonic()
        while not self._ended.is_set():
            faulthandler.dump_traceback_later(self._limits.loop_end + 10, exit=True)
            if self._signalled() and not stopping:
                stopping = True
                self._pulse.drain()
                self._stop()
            now = time.monotonic()
            if now - before > _PAUSED_S:
                self._pulse.skip(now - before)
            before = now
            verdict = assess(self._pulse.facts(), now, self._limits)
            if verdict.fatal is not None and not self._ended.is_set():
                end(verdict.fatal, code=EXIT_NOT_DRAINED if stopping else EXIT_STALLED, loop=self._loop)

    def _signalled(self) -> bool:
        """Whether a signal to stop comes within a tick.

        Asked with `sigpending`, since `signal.sigtimedwait` of Python 3.11 returns a signal that never was when the
        process is paused and resumed during the wait: every worker paused by SIGSTOP would stop for good.
        """
        give_up = time.monotonic() + TICK_S
        while not STOPPING & signal.sigpending():
            if self._ended.wait(_LOOK_S) or time.monotonic() >= give_up:
                return False
        signal.sigwait(STOPPING)
        return True


def end(why: str, *, code: int, loop: asyncio.AbstractEventLoop | None = None) -> NoReturn:
    """End the process at once, with a sentence, where each task waits and the stacks of all threads on stderr.

    Every decision is durable in the case log, so nothing is lost; outputs that were not confirmed are sent again by
    the next owner, under the same ids.

    Args:
        why: the sentence's reason.
        code: the exit code.
        loop: whose tasks to tell of; None when there is none yet.
    """
    after = "a clean process goes on from the case log" if code == EXIT_STALLED else "its successor goes on from there"
    sys.stderr.write(f"agencybus worker: {why}; ending at once, {after}. Where it stood:\n")
    if loop is not None:
        with suppress(RuntimeError):  # a loop that turns may change its tasks while they are listed
            sys.stderr.writelines(f"Task {task.get_name()}: {waits(task)}\n" for task in asyncio.all_tasks(loop))
    sys.stderr.flush()
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(code)


def waits(task: asyncio.Task[Any]) -> str:
    """Where a task waits, outermost call first; `Task.get_stack` tells of that one alone."""
    places: list[str] = []
    inner: Any = task.get_coro()
    while inner is not None:
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "gi_frame", None)
        if frame is None:
            places.append(type(inner).__name__)
            break
        code = frame.f_code
        places.append(f"{code.co_qualname} ({Path(code.co_filename).name}:{frame.f_lineno})")
        inner = getattr(inner, "cr_await", None) or getattr(inner, "gi_yieldfrom", None)
    return " > ".join(places)

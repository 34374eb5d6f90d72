"""Raises an alarm when a handler takes too long, with the place in the code where it hangs.

Called by `bus.consume` around each handler. A synchronous handler cannot be interrupted safely, so the alarm is all:
an ERROR line with the handler's stack (files and lines, never values), and `late` until it returns. The trap it avoids:
a handler that waits for ever looks like a subscription without traffic, until the group puts the member out.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Self

_log = logging.getLogger(__name__)


class Deadline:
    """Watches one handler at a time from a thread of its own, which lives as long as the block.

    Args:
        seconds: how long a handler may take; None: for ever, and nobody watches.
        monotonic: seconds.
    """

    def __init__(self, seconds: float | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._running: tuple[float, int, str] | None = None  # since when, in which thread, at what
        self._told: object = None  # the one of `_running` that there has been an alarm about
        self._over = False

    def __enter__(self) -> Self:
        if self._seconds is None:
            return self
        threading.Thread(target=self._watch, name="agencybus-deadline", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()

    @property
    def late(self) -> bool:
        """Whether a handler is running that there has been an alarm about."""
        running = self._running
        return running is not None and running is self._told

    def begin(self, what: str) -> None:
        """A handler starts in the calling thread.

        Args:
            what: the record's place, for the alarm.
        """
        self._running = (self._monotonic(), threading.get_ident(), what)

    def end(self) -> None:
        """The handler is through."""
        self._running = None

    def _watch(self) -> None:
        assert self._seconds is not None
        with self._changed:
            while not self._over:
                self.look()
                self._changed.wait(self._seconds / 4)

    def look(self) -> None:
        """Raise the alarm once if the running handler is late."""
        running = self._running
        if running is None or running is self._told or self._seconds is None:
            return
        if self._monotonic() - running[0] < self._seconds:
            return
        self._told = running
        frame = sys._current_frames().get(running[1])  # noqa: SLF001  # the interpreter's only way to ask
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "(its thread has ended)"
        _log.error("the handler has had %s for more than %g s; it is at\n%s", running[2], self._seconds, stack)

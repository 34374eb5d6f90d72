"""One line of progress on stderr that replaces itself; on no terminal, a line at most every two seconds.

Used as the `progress` argument of `bus.broker.launcher` by the commands that start a broker. The trap it avoids: a
hundred lines of percentages in a CI log, or a terminal's control characters in a file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

_QUIET_S = 2.0


class ProgressLine:
    """Call it with sentences; leaving its `with` block ends the line.

    Args:
        stream: where to write, default this process's stderr.
        now: monotonic seconds.
    """

    def __init__(self, stream: TextIO | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._now = now
        self._live = self._stream.isatty()
        self._open = False
        self._kind, self._last = "", 0.0

    def __call__(self, sentence: str) -> None:
        """Show `sentence`. A new kind of sentence (its first word) is always shown."""
        kind, now = sentence.partition(" ")[0], self._now()
        same = kind == self._kind
        if same and not self._live and now - self._last < _QUIET_S:
            return
        if self._live and self._open:
            self._stream.write("\r\x1b[2K" if same else "\n")
        self._stream.write(sentence if self._live else f"{sentence}\n")
        self._stream.flush()
        self._kind, self._last, self._open = kind, now, True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._open:
            self._stream.write("\n")
            self._open = False

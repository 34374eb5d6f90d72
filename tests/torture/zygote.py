"""A process that has imported everything once and forks the actors of a run, each in milliseconds instead of a second.

Started as ``python -m tests.torture.zygote`` by `tests.torture.killer`, which speaks with it in JSON lines. The parent
of all actors signals them itself and reaps them itself: a pid it signals is never one that was given to a stranger.
When its standard input closes (its starter is gone, killed or not), it kills what it started and ends.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

_LOOK_S = 0.02


def _become(target: str, arguments: dict[str, Any], log: str) -> None:
    """In the child: run the actor, its output in its file; never returns."""
    code = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        module, name = target.split(":")
        actor: Callable[..., int | None] = getattr(import_module(module), name)
        code = actor(**arguments) or 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001  # whatever it is, it stands in the actor's file
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Zygote:
    def __init__(self) -> None:
        self._tags: dict[int, str] = {}
        self._pids: dict[str, int] = {}

    def obey(self, line: bytes) -> None:
        what, tag, *rest = json.loads(line)
        if what == "start":
            target, arguments, log = rest
            pid = os.fork()
            if pid == 0:
                _become(target, arguments, log)
            self._tags[pid], self._pids[tag] = tag, pid
        elif tag in self._pids:  # not reaped yet, so the pid is its own, even when it has ended
            os.kill(self._pids[tag], int(rest[0]))

    def reap(self) -> None:
        while self._tags:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            tag = self._tags.pop(pid)
            del self._pids[tag]
            sys.stdout.write(json.dumps([tag, os.waitstatus_to_exitcode(status)]) + "\n")
            sys.stdout.flush()

    def end(self) -> None:
        for pid in self._tags:
            os.kill(pid, signal.SIGKILL)
        for pid in self._tags:
            os.waitpid(pid, 0)


def main() -> None:
    """Import the modules named in the arguments, say so, and do what standard input says until it closes."""
    for module in sys.argv[1:]:
        import_module(module)
    gc.collect()
    gc.freeze()
    sys.stdout.write(json.dumps(["ready", 0]) + "\n")
    sys.stdout.flush()
    zygote = _Zygote()
    looking = selectors.DefaultSelector()
    looking.register(0, selectors.EVENT_READ)
    left = b""
    try:
        while True:
            if looking.select(_LOOK_S):
                read = os.read(0, 1 << 16)
                if not read:
                    return
                *lines, left = (left + read).split(b"\n")
                for line in lines:
                    zygote.obey(line)
            zygote.reap()
    finally:
        zygote.end()


if __name__ == "__main__":
    main()

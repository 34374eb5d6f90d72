"""Runs our commands one after the other, each in a fork of one warm process, and measures what it took.

Started by `tests.bad_input.runner` as ``python -m tests.bad_input.zygote``; speaks JSON lines. Each child calls
`bus.cli.main.main`, so a case costs milliseconds, not the second of a cold start, and still has memory, processor time
and exit code of its own; one that hangs is killed. The trap it avoids: forking a test process that has threads.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import sys
import tempfile
import time
from typing import Any

_NOBODY = 65534
_TAIL = 1 << 20  # bytes of output handed back


def _warm() -> None:
    """Import what the commands import, so that a child's time is the input's."""
    import lxml.etree  # noqa: F401

    import bus.transport.kafka
    import bus.transport.kafka_admin
    import bus.transport.kafka_consumer
    import bus.transport.kafka_facts
    import bus.transport.kafka_producer
    import bus.transport.kafka_reader
    import bus.wiring  # noqa: F401
    import connectors.replay  # noqa: F401
    from agents.compile import compile_file
    from agents.worker import PROCESSES
    from bus.cli.main import main
    from schemas.catalogue import standard
    from schemas.snapshots import FOLDER

    schema = FOLDER / "document.issued.v1.avsc"
    compile_file(PROCESSES / "birth.yaml", standard())
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        assert main(["config", "show"]) == 0
        assert main(["schema", "diff", *[str(schema)] * 2]) == 0
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page of this process


def _child(job: dict[str, Any], out: int, err: int) -> None:
    """Become the command. Never returns."""
    from bus.cli.main import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(job["folder"])
    os.environ.update(job["environment"])
    if job["unprivileged"] and os.geteuid() == 0:
        os.seteuid(_NOBODY)
    sys.argv = ["agencybus", *job["words"]]
    code = 99
    try:
        code = main(job["words"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _run(job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            _child(job, out.fileno(), err.fileno())
        ends = time.monotonic() + job["timeout_s"]
        while True:
            done, status, used = os.wait4(pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() > ends:
                os.kill(pid, signal.SIGKILL)
                ends = float("inf")
            time.sleep(0.002)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read(_TAIL).decode("utf-8", "replace"))
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "code": os.waitstatus_to_exitcode(status),
        "out": texts[0],
        "err": texts[1],
        "cpu_s": used.ru_utime + used.ru_stime,
        "grown_mb": max(0, used.ru_maxrss - base) / 1024,
        "hung": ends == float("inf"),
    }


def serve() -> None:
    """Answer each line of stdin."""
    answers = os.fdopen(os.dup(1), "w")
    _warm()
    for line in sys.stdin:
        answers.write(json.dumps(_run(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()

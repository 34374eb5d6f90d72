"""`agencybus worker run`: a workflow worker in the foreground, restarted with backoff when it ends by a failure.

Registered by `agents.commands`. The trap it avoids: faust's own supervisor restarts a hundred times a second without
backoff (F42), and restarts inside a process keep its stale memory (F65); here each try is a clean process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from bus.children import command
from bus.cli import context, options

FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S = 0.5, 30.0, 60.0
_SLICE_S = 0.1
CHILD = "AGENCYBUS_WORKER_CHILD"  # the supervisor's pid, for the process it starts; no setting of a user's

app = typer.Typer(name="worker", help="Run workflows.", no_args_is_help=True)


@app.command("run")
def run(
    ctx: typer.Context,
    process: Annotated[list[str], typer.Argument(help="Process: a shipped name or YAML files, newest version first.")],
    *,
    group: Annotated[str | None, typer.Option(help="Consumer group; default workflow.<process>.")] = None,
    host: Annotated[str, typer.Option(help="faust or aiokafka.")] = "faust",
    case_prefix: Annotated[str, typer.Option(help="Take only cases whose id begins with this.")] = "",
    instance: Annotated[str | None, typer.Option(help="Static member name, kept over restarts.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written when the worker is ready.")] = None,
) -> None:
    """Carry the cases of one process. Runs until Ctrl-C or SIGTERM, restarts by itself after a failure."""
    from agents import worker
    from schemas.catalogue import standard

    job = worker.Job(
        files=[worker.process_file(name) for name in process],
        group=group,
        host=options.known_host(host),
        prefix=case_prefix,
        instance=instance,
        ready_file=ready_file,
    )
    settings = context.settings(ctx)
    if os.environ.get(CHILD) is None:
        worker.graphs_of(job, standard())  # a wrong file is told at once, before any process is started
        raise typer.Exit(_supervise())
    threading.Thread(target=_end_with_parent, args=(int(os.environ[CHILD]),), daemon=True).start()
    try:
        worker.run(job, settings)
    except Exception as error:  # noqa: BLE001  # F4: any failure of a unit ends the process; say it in one line
        from bus.cli.main import report

        os._exit(report(error))  # threads of the host must not keep a failed worker alive


def _end_with_parent(parent: int) -> None:
    """Stop cleanly when the supervisor is gone, so that no worker runs unseen.

    Args:
        parent: pid of the supervisor, as itself said it: it may be gone before this process can ask who its parent is.
    """
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


def _supervise() -> int:
    """Start this very command as a child again and again; return its exit code when it ended well or was told to."""
    pause = FIRST_PAUSE_S
    stopping = False
    while True:
        started = time.monotonic()
        child = subprocess.Popen(command(sys.argv[1:]), env={**os.environ, CHILD: str(os.getpid())})

        def forward(_signal: int, _frame: object, child: subprocess.Popen[bytes] = child) -> None:
            nonlocal stopping
            stopping = True
            child.terminate()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, forward)
        code = child.wait()
        if stopping or code in (0, 2, 3):
            return 0 if stopping and code in (0, -signal.SIGTERM, -signal.SIGINT) else code
        if time.monotonic() - started > STEADY_S:
            pause = FIRST_PAUSE_S
        context.note(f"agencybus worker: ended with {code}; starting again in {pause:.1f} s")
        again_at = time.monotonic() + pause
        while time.monotonic() < again_at:  # in slices: sleep goes on after a signal, and one may come now
            time.sleep(_SLICE_S)
            if stopping:
                return 0
        pause = min(pause * 2, LONGEST_PAUSE_S)

"""`agencybus worker run`: a workflow worker in the foreground, restarted with backoff when it ends by a failure.

Registered by `agents.commands`; the command is two processes, `agents.supervisor` and the child that works. The trap it
avoids: threads of the clients that keep a failed child half alive; whatever goes wrong ends it at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from agents.supervisor import CHILD, Supervisor
from bus.cli import context, options
from bus.errors import BusError

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
    health: Annotated[
        int | None,
        typer.Option(help="Serve /live, /ready and /metrics on this port of 127.0.0.1; 0: any free one.", max=65535),
    ] = None,
) -> None:
    """Carry the cases of one process. Runs until Ctrl-C or SIGTERM, restarts by itself after a failure.

    SIGTERM finishes the unit under way, commits and leaves, within AGENCYBUS__DRAIN_S seconds; beyond them it ends at
    once with 124. A worker that hangs or loses its place ends with 75 and starts again.
    """
    from agents import watchdog, worker
    from schemas.catalogue import standard

    job = worker.Job(
        files=[worker.process_file(name) for name in process],
        group=group,
        host=options.known_host(host),
        prefix=case_prefix,
        instance=instance,
        ready_file=ready_file,
        health=health,
        supervisor=int(os.environ[CHILD]) if CHILD in os.environ else None,
    )
    settings = context.settings(ctx)
    if os.environ.get(CHILD) is None:
        worker.graphs_of(job, standard())  # a wrong file is told at once, before any process is started
        raise typer.Exit(Supervisor(sys.argv[1:], drain_s=settings.drain_s).run())
    watchdog.hold_signals()  # before the first thread: one that did not hold them would die of them
    threading.Thread(target=_end_with_parent, args=(int(os.environ[CHILD]),), daemon=True).start()
    try:
        worker.run(job, settings)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # F4: any failure of a unit ends the process; say it in one line
        from bus.cli.main import report

        told = error if isinstance(error, Exception) else BusError("A call to the broker was cut off.")
        os._exit(report(told))  # threads of the host must not keep a failed worker alive


def _end_with_parent(parent: int) -> None:
    """Stop cleanly when the supervisor is gone, so that no worker runs unseen.

    Args:
        parent: pid of the supervisor, as itself said it: it may be gone before this process can ask who its parent is.
    """
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)

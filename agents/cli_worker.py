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
from typing import TYPE_CHECKING, Annotated

import typer

from bus.cli import context, options
from bus.errors import BusError

if TYPE_CHECKING:  # imported where used, so that `--help` stays quick
    from agents.rebuild import Found

_SHOWN = 20  # cases named on a screen; the table has the count of all

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
        typer.Option(
            help="Serve /live, /ready and /metrics on this port of 127.0.0.1; 0: any free one.", min=0, max=65535
        ),
    ] = None,
) -> None:
    """Carry the cases of one process. Runs until Ctrl-C or SIGTERM, restarts by itself after a failure.

    SIGTERM finishes the unit under way, commits and leaves, within AGENCYBUS__DRAIN_S seconds; beyond them it ends at
    once with 124. A worker that hangs or loses its place ends with 75 and starts again.
    """
    from agents import watchdog, worker
    from agents.supervisor import CHILD, Supervisor
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

        os._exit(report(_told(error, process[0], group)))  # threads of the host must not keep a failed worker alive


@app.command("rebuild")
def rebuild(
    ctx: typer.Context,
    process: Annotated[str, typer.Argument(help="Process: a shipped name or a YAML file.")],
    *,
    group: Annotated[str | None, typer.Option(help="Consumer group; default workflow.<process>.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it nothing is changed.")] = False,
    drop_gone: Annotated[
        bool, typer.Option("--drop-gone", help="Also drop damaged cases whose first event is no longer stored.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Bring cases whose rows in the case log cannot be read back from the input topics.

    Only while no worker of the group runs. Rows that can be read stay; those that cannot are replaced by nothing, or,
    for archived cases, by a marker, so that none opens twice; reading then begins at the first stored events. What was
    taken changes nothing a second time, and outputs sent again have the same ids. Without --yes it shows the change
    and exits 3.
    """
    from agents import compile as compiler
    from agents import rebuild as rebuilding
    from agents import worker
    from schemas.catalogue import standard

    graph = compiler.compile_file(worker.process_file(process), standard())
    name = group or f"workflow.{graph.process}"
    bootstrap = context.settings(ctx).bootstrap
    found = asyncio.run(rebuilding.look(bootstrap, name, graph, say=context.note))
    if yes and not dry_run:
        if found.gone and not drop_gone:
            raise BusError(
                f"{len(found.gone)} damaged case(s) cannot come back, {found.gone[0]} for one: their first events are "
                "no longer stored.",
                remedy=f"Restore {name}.cases from a backup, or give them up with --drop-gone.",
            )
        found = asyncio.run(rebuilding.rebuild(bootstrap, name, graph, say=context.note))
    _show_rebuild(found, name, as_json=as_json)
    if not yes and not dry_run:
        context.note("Nothing is changed yet: add --yes.")
        raise typer.Exit(3)


def _show_rebuild(found: Found, group: str, *, as_json: bool) -> None:
    if as_json:
        partitions = [
            {
                "partition": one.number,
                "damaged": [{"case": d.case, "offset": d.offset, "archived": d.archived} for d in one.damaged],
                "kept": one.kept,
                "markers": len(one.markers),
                "unreadable_archive": one.unreadable,
                "positions": dict(one.positions),
            }
            for one in found.plans
        ]
        context.print_json({"group": group, "gone": list(found.gone), "partitions": partitions})
        return
    rows = [
        (one.number, len(one.damaged), one.kept, len(one.markers), len(one.tombstones), one.unreadable)
        for one in found.plans
    ]
    columns = ("partition", "damaged rows", "rows that stay", "markers made", "rows removed", "archive not readable")
    context.show(context.table(f"{group}: the case store, read again from its inputs", columns, rows))
    for damage in found.damaged[:_SHOWN]:
        becomes = "a marker: it had ended" if damage.archived else "comes back from its events"
        context.show(f"{damage.case} at offset {damage.offset}: {becomes}")
    for case in found.gone[:_SHOWN]:
        context.show(f"{case}: its first event is no longer stored; it cannot come back")


def _told(error: BaseException, process: str, group: str | None) -> Exception:
    """What is said of the failure that ended a child."""
    from agents.case_bytes import Damaged

    if isinstance(error, Damaged):
        own = f" --group {group}" if group else ""
        return Damaged(
            error.message,
            remedy=f"{error.remedy} Or stop the workers and see what `agencybus worker rebuild {process}{own}` can "
            "bring back from the input topics.",
        )
    return error if isinstance(error, Exception) else BusError("A call to the broker was cut off.")


def _end_with_parent(parent: int) -> None:
    """Stop cleanly when the supervisor is gone, so that no worker runs unseen.

    Args:
        parent: pid of the supervisor, as itself said it: it may be gone before this process can ask who its parent is.
    """
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)

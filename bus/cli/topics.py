"""`agencybus topics plan|apply|diff`: the reviewed way to change a cluster's topics and schemas.

Registered by `bus.cli.main`. The trap it avoids: a change nobody saw; `plan` shows it, exits 3, and `apply` leaves out
what can lose or move records unless it is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bus.cli import context

if TYPE_CHECKING:  # pydantic and the clients are imported where used
    from bus.plan import Plan
    from bus.provision import Provisioner

_File = Annotated[Path | None, typer.Argument(help="Topology file; default the one that ships.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    topics = typer.Typer(no_args_is_help=True, help="Topics and schemas of the cluster.")
    topics.command("plan")(plan)
    topics.command("apply")(apply)
    topics.command("diff")(diff)
    app.add_typer(topics, name="topics")


def plan(ctx: typer.Context, file: _File = None, *, json: _Json = False) -> None:
    """Show what `apply` would do. Exits 3 when there are changes, 0 when there are none."""
    from bus import topology
    from schemas.catalogue import standard

    wanted = topology.load(file or topology.STANDARD, standard())
    with _provisioner(ctx) as cluster:
        found = cluster.plan(wanted)
    _show(found, json=json, other="not in the file, left alone")
    raise typer.Exit(3 if found.actions else 0)


def apply(
    ctx: typer.Context,
    file: _File = None,
    *,
    allow_destructive: Annotated[
        bool, typer.Option("--allow-destructive", help="Also do what loses, moves or endangers records.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As plan.")] = False,
    json: _Json = False,
) -> None:
    """Make the topics and register the schemas; twice changes nothing. Exits 3 when something was left out."""
    from bus import topology
    from bus.apply import exit_code
    from schemas.catalogue import standard

    if dry_run:
        plan(ctx, file, json=json)
    wanted = topology.load(file or topology.STANDARD, standard())
    with _provisioner(ctx) as cluster:
        found = cluster.plan(wanted)
        results = cluster.apply(
            found,
            allow_destructive=allow_destructive,
            report=lambda r: context.note(f"{r.outcome:<9} {r.action.kind:<7} {r.action.topic} {r.message}".rstrip()),
        )
    if json:
        context.print_json({"results": [result.as_json() for result in results]})
    else:
        done = sum(result.outcome == "done" for result in results)
        context.show(f"{done} of {len(results)} changes done." if results else "Nothing to change.")
    raise typer.Exit(exit_code(results))


def diff(
    before: Annotated[Path, typer.Argument(help="The file as it was.")],
    after: Annotated[Path, typer.Argument(help="The file as it shall be.")],
    *,
    brokers: Annotated[int, typer.Option(min=1, help="Brokers to resolve auto for.")] = 3,
    json: _Json = False,
) -> None:
    """Show what going from one file to another would do. Exits 3 when there are changes. Asks no broker."""
    from bus import plan as planning
    from bus import topology
    from schemas.catalogue import standard

    known = standard()
    found = planning.diff(topology.load(before, known), topology.load(after, known), brokers=brokers)
    _show(found, json=json, other="no longer in the file, would be left alone")
    raise typer.Exit(3 if found.actions else 0)


@contextmanager
def _provisioner(ctx: typer.Context) -> Iterator[Provisioner]:
    from bus.core import transport_of
    from bus.provision import Provisioner
    from bus.transport import kafka_facts
    from schemas.catalogue import standard

    settings = context.settings(ctx)
    brokers = len(kafka_facts.read(settings.bootstrap).brokers)
    with Provisioner(transport_of(settings), standard(), brokers=brokers) as found:
        yield found


def _show(found: Plan, *, json: bool, other: str) -> None:
    if json:
        actions = [action.as_json() for action in found.actions]
        context.print_json({"changes": actions, "unmanaged": list(found.unmanaged)})
        return
    rows = [
        [
            f"{action.kind}{' !' if action.destructive else ''}",
            action.topic,
            ", ".join(f"{c.setting} {c.before or '–'} → {c.after}" for c in action.changes)
            if action.kind != "create"
            else ", ".join(f"{c.setting} {c.after}" for c in action.changes[:2]),
            action.reason,
        ]
        for action in found.actions
    ]
    if rows:
        context.show(context.table("", ["change", "topic", "settings", "why it matters"], rows))
    else:
        context.show("Nothing to change.")
    if any(action.destructive for action in found.actions):
        context.note("! loses, moves or endangers records: needs --allow-destructive.")
    if found.unmanaged:
        context.note(f"{other}: {', '.join(found.unmanaged)}")

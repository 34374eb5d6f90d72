"""`agencybus up | down | status`: the local broker. Registered by `bus.cli.main`.

The trap it avoids: starting a second Kafka beside the one that was configured. A given address (flag, environment or
file) always wins; `up` and `status` then speak of that one and start nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bus.cli import context

if TYPE_CHECKING:
    from bus.broker.launcher import Status
    from bus.settings import Loaded

_ASK_S = 5.0
_Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)


def up(
    ctx: typer.Context,
    *,
    nodes: Annotated[int, typer.Option(help="1, or 3 to see failures through.")] = 1,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the first node; default 9092.")] = None,
    json: _Json = False,
) -> None:
    """Start Apache Kafka on this machine and wait until it serves; data stay in the data directory."""
    found = context.loaded(ctx)
    given = context.given_bootstrap(found)
    if given is not None:
        _require(given, _origin(found))
        context.note(f"Using Kafka at {given} ({_origin(found)}); nothing was started.")
        if json:
            context.print_json({"bootstrap": given, "started": False, "state": "running", "nodes": []})
        return
    from bus.broker import launcher
    from bus.cli.progress import ProgressLine

    chosen = found.settings
    with ProgressLine() as progress:
        cluster = launcher.up(
            chosen.broker_dir,
            progress=progress,
            nodes=nodes,
            port=port,
            cache=chosen.cache_dir,
            kafka_home=chosen.kafka_home,
            repository=chosen.broker_repository,
        )
    context.note(f"Kafka {'is up' if cluster.started else 'was already running'} at {cluster.bootstrap}.")
    if json:
        context.print_json({**_document(cluster.status), "started": cluster.started})


def down(ctx: typer.Context, *, json: _Json = False) -> None:
    """Stop the local broker; its data stay."""
    from bus.broker import launcher
    from bus.cli.progress import ProgressLine

    with ProgressLine() as progress:
        stopped = launcher.down(context.settings(ctx).broker_dir, progress=progress)
    context.note(f"Stopped {stopped} node(s)." if stopped else "No local broker was running.")
    if json:
        context.print_json({"stopped": stopped})


def status(ctx: typer.Context, *, json: _Json = False) -> None:
    """Say whether Kafka runs. Exit code 0: it does, 1: it does not."""
    found = context.loaded(ctx)
    given = context.given_bootstrap(found)
    if given is not None:
        running = _answers(given)
        document: dict[str, Any] = {"bootstrap": given, "state": "running" if running else "unreachable", "nodes": []}
        lines = [f"Kafka at {given} ({_origin(found)}) {'answers' if running else 'does not answer'}."]
    else:
        from bus.broker import launcher

        now = launcher.status(found.settings.broker_dir)
        running, document = now.running, _document(now)
        lines = _lines(now)
    if json:
        context.print_json(document)
    else:
        for line in lines:
            typer.echo(line)
    if not running:
        raise typer.Exit(1)


def _origin(found: Loaded) -> str:
    return found.origins["bootstrap"]


def _answers(bootstrap: str) -> bool:
    from bus.broker import probe

    return any(probe.ask(address, timeout=_ASK_S) is not None for address in bootstrap.split(","))


def _require(bootstrap: str, origin: str) -> None:
    from bus.errors import Unreachable

    if not _answers(bootstrap):
        raise Unreachable(
            f"Kafka at {bootstrap} ({origin}) does not answer.",
            remedy="Start it, correct the address, or leave it out: `agencybus up` then starts a local broker.",
        )


def _document(now: Status) -> dict[str, Any]:
    states = {node.state for node in now.nodes}
    overall = "stopped" if not states else states.pop() if len(states) == 1 else "partly running"
    return {
        "bootstrap": now.bootstrap or None,
        "state": overall,
        "cluster_id": now.cluster_id,
        "directory": str(now.directory),
        "nodes": [
            {"id": node.id, "address": node.address, "state": node.state, "pid": node.pid, "log": str(node.log)}
            for node in now.nodes
        ],
    }


def _lines(now: Status) -> list[str]:
    if not now.nodes:
        return [f"No local broker: none was started in {now.directory}. Start one with `agencybus up`."]
    words = {
        "running": "running",
        "starting": "alive but not serving (yet)",
        "stale": "died; `agencybus up` starts it again on its data",
        "stopped": "stopped",
    }
    return [
        f"node {node.id} at {node.address}: {words[node.state]}, pid {node.pid or '-'}, log {node.log}"
        for node in now.nodes
    ]

"""`agencybus config show`: the settings in force and where each came from.

Registered by `bus.cli.main`. The trap it avoids: a secret printed into a terminal log (secret fields show as stars).
"""

from __future__ import annotations

from typing import Annotated

import typer

from bus.cli import context


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    config = typer.Typer(no_args_is_help=True, help="The settings in force.")
    config.command("show")(show)
    app.add_typer(config, name="config")


def show(
    ctx: typer.Context,
    *,
    origin: Annotated[bool, typer.Option("--origin", help="Also say where each value came from.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Print every setting; order: flag, environment AGENCYBUS__NAME, .env, agencybus.toml or --config, default."""
    found = context.loaded(ctx)
    values = found.settings.model_dump(mode="json")
    if json:
        context.print_json(
            {key: {"value": value, "origin": found.origins[key]} for key, value in values.items()} if origin else values
        )
        return
    rows = [[key, value, *([found.origins[key]] if origin else [])] for key, value in values.items()]
    context.show(context.table("", ["setting", "value", *(["origin"] if origin else [])], rows))

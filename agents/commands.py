"""The commands of this package, registered through the entry point ``agencybus.commands``.

Called by `bus.cli.main`. Each group has a file of its own.
"""

from __future__ import annotations

import typer

from agents import cli_case, cli_demo, cli_worker


def register(app: typer.Typer) -> None:
    """Add the commands of this package to `app`."""
    app.command("demo")(cli_demo.demo)
    app.add_typer(cli_worker.app)
    app.add_typer(cli_case.app)

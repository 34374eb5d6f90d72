"""The commands of this package: `agencybus replay` and the group `agencybus connector`.

Registered through the entry point ``agencybus.commands``. Errors are raised, never printed: `bus.cli.main` turns them
into a sentence and an exit code.
"""

from __future__ import annotations

import typer

from connectors import cli_connector, cli_replay


def register(app: typer.Typer) -> None:
    """Add the commands of this package to `app`."""
    app.command("replay")(cli_replay.replay)
    app.add_typer(cli_connector.app)

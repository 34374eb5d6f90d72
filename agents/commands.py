"""Adds the commands of the `agents` package to the `agencybus` command line (entry point `agencybus.commands`).

Called by `bus.cli.main`, which must not import this package by name: imports point downwards only. A new group is one
more file `cli_<group>.py` with an `app`, and one more line here.
"""

from __future__ import annotations

import typer

from agents import cli_case, cli_demo, cli_worker, cli_workflow


def register(app: typer.Typer) -> None:
    """Add every command group of this package to `app`."""
    for group in (cli_workflow.app, cli_case.app, cli_worker.app):
        app.add_typer(group)
    app.command("demo")(cli_demo.demo)

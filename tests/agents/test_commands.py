"""The commands this package adds."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import agents
from agents import commands


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    commands.register(made)
    return made


def test_the_entry_point_is_this_function() -> None:
    (entry,) = [e for e in metadata.entry_points(group="agencybus.commands") if e.name == "agents"]
    assert entry.load() is commands.register


@pytest.mark.parametrize("words", ["workflow check", "workflow draw", "case trace", "worker run", "demo"])
def test_each_command_is_there_and_explains_itself(app: typer.Typer, words: str) -> None:
    shown = CliRunner().invoke(app, [*words.split(), "--help"])
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


def test_each_command_file_of_the_package_is_registered(app: typer.Typer) -> None:
    files = {path.stem.removeprefix("cli_") for path in Path(agents.__file__).parent.glob("cli_*.py")}
    groups = {group.typer_instance.info.name for group in app.registered_groups if group.typer_instance is not None}
    assert files == groups | {command.name for command in app.registered_commands}

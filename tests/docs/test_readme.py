"""The README tells the truth: its program runs, its commands parse, its files and settings are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import typer

from bus import wiring
from bus.cli import main
from bus.message import Partition
from bus.settings import Settings
from bus.testing import memory_bus, memory_cluster
from bus.transport.memory import MemoryCluster
from schemas.catalogue import standard
from schemas.envelope import from_headers
from schemas.requests import RequestCompleted, RequestCreated
from tests.schemas.samples import EVENTS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROGRAM = next(text for kind, text in BLOCKS if kind == "python")
SHELL = [line[2:] for kind, text in BLOCKS if kind == "console" for line in text.splitlines() if line.startswith("$ ")]
QUOTED = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL))
COMMANDS = [
    line for line in [*SHELL, *QUOTED] if line.startswith("agencybus ") and not re.search(r"\[|\bFILE\b|\|", line)
]


class OneDelivery:
    """A bus whose subscriptions end after one delivery; a program's endless loop then comes to its end."""

    def __init__(self, bus: wiring.Bus) -> None:
        self._bus = bus

    def subscribe(self, *args: Any, **more: Any) -> Iterator[Any]:
        subscription = self._bus.subscribe(*args, **more)
        yield from islice(subscription, 1)
        subscription.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> MemoryCluster:
    """Every topic of the standard contracts in memory; `connect` leads there."""
    made = memory_cluster(*(known.topic for known in standard().types()), partitions=1)

    @contextmanager
    def connect(*, agency: str) -> Iterator[OneDelivery]:
        with memory_bus(made, agency=agency) as bus:
            yield OneDelivery(bus)

    monkeypatch.setattr(wiring, "connect", connect)
    return made


def test_the_program_answers_a_request(cluster: MemoryCluster, capsys: pytest.CaptureFixture[str]) -> None:
    request = next(event for event in EVENTS if isinstance(event, RequestCreated))
    with memory_bus(cluster, agency="portal") as portal:
        asked = portal.publish(request, case="case-1")
    exec(compile(PROGRAM, "README.md", "exec"), {})
    (record,) = cluster.logs[Partition("social-fund.request.completed.v1", 0)]
    envelope = from_headers(record.headers)
    assert (envelope.correlationid, envelope.causationid) == ("case-1", asked.id)
    with memory_bus(cluster) as bus:
        done = bus.core.codec.decode(record.value or b"", RequestCompleted)
    assert done.request_id == request.request_id
    assert capsys.readouterr().out == "social-fund.request.completed.v1 0 0\n"
    assert cluster.groups["social-fund-intake"].commits[Partition(asked.topic, 0)] == 1


def test_the_program_is_about_ten_lines() -> None:
    assert len([line for line in PROGRAM.splitlines() if line.strip()]) <= 10


def parsed(line: str) -> Any:
    """The context of the command that a line runs; nothing is run. Raises what the parser raises."""
    words = main._hoist(shlex.split(line, comments=True)[1:])
    command: Any = typer.main.get_command(main.build())
    context = command.make_context("agencybus", words)
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_line_parses(line: str) -> None:
    assert parsed(line).command.callback is not None


def test_a_line_with_an_option_or_command_that_is_not_there_would_be_noticed() -> None:
    assert len(COMMANDS) > 8
    for line in ("agencybus lag --wotch", "agencybus lagg", "agencybus case trace"):
        with pytest.raises(Exception, match=r"No such|Missing parameter"):
            parsed(line)


def leaves(command: Any, words: str = "agencybus") -> Iterator[tuple[str, Any, Any]]:
    """Every command with the one it stands in."""
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield f"{words} {name}", child, command
        yield from leaves(child, f"{words} {name}")


def test_each_command_is_found_from_the_readme_or_its_group_s_help() -> None:
    root: Any = typer.main.get_command(main.build())
    found = list(leaves(root))
    assert len(found) > 20
    for words, command, group in found:
        told = group.get_help(group.make_context("x", [], resilient_parsing=True))
        assert words in README or f" {command.name} " in told, words
        assert command.help, f"{words} says nothing of itself"


def test_each_group_and_plain_command_of_the_three_doors_is_in_the_readme() -> None:
    doors = ("publish", "consume", "workflow check", "workflow draw", "replay", "lag", "case trace", "topics plan")
    assert [words for words in (*doors, "doctor", "up", "down") if f"agencybus {words}" not in README] == []


def test_each_setting_can_be_looked_up(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main.main(["config", "show"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in Settings.model_fields if name not in shown] == []


@pytest.mark.parametrize("name", sorted(set(re.findall(r"AGENCYBUS__[A-Z_]+", README))))
def test_each_setting_the_readme_names_is_one(name: str) -> None:
    assert name.removeprefix("AGENCYBUS__").lower() in Settings.model_fields


PATHS = sorted(
    {
        word
        for text in [*QUOTED, *SHELL]
        for word in text.split()
        if re.match(r"^(schemas|bus|agents|connectors)/", word)
    }
)


@pytest.mark.parametrize("path", PATHS)
def test_each_file_the_readme_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_files_are_named() -> None:
    assert len(PATHS) > 5


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake (\w+)", "; ".join([*SHELL, *QUOTED])))))
def test_each_make_target_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("code", ["0 done", "1 failed", "2 usage", "3 a check", "4 unreachable", "130 interrupted"])
def test_the_exit_codes_are_told(code: str) -> None:
    assert code in " ".join(README.split())

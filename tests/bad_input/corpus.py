"""All cases of bad input, the command line of each kind, and what its file is called.

Read by `test_bad_input` and `test_nothing_published`. The cases are made from small right inputs by named mutations;
nothing of them is kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bad_input import (
    seeds_csv,
    seeds_definitions,
    seeds_lines,
    seeds_operators,
    seeds_settings,
    seeds_topologies,
    seeds_xes,
)
from tests.bad_input.case import Case

Words = Callable[[str, Path], list[str]]

WITHOUT_BROKER: list[Case] = [
    *seeds_definitions.CASES,
    *seeds_xes.CASES,
    *seeds_csv.CASES,
    *seeds_topologies.CASES,
    *seeds_settings.CASES,
    *seeds_lines.DIFF_CASES,
    *seeds_operators.CASES,
]
"""Refused before anything is connected to."""

LINES: list[Case] = seeds_lines.LINE_CASES
"""Input of `publish`, which answers line by line and so is connected first."""

_OF: dict[str, tuple[str, Words]] = {
    seeds_definitions.CHECK: ("bad.yaml", seeds_definitions.words),
    seeds_definitions.WORKER: ("bad.yaml", seeds_definitions.words),
    seeds_xes.KIND: ("bad.xes", seeds_xes.words),
    seeds_csv.KIND: ("bad.csv", seeds_csv.words),
    seeds_topologies.PLAN: ("bad.yaml", seeds_topologies.words),
    seeds_topologies.APPLY: ("bad.yaml", seeds_topologies.words),
    seeds_topologies.DIFF: ("bad.yaml", seeds_topologies.words),
    seeds_settings.TOML: ("bad.toml", seeds_settings.words),
    seeds_settings.ENV: ("bad.toml", seeds_settings.words),
    seeds_settings.DOTENV: (".env", seeds_settings.words),
    seeds_lines.DIFF: ("bad.avsc", seeds_lines.words),
    seeds_lines.LINES: ("bad.jsonl", seeds_lines.words),
    seeds_operators.OPERATOR: ("none", seeds_operators.words),
}


def file_of(case: Case, folder: Path) -> Path:
    """Make the case's input in `folder`; returns its path."""
    path = folder / _OF[case.kind][0]
    case.put(path)
    return path


def command_of(case: Case, path: Path, bootstrap: str) -> list[str]:
    """The words of the command that reads the input."""
    connects = case.kind not in (seeds_settings.TOML, seeds_settings.ENV, seeds_settings.DOTENV)
    return [*_OF[case.kind][1](case.kind, path), *case.words, *(["--bootstrap", bootstrap] if connects else [])]

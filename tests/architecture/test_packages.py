"""What ships and how it is put together: packages, entry points, the lock, the Makefile, continuous integration."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "bus", "agents", "connectors")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
PINS = [
    *PROJECT["project"]["dependencies"],
    *EXTRAS["embedded"],
    *PROJECT["dependency-groups"]["dev"],
    *PROJECT["build-system"]["requires"],
]
MAKE = (ROOT / "Makefile").read_text()
TARGETS = ("demo", "test", "check", "unit", "torture", "bench", "lock", "clean")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_typed_and_says_whose_it_is(package: str) -> None:
    assert (ROOT / package / "py.typed").read_bytes() == b""
    said = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))
    assert said is not None
    assert said.endswith("Part of agencybus.")  # bus.cli.main looks for this before it runs anything of a package
    assert (ROOT / package / "DESIGN.md").is_file()


def test_the_wheel_holds_exactly_the_packages() -> None:
    assert sorted(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == sorted(PACKAGES)
    here = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert here - {"tests"} == set(PACKAGES)


def test_each_entry_point_loads() -> None:
    declared = PROJECT["project"]["entry-points"]["agencybus.commands"]
    entries = {entry.name: entry for entry in metadata.entry_points(group="agencybus.commands")}
    assert {name: entries[name].value for name in declared} == declared
    assert all(callable(entry.load()) for entry in entries.values())
    (script,) = metadata.entry_points(group="console_scripts", name="agencybus")
    assert callable(script.load())


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    found = [re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", line) for line in lines]
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


@pytest.mark.parametrize("pin", PINS)
def test_each_direct_dependency_is_pinned_and_locked_at_that_version(pin: str) -> None:
    requirement = Requirement(pin)
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    assert locked()[requirement.name.lower().replace("_", "-")] == specifier.version


def test_each_locked_version_has_its_checksum() -> None:
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    assert len(blocks) > len(PINS)
    assert [block for block in blocks if "--hash=sha256:" not in block] == []


def test_the_lock_names_no_index() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"^--|://", text, re.MULTILINE)


@pytest.mark.parametrize("target", TARGETS)
def test_each_make_target_is_there_and_phony(target: str) -> None:
    assert re.search(rf"^{target}:", MAKE, re.MULTILINE)
    phony = re.search(r"^\.PHONY:(.*)$", MAKE, re.MULTILINE)
    assert phony is not None
    assert target in phony[1].split()


def test_make_test_checks_style_types_and_imports_and_runs_every_test() -> None:
    assert re.search(r"^test: check\b", MAKE, re.MULTILINE)
    recipe = MAKE.split("\ncheck:", 1)[1].split("\n\n", 1)[0]
    assert all(tool in recipe for tool in ("ruff check", "ruff format --check", "mypy", "lint-imports"))
    assert re.search(r"^test:.*\n\t\$\(BIN\)/python -m pytest\n", MAKE, re.MULTILINE)


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "exec make test" in script.read_text().splitlines()
    assert "set -euo pipefail" in script.read_text()

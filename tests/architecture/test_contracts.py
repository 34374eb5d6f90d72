"""The import contracts hold, and would not if someone broke one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "bus", "agents", "connectors")
VERDICT = re.compile(r"(.+) (KEPT|BROKEN)(?: \(.*\))?")  # behind it may stand how many imports are ignored


def lint(folder: Path) -> tuple[int, dict[str, str]]:
    """Run import-linter in a folder; its exit code and each contract's verdict."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, env={"COLUMNS": "300"})
    verdicts = {}
    for line in done.stdout.splitlines():
        found = VERDICT.fullmatch(line.strip())
        if found is not None:
            verdicts[found[1]] = found[2]
    return done.returncode, verdicts


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their contracts, to be broken."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def append(path: Path, line: str) -> None:
    path.write_text(f"{path.read_text()}\n{line}\n")


def test_the_import_contracts_hold() -> None:
    code, verdicts = lint(ROOT)
    assert code == 0, verdicts
    assert len(verdicts) == 7
    assert set(verdicts.values()) == {"KEPT"}


def test_each_contract_notices_its_own_breach(copy: Path) -> None:
    append(copy / "connectors" / "office.py", "from agents import case")
    for package in PACKAGES:
        (copy / package / "stray.py").write_text('"""A file that no layer knows."""\n')
    append(copy / "agents" / "machine.py", "import time")
    append(copy / "agents" / "trace.py", "import faust")
    code, verdicts = lint(copy)
    assert code == 1
    assert [name for name, verdict in verdicts.items() if verdict == "KEPT"] == []


def test_a_lower_package_that_imports_a_higher_one_is_noticed(copy: Path) -> None:
    append(copy / "schemas" / "names.py", "from bus import errors")
    _, verdicts = lint(copy)
    assert {name: verdict for name, verdict in verdicts.items() if verdict == "BROKEN"} == {
        "Packages point one way; workflows and agencies meet only on topics": "BROKEN"
    }

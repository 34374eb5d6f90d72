"""Bars reach the table from whichever process ran their test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.fixture
def broken():
    raise RuntimeError("no broker")

def test_met(bar):
    bar("Kills", demanded="lost 0", measured="lost 0", ok=True, seed=3)

def test_missed(bar):
    bar("Order", demanded="0", measured="3", ok=False)

def test_broke(bar):
    raise RuntimeError("before it measured")

def test_had_no_broker(bar, broken):
    pass
"""
CONFTEST = """
from tests.torture.bars_plugin import bar, register as pytest_configure
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_bar_is_a_line_of_the_table_met_missed_or_not_measured(tmp_path: Path, processes: str) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    env = {**os.environ, "TORTURE_JSON": str(tmp_path / "told.json"), "PYTHONPATH": str(Path(__file__).parents[2])}
    env.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-m", "pytest", "-n", processes]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert {one["name"]: one["ok"] for one in told["bars"]} == {"Kills": True, "Order": False}
    assert sorted(told["broken"]) == ["test_broke", "test_had_no_broker"]
    assert done.stdout.count("MISSED") == 3
    assert "Order: demanded 0; measured 3" in done.stdout

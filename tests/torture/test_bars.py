"""A missed bar fails its test, and what broke before it measured still stands in the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.torture import bars
from tests.torture.bars import Bar, Run

MET = Bar("Kills", "lost 0", "lost 0", ok=True, figures={"seed": 3, "at": Path("x")})


def test_the_table_says_of_each_bar_what_was_demanded_and_measured() -> None:
    lines = bars.table([MET, Bar("Order", "0", "3", ok=False)], ["test_x"])
    assert [line.split("  ")[-1].strip() for line in lines[1:]] == ["met", "MISSED", "MISSED"]
    assert "broke before it measured" in lines[3]


def test_the_file_holds_every_bar_with_its_figures_as_soon_as_it_is_known(tmp_path: Path) -> None:
    path = tmp_path / "torture.json"
    Run(path).report("a.py::test_x", MET)
    assert json.loads(path.read_text())["bars"][0]["figures"]["seed"] == 3


def test_a_missed_bar_fails_its_test_and_is_kept() -> None:
    run = Run(None)
    with pytest.raises(AssertionError, match="Kills: demanded lost 0; measured lost 2"):
        run.report("a.py::test_x", Bar("Kills", "lost 0", "lost 2", ok=False))
    run.failed("a.py::test_x")
    assert [bar.ok for bar in run.bars] == [False]
    assert run.broken == []


def test_a_test_that_broke_before_it_measured_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path / "torture.json")
    run.failed("a.py::test_x[faust]")
    assert run.broken == ["test_x[faust]"]
    assert json.loads((tmp_path / "torture.json").read_text())["broken"] == ["test_x[faust]"]


def test_a_run_without_a_scale_is_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "FULL", False)
    assert bars.sized(1000, 20) == 20
    monkeypatch.setattr(bars, "FULL", True)
    monkeypatch.setattr(bars, "SCALE", 2.5)
    assert bars.sized(1000, 20) == 2500

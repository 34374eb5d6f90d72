"""`agencybus workflow check|draw`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import agents
from bus.cli.main import main

PROCESSES = Path(agents.__file__).parent / "processes"
BAD = """process: p
title: Wrong
opens_on: health.birth.notified.v1
do:
  - got: {listen: justice.birth.registred.v1, owner: justice}
"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD, encoding="utf-8")
    return path


def test_right_files_are_confirmed_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(path) for path in sorted(PROCESSES.glob("*.yaml"))]
    assert main(["workflow", "check", *files]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in out] == files


def test_findings_of_all_files_are_told_and_the_exit_code_is_3(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = bad.with_name("missing.yaml")
    assert main(["workflow", "check", str(bad), str(PROCESSES / "birth.yaml"), str(missing)]) == 3
    told = capsys.readouterr()
    assert "birth.yaml: process birth is right" in told.out
    assert f"{bad}:5: " in told.err
    assert "justice.birth.registered.v1" in told.err
    assert str(missing) in told.err


def test_findings_as_json_have_the_agreed_keys(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workflow", "check", "--json", str(bad)]) == 3
    found = json.loads(capsys.readouterr().out)
    assert all(list(entry) == ["file", "line", "rule", "message", "fix"] for entry in found)
    assert {entry["rule"] for entry in found} == {"unknown-type", "deadline-missing", "end-missing"}
    assert main(["workflow", "check", "--json", str(PROCESSES / "birth.yaml")]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_process_is_drawn_to_stdout_or_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    birth = str(PROCESSES / "birth.yaml")
    assert main(["workflow", "draw", birth]) == 0
    assert capsys.readouterr().out.startswith("flowchart TD")
    out = tmp_path / "birth.svg"
    assert main(["workflow", "draw", birth, "--format", "svg", "-o", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert out.read_text(encoding="utf-8").startswith("<svg ")
    assert main(["workflow", "draw", birth, "-o", str(tmp_path / "no" / "dir.svg")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_wrong_file_is_not_drawn(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workflow", "draw", str(bad)]) == 3
    assert "bad.yaml:5" in capsys.readouterr().err

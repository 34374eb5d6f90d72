"""`agencybus schema check|diff`: findings with file, line and fix, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bus.cli.main import main
from schemas import snapshots
from schemas.catalogue import standard

Said = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Fresh snapshots with one release."""
    snapshots.write(standard().models(), tmp_path)
    snapshots.release(standard().models(), "0.1.0", tmp_path)
    return tmp_path


def test_the_committed_contracts_pass(capsys: Said) -> None:
    assert main(["schema", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_break_is_reported_with_file_line_and_fix(folder: Path, capsys: Said) -> None:
    path = folder / "released/0.1.0/birth.notified.v1.avsc"
    path.write_text(path.read_text().replace('"precision"', '"p"').replace("timestamp-micros", "timestamp-millis"))
    assert main(["schema", "check", "--json", "--folder", str(folder)]) == 3
    findings = json.loads(capsys.readouterr().out)
    assert {f["rule"] for f in findings} == {"logical-type"}
    now = folder / "birth.notified.v1.avsc"
    for finding in findings:
        assert finding["file"] == str(now)
        assert '"born_at"' in now.read_text().splitlines()[finding["line"] - 1]
        assert "major" in finding["fix"]


def test_stale_snapshots_fail_until_written(folder: Path, capsys: Said) -> None:
    (folder / "birth.notified.v1.avsc").write_text("{}")
    assert main(["schema", "check", "--folder", str(folder)]) == 3
    said = capsys.readouterr()
    assert "birth.notified.v1.avsc: the snapshot differs from BirthNotified [snapshot]" in said.out
    assert main(["schema", "check", "--write", "--folder", str(folder)]) == 0
    assert main(["schema", "check", "--folder", str(folder)]) == 0


def test_a_release_is_kept_once_and_only_when_all_is_well(folder: Path, capsys: Said) -> None:
    assert main(["schema", "check", "--release", "0.2.0", "--folder", str(folder)]) == 0
    assert main(["schema", "check", "--release", "0.2.0", "--folder", str(folder)]) == 1
    assert "kept already" in capsys.readouterr().err
    (folder / "birth.notified.v1.avsc").unlink()
    assert main(["schema", "check", "--release", "0.3.0", "--folder", str(folder)]) == 3
    assert not (folder / "released/0.3.0").exists()


def variant(tmp_path: Path, name: str, change: Any) -> str:
    schema = json.loads((snapshots.FOLDER / "benefit.assigned.v1.avsc").read_text())
    change(schema["fields"])
    path = tmp_path / name
    path.write_text(json.dumps(schema, indent=2))
    return str(path)


def test_diff_of_compatible_schemas_exits_0(tmp_path: Path, capsys: Said) -> None:
    old = variant(tmp_path, "old.avsc", lambda fields: None)
    more = {"name": "note", "type": ["null", "string"], "default": None, "doc": "Note."}
    new = variant(tmp_path, "new.avsc", lambda fields: fields.append(more))
    assert main(["schema", "diff", old, new, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "levels": {"BACKWARD": "compatible", "FORWARD": "compatible", "FULL": "compatible"},
        "findings": [],
    }


def test_diff_tells_which_direction_breaks_and_where(tmp_path: Path, capsys: Said) -> None:
    old = variant(tmp_path, "old.avsc", lambda fields: None)
    new = variant(tmp_path, "new.avsc", lambda fields: fields.pop(0))
    assert main(["schema", "diff", old, new, "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["levels"] == {"BACKWARD": "compatible", "FORWARD": "incompatible", "FULL": "incompatible"}
    assert [(f["rule"], f["file"]) for f in told["findings"]] == [("missing-default", new)]
    assert main(["schema", "diff", old, new]) == 3
    assert "FORWARD: incompatible" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"[" * 9999, b'{"type":"record"}', b"\x00" * 70_000]
)
def test_a_bad_file_is_one_sentence_and_no_traceback(tmp_path: Path, capsys: Said, content: bytes) -> None:
    bad = tmp_path / "bad.avsc"
    bad.write_bytes(content)
    good = variant(tmp_path, "good.avsc", lambda fields: None)
    for pair in ((str(bad), good), (good, str(bad)), (good, str(tmp_path / "none.avsc"))):
        assert main(["schema", "diff", *pair]) == 3
        said = capsys.readouterr()
        errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert "bad.avsc" in errors[0] or "none.avsc" in errors[0]
        assert "Traceback" not in said.err
        assert said.out == ""

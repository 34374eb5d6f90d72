"""`doctor`: 3 on findings, 0 when well (4 when unreachable: tests/bus/test_cli_main.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bus.cli import main


@pytest.mark.kafka
def test_on_kafka_it_finds_what_differs_and_is_content_after_apply(
    kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bus import topology

    assert main.main(["topics", "apply", "--bootstrap", kafka]) == 0
    capsys.readouterr()
    assert main.main(["doctor", "--json", "--bootstrap", kafka]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["reachable"]
    assert {finding["level"] for finding in told["findings"]} <= {"warning"}
    other = tmp_path / "other.yaml"
    other.write_text(topology.STANDARD.read_text(encoding="utf-8").replace("retention: 30d", "retention: 20d"))
    assert main.main(["doctor", "--json", "--topology", str(other), "--bootstrap", kafka]) == 3
    told = json.loads(capsys.readouterr().out)
    assert [f["rule"] for f in told["findings"] if f["level"] == "error"] == ["topology"]

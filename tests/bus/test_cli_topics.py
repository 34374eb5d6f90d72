"""`topics plan|apply|diff`: exit codes and documents; plan and apply on real Kafka."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bus import topology
from bus.cli import main
from bus.transport.kafka_admin import KafkaAdmin

GOOD = topology.STANDARD.read_text(encoding="utf-8")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any, str]]:
    """Run a command; give its exit code, its JSON document (or None) and stderr."""

    def run(*words: str | Path) -> tuple[int, Any, str]:
        code = main.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out.startswith(("{", "[")) else None, err

    return run


def test_diff_shows_changes_and_exits_three(tmp_path: Path, call: Callable[..., tuple[int, Any, str]]) -> None:
    after = tmp_path / "after.yaml"
    after.write_text(GOOD.replace("retention: 30d", "retention: 7d"))
    code, shown, _ = call("topics", "diff", topology.STANDARD, after, "--json")
    assert code == 3
    assert {change["action"] for change in shown["changes"]} == {"alter"}
    assert all(change["destructive"] for change in shown["changes"])
    assert call("topics", "diff", after, after, "--json")[:2] == (0, {"changes": [], "unmanaged": []})


def test_diff_draws_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    after = tmp_path / "after.yaml"
    after.write_text(GOOD.replace("retention: 30d", "retention: 7d"))
    assert main.main(["topics", "diff", str(topology.STANDARD), str(after)]) == 3
    out, err = capsys.readouterr()
    assert "retention.ms 2592000000 → 604800000" in out
    assert "--allow-destructive" in err


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_wrong_file_is_told_before_any_broker_is_asked(
    tmp_path: Path, call: Callable[..., tuple[int, Any, str]], command: str
) -> None:
    broken = tmp_path / "t.yaml"
    broken.write_text("defaults: {partitions: 6}\ntopics: [\n")
    code, _, err = call("topics", command, broken, "--bootstrap", "127.0.0.1:1")
    assert code == 3
    assert f"error: {broken}:3: " in err


@pytest.mark.kafka
def test_on_kafka_apply_makes_everything_and_twice_changes_nothing(
    kafka: str, tmp_path: Path, call: Callable[..., tuple[int, Any, str]]
) -> None:
    at = ("--bootstrap", kafka, "--json")
    code, done, _ = call("topics", "apply", *at)
    assert code == 0
    assert {result["outcome"] for result in done["results"]} <= {"done"}
    assert call("topics", "apply", *at)[:2] == (0, {"results": []})
    assert call("topics", "plan", *at)[0] == 0

    shorter = tmp_path / "shorter.yaml"
    name = "portal.request.rejected.v1"
    shorter.write_text(GOOD.replace(f"  {name}:\n", f"  {name}: {{retention: 29d}}\n"))
    code, shown, _ = call("topics", "plan", shorter, *at)
    assert (code, [change["topic"] for change in shown["changes"]]) == (3, [name])
    code, done, _ = call("topics", "apply", shorter, *at)
    assert (code, [result["outcome"] for result in done["results"]]) == (3, ["skipped"])
    assert call("topics", "apply", shorter, "--dry-run", "--allow-destructive", *at)[0] == 3
    assert retention(kafka, name) == "2592000000", "neither a skip nor a dry run changes anything"
    assert call("topics", "apply", shorter, "--allow-destructive", *at)[0] == 0
    assert retention(kafka, name) == "2505600000"
    assert call("topics", "apply", *at)[0] == 0
    assert retention(kafka, name) == "2592000000"


def retention(bootstrap: str, topic: str) -> str:
    admin = KafkaAdmin(bootstrap)
    try:
        return admin.topics()[topic].config["retention.ms"]
    finally:
        admin.close()

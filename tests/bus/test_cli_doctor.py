"""`doctor`: 0 well or warnings only, 3 findings, 4 unreachable; every check that can run is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bus import local_checks
from bus.cli import doctor, main
from bus.errors import BusError, Refused, Unreachable
from bus.selfcheck import Verdict

Capture = pytest.CaptureFixture[str]
WARNING = Verdict("warning", "disk", "/data", "Little is free.", "Free some.")
ERROR = Verdict("error", "min-isr", "t", "Too few.", "Raise it.")
TOLD = {"cluster": "c", "kafka": "4.3", "brokers": 1, "topics": 9}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let this machine have these findings, and the cluster those or an error."""

    def let(here: list[Verdict], there: list[Verdict] | BusError) -> None:
        def cluster(*_: object) -> tuple[dict[str, Any], list[Verdict]]:
            if isinstance(there, BusError):
                raise there
            return TOLD, there

        monkeypatch.setattr(local_checks, "check", lambda directory: list(here))
        monkeypatch.setattr(doctor, "_cluster", cluster)

    return let


@pytest.mark.parametrize(
    ("here", "there", "outcome"),
    [
        ([], [], (0, True, [])),
        ([WARNING], [], (0, True, ["disk"])),
        ([WARNING], [ERROR], (3, True, ["disk", "min-isr"])),
        ([ERROR], [], (3, True, ["min-isr"])),
        ([WARNING], Unreachable("Gone."), (4, False, ["disk"])),
        ([ERROR], Unreachable("Gone."), (4, False, ["min-isr"])),
        ([WARNING], Refused("No right to describe."), (3, True, ["disk", "cluster"])),
    ],
)
def test_the_exit_code_says_how_bad_it_is_and_the_document_tells_all_that_could_be_checked(
    found: Callable[..., None],
    capsys: Capture,
    here: list[Verdict],
    there: list[Verdict] | BusError,
    outcome: tuple[int, bool, list[str]],
) -> None:
    code, reachable, rules = outcome
    found(here, there)
    assert main.main(["doctor", "--json", "--bootstrap", "b:1"]) == code
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["reachable"] is reachable
    assert document["bootstrap"] == "b:1"
    assert [finding["rule"] for finding in document["findings"]] == rules
    assert all(set(f) == {"level", "rule", "subject", "message", "remedy"} for f in document["findings"])
    assert (TOLD.items() <= document.items()) == isinstance(there, list)
    assert err == ("error: Gone.\n" if not reachable else "")


def test_people_see_the_facts_and_what_to_do_or_that_all_is_well(found: Callable[..., None], capsys: Capture) -> None:
    found([], [])
    assert main.main(["doctor", "--bootstrap", "b:1"]) == 0
    assert "All is well." in capsys.readouterr().out
    found([WARNING], [ERROR])
    assert main.main(["doctor", "--bootstrap", "b:1"]) == 3
    shown = capsys.readouterr().out
    assert "kafka" in shown
    assert "Raise it." in shown
    assert "Free some." in shown
    assert "All is well" not in shown
    found([], Unreachable("Gone.", remedy="Start one."))
    assert main.main(["doctor", "--bootstrap", "b:1"]) == 4
    out, err = capsys.readouterr()
    assert "All is well" not in out
    assert err == "error: Gone.\nStart one.\n"


def test_a_wrong_topology_file_is_told_with_its_line_before_any_broker_is_asked(
    tmp_path: Path, capsys: Capture
) -> None:
    broken = tmp_path / "t.yaml"
    broken.write_text("defaults: {partitions: 6}\ntopics: [\n")
    assert main.main(["doctor", "--topology", str(broken), "--bootstrap", "127.0.0.1:1"]) == 3
    assert f"error: {broken}:3: " in capsys.readouterr().err


@pytest.mark.kafka
def test_on_kafka_it_finds_what_differs_and_is_content_after_apply(kafka: str, tmp_path: Path, capsys: Capture) -> None:
    from bus import topology

    assert main.main(["topics", "apply", "--bootstrap", kafka]) == 0
    capsys.readouterr()
    assert main.main(["doctor", "--json", "--bootstrap", kafka]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["reachable"]
    assert (told["brokers"], told["kafka"].split(".")[0]) == (1, "4")
    assert {finding["level"] for finding in told["findings"]} <= {"warning"}
    other = tmp_path / "other.yaml"
    other.write_text(topology.STANDARD.read_text(encoding="utf-8").replace("retention: 30d", "retention: 20d"))
    assert main.main(["doctor", "--json", "--topology", str(other), "--bootstrap", kafka]) == 3
    told = json.loads(capsys.readouterr().out)
    assert [f["rule"] for f in told["findings"] if f["level"] == "error"] == ["topology"]

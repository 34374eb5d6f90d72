"""The commands end to end: against real Kafka, and their errors as sentences and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from tests.connectors.support import REAL, count, event, log, real_text, trace


def _agencybus(*words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from bus.cli.main import run; run()", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("replay", "none.xes"), 2, "none.xes: no such file"),
        (("replay", "{bad}"), 3, "bad.xes:5: time:timestamp: 'never' is no date"),
        (("replay", "{good}", "--host", "abacus"), 2, "There is no host abacus"),
        (("replay", "{good}", "--speed", "fast"), 2, "--speed"),
        (("replay", "{good}", "--run", "a/b"), 2, "--run"),
        (("replay", "{good}", "--bootstrap", "127.0.0.1:1"), 4, "127.0.0.1:1"),
        (("connector", "run", "clinic", "--rate", "-1"), 2, "--rate"),
        (("connector", "run", "clinic", "--run", "a b"), 1, "case id"),
        (("connector", "run", "clinic", "--bootstrap", "127.0.0.1:1"), 4, "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_a_code(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    bad, good = tmp_path / "bad.xes", tmp_path / "good.xes"
    bad.write_text(log(trace("a", event("x", "2011-01-01"), event("x", "never"))))
    good.write_text(log(trace("a", event("x", "2011-01-01"))))
    done = _agencybus(*(word.format(bad=bad, good=good) for word in words))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.kafka
@pytest.mark.parametrize("host", ["faust", "aiokafka"])
def test_the_real_log_over_real_kafka_gives_the_independent_count(kafka: str, host: str) -> None:
    expected = count(real_text())
    assert _agencybus("topics", "apply", "--bootstrap", kafka).returncode == 0
    done = _agencybus("replay", str(REAL), "--json", "--host", host, "--bootstrap", kafka)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["cases"] == expected.cases == 1_434
    assert document["events"] == expected.events == 8_577
    assert document["activities"] == dict(expected.activities)
    assert document["outcomes"] == dict(expected.outcomes)
    assert document["deadline_breaches"] == expected.breaches == 92
    assert datetime.fromisoformat(document["first"]) == expected.first
    assert datetime.fromisoformat(document["last"]) == expected.last
    assert document["host"] == host


@pytest.mark.kafka
def test_births_told_by_the_clinic_are_answered_by_the_offices(kafka: str) -> None:
    assert _agencybus("topics", "apply", "--bootstrap", kafka).returncode == 0
    assert _agencybus("connector", "check", "--bootstrap", kafka).returncode == 0
    told = _agencybus("connector", "run", "clinic", "--births", "300", "--run", "k1", "--bootstrap", kafka)
    assert "300 of 300 births told" in told.stderr
    served = _agencybus("connector", "run", "offices", "--exit-when-idle", "3", "--bootstrap", kafka)
    assert served.returncode == 0, served.stderr
    assert "events handled" in served.stderr

"""`agencybus replay`: what its options mean, what it starts, what it shows; whole runs: test_replay, test_commands."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from bus.cli import main
from connectors import cli_replay, replay
from connectors.replay import ReplayPlan
from connectors.replay_events import Tally
from connectors.replay_report import Report

Capture = pytest.CaptureFixture[str]
FOLLOWED = Tally(
    cases=3,
    events=1_203,
    activities=Counter({"a": 3, "b": 1_200}),
    outcomes=Counter({"a": 1, "b": 2}),
    first=datetime(2011, 1, 1, tzinfo=UTC),
    last=datetime(2011, 1, 2, tzinfo=UTC),
)
REPORT = Report(run="r", followed=FOLLOWED, deadline_breaches=1, host="faust", seconds=12.34567)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[ReplayPlan]:
    """The plan of each command that is run; nothing is replayed."""
    found: list[ReplayPlan] = []

    def note(plan: ReplayPlan, _: object) -> Report:
        found.append(plan)
        return REPORT

    monkeypatch.setattr(cli_replay, "_replay", note)
    return found


def test_the_options_are_the_plan(plans: list[ReplayPlan]) -> None:
    words = "replay log.csv --speed 3600 --deadline due --host aiokafka --run r7 --case C --activity A --timestamp T"
    assert main.main([*words.split(), "--delimiter", "tab", "--time-format", "%d.%m.%Y", "--encoding", "latin-1"]) == 0
    (plan,) = plans
    assert (plan.path, plan.speed, plan.deadline, plan.host) == (Path("log.csv"), 3600.0, "due", "aiokafka")
    assert (plan.run, plan.group) == ("r7", "replay-r7")
    columns = plan.columns
    assert (columns.case, columns.activity, columns.timestamp) == ("C", "A", "T")
    assert (columns.delimiter, columns.time_format, columns.encoding) == ("\t", "%d.%m.%Y", "latin-1")


def test_without_options_it_goes_as_fast_as_it_can_on_faust_in_a_run_of_its_own(plans: list[ReplayPlan]) -> None:
    for _ in range(2):
        assert main.main(["replay", "log.xes"]) == 0
    assert [(plan.speed, plan.deadline, plan.host) for plan in plans] == [(None, None, "faust")] * 2
    assert plans[0].run != plans[1].run, "two runs in the same second do not mix"


def test_the_worker_it_starts_is_a_command_there_is_with_the_plan_s_group_cases_and_host() -> None:
    """Connectors never import agents, so nothing but this holds the two command lines together."""
    words = cli_replay._worker(ReplayPlan(path=Path("log.xes"), run="r7", host="aiokafka"))
    command: Any = typer.main.get_command(main.build())
    for name in words[:2]:
        command = command.commands[name]
    given = command.make_context("run", words[2:]).params
    assert {"recorded", "replay-r7", "r7/", "aiokafka"} <= {str(value) for value in given.values()} | {
        str(item) for value in given.values() if isinstance(value, list | tuple) for item in value
    }


def test_the_report_is_one_document_with_the_words_of_the_contract(plans: list[ReplayPlan], capsys: Capture) -> None:
    assert main.main(["replay", "log.xes", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "run": "r",
        "cases": 3,
        "events": 1203,
        "activities": {"a": 3, "b": 1200},
        "outcomes": {"a": 1, "b": 2},
        "deadline_breaches": 1,
        "first": "2011-01-01T00:00:00.000000Z",
        "last": "2011-01-02T00:00:00.000000Z",
        "host": "faust",
        "seconds": 12.346,
    }


def test_people_see_the_most_frequent_first(plans: list[ReplayPlan], capsys: Capture) -> None:
    assert main.main(["replay", "log.xes"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["events", "1,203"] in lines
    assert ["deadline", "breaches", "1"] in lines
    assert lines.index(["b", "1200"]) < lines.index(["a", "3"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_says_how_far_it_got_and_exits_130(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, number: signal.Signals
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(replay, "sort", interrupted)
    assert main.main(["replay", "log.xes", "--run", "r7"]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert "stopped: 0 events of run r7 were published" in err
    assert "Traceback" not in err

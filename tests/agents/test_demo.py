"""The demo in memory: what it starts, what it watches, when it gives up, and figures that come from the log alone."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agents import compile as compiler
from agents import demo, worker
from agents.demo import Demo, DemoPlan, Look
from bus.errors import BusError
from bus.message import Outgoing, Partition
from bus.ports import TopicState
from bus.settings import Settings
from bus.transport import kafka_admin, kafka_reader
from tests.agents import births
from tests.agents.world import CATALOGUE, GROUP, PARTITIONS, World

GRAPH = compiler.compile_file(worker.PROCESSES / "birth.yaml", CATALOGUE)
CASES = f"{GROUP}.cases"
RUN = "r1"


class Stage:
    """A world that goes on whenever the demo sleeps: the worker steps, offices answer, the log is on its topic."""

    def __init__(self) -> None:
        self.world = World(GRAPH)
        self.world.cluster.admin().create(TopicState(CASES, PARTITIONS, 1))
        self.worker = self.world.worker()
        self.loop = asyncio.new_event_loop()
        self.now = 100.0
        self.started: list[tuple[str, list[str]]] = []
        self.stopped = False
        self.failure: BusError | None = None
        self.births: list[str] = []
        self.ready = True

    def start(self, name: str, arguments: Sequence[str], *, may_end: bool = False) -> None:
        self.started.append((name, list(arguments)))
        if name == "worker" and self.ready:
            Path(arguments[-1]).write_text("0 1")
        if name == "clinic":
            self.births = [f"birth-{RUN}-{n:06d}" for n in range(int(arguments[arguments.index("--births") + 1]))]
            for case in self.births:
                births.notify(self.world, case)

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def log(self, name: str) -> Path:
        return Path(f"{name}.log")

    def pids(self) -> dict[str, int]:
        return {}

    def stop(self) -> None:
        self.stopped = True

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.world.clock.advance(seconds=seconds)
        for index, tell in enumerate((births.register, births.identify, births.assign)):
            if self.now > 102 + index and self.births:
                for case in self.births:
                    tell(self.world, case)
                if tell is births.assign:
                    self.births = []
        self.loop.run_until_complete(self.worker.step())
        for number, rows in self.world.rows.items():
            place = Partition(CASES, number)
            new = rows[len(self.world.cluster.logs[place]) :]
            self.world.cluster.store(place, [Outgoing(key, value) for key, value in new])
        self.world.cluster.admin().commit(GROUP, self.worker.runner.committable())


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage()
    monkeypatch.setattr(demo, "GROUP", GROUP)
    monkeypatch.setattr(kafka_admin, "KafkaAdmin", lambda _: made.world.cluster.admin())
    monkeypatch.setattr(kafka_reader, "KafkaReader", lambda _: made.world.cluster.reader())
    monkeypatch.setattr(demo, "Children", lambda *_, **__: made)
    monkeypatch.setattr(time, "sleep", made.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    monkeypatch.setattr(time, "time", lambda: made.world.clock.now().timestamp())
    yield made
    made.loop.close()


@pytest.fixture
def make(stage: Stage, tmp_path: Path) -> Callable[[int], Demo]:
    return lambda cases: Demo(
        DemoPlan(cases=cases, host="aiokafka", seed=3, rate=0, run=RUN), Settings(bootstrap="127.0.0.1:1"), tmp_path
    )


def nothing(_: object) -> None:
    """For what is not looked at."""


def test_it_starts_the_worker_then_the_offices_then_the_clinic(stage: Stage, make: Callable[[int], Demo]) -> None:
    said: list[str] = []
    make(2).run(nothing, said.append)
    assert [name for name, _ in stage.started] == ["worker", "offices", "clinic"]
    assert stage.started[0][1][:5] == ["worker", "run", "birth", "--host", "aiokafka"]
    assert stage.started[1][1] == ["connector", "run", "offices"]
    clinic = ["connector", "run", "clinic", "--births", "2", "--seed", "3", "--rate", "max", "--run", RUN]
    assert stage.started[2][1] == clinic
    assert said[-1] == "The clinics report 2 births."


def test_the_summary_adds_up(stage: Stage, make: Callable[[int], Demo]) -> None:
    # Another run on the same topics, one case open and one that ends meanwhile: not in the figures.
    births.notify(stage.world, "birth-other-000001")
    births.notify(stage.world, "birth-other-000002", stillborn=True)
    births.register(stage.world, "birth-other-000002", stillbirth=True)
    looks: list[Look] = []
    summary: dict[str, Any] = make(5).run(looks.append, nothing)
    assert (summary["cases"], summary["outcomes"], summary["host"]) == (5, {"completed": 5}, "aiokafka")
    assert summary["events"] == {"health": 5, "justice": 5, "portal": 5, "interior": 5, "social-fund": 5}
    assert summary["papers_total"] == sum(summary["papers"].values()) == 5 * 5
    assert set(summary["steps"]) == {"registered", "id_entry", "assigned"}
    assert all(times["p50_s"] <= times["p95_s"] for times in summary["steps"].values())
    last = looks[-1]
    assert (last.expected, last.lag) == (5, 0)
    assert (last.cases.by_step, last.cases.closed) == ({}, 5)
    assert max(look.per_second for look in looks) > 0


def test_a_child_that_fails_ends_the_demo_with_its_reason(stage: Stage, make: Callable[[int], Demo]) -> None:
    stage.failure = BusError("worker ended with 1: no broker.")
    stage.ready = False
    with pytest.raises(BusError, match="worker ended with 1"):
        make(1).run(nothing, nothing)


def test_a_worker_that_does_not_get_ready_is_given_up_after_a_minute(stage: Stage, make: Callable[[int], Demo]) -> None:
    stage.ready = False
    began = stage.now
    with pytest.raises(BusError, match=r"not ready\. Its output: worker\.log"):
        make(1).run(nothing, nothing)
    assert demo.READY_S <= stage.now - began < demo.READY_S + 1


def test_when_nothing_moves_for_a_minute_it_says_how_many_are_open_and_where_to_look(
    stage: Stage, make: Callable[[int], Demo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(births, "assign", lambda *_: None)  # the fund is silent
    with pytest.raises(BusError, match="3 cases are open and nothing has moved for a minute") as stalled:
        make(3).run(nothing, nothing)
    assert str(tmp_path) in stalled.value.remedy


def test_closing_stops_the_children(stage: Stage, make: Callable[[int], Demo]) -> None:
    show = make(1)
    show.disconnect()
    assert not stage.stopped
    show.close()
    assert stage.stopped


def test_a_topology_that_cannot_be_applied_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 1, stdout="", stderr="error: no rights.\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(BusError, match=r"topics apply ended with 1\. error: no rights\."):
        demo.apply_topology("127.0.0.1:1")


def test_a_fresh_folder_is_empty_whatever_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo.fresh_folder(folder)
    (folder / "old").mkdir()
    (folder / "old" / "file").touch()
    demo.fresh_folder(folder)
    assert list(folder.iterdir()) == []

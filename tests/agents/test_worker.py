"""The worker process: what it refuses before it joins, and what it says when it is ready."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agents import compile as compiler
from agents import worker
from agents.health import Pulse
from agents.worker import Job
from bus import topology
from bus.errors import CheckFailed, Refused, UsageError
from bus.selfcheck import BrokerFacts
from bus.settings import Settings
from bus.testing import memory_cluster
from bus.transport import kafka_facts
from bus.transport.memory import MemoryCluster
from tests.agents.world import CATALOGUE

GRAPH = compiler.compile_file(worker.PROCESSES / "birth.yaml", CATALOGUE)
GROUP = "workflow.birth"
STANDARD = topology.load(topology.STANDARD, CATALOGUE)


class Joined(Exception):
    """The worker went on to connect as a member."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> MemoryCluster:
    """A cluster as `topics apply` leaves it; beyond the checks, connecting raises Joined."""
    made = memory_cluster()
    for state in STANDARD.states(1).values():
        made.admin().create(replace(state, partitions=4))

    def join(*_: object, **__: object) -> None:
        raise Joined

    monkeypatch.setattr(worker, "KafkaAdmin", lambda _: made.admin())
    monkeypatch.setattr(worker, "KafkaReader", lambda _: made.reader())
    monkeypatch.setattr(kafka_facts, "read", lambda _: BrokerFacts("c", "4.3", (1,)))
    monkeypatch.setattr(worker, "KafkaCaseLog", join)
    return made


class Unwatched:
    """Stands for the watchdog, which takes this process's signals."""

    pulse = Pulse(lambda: 0.0)

    async def beat(self) -> None:
        """Never late."""


def start(*files: Path, group: str | None = None) -> None:
    job = Job(files=files or [worker.process_file("birth")], group=group)
    asyncio.run(worker._run(job, Settings(bootstrap="127.0.0.1:1"), Unwatched()))  # type: ignore[arg-type]  # a double


def test_with_its_topics_there_it_joins(cluster: MemoryCluster) -> None:
    with pytest.raises(Joined):
        start()


@pytest.mark.parametrize(
    "topic", ["health.birth.notified.v1", "portal.request.created.v1", f"{GROUP}.cases", f"{GROUP}.dead"]
)
def test_a_missing_topic_is_refused_by_name_before_it_joins(cluster: MemoryCluster, topic: str) -> None:
    cluster.admin().delete(topic)
    with pytest.raises(Refused, match=f"needs the topic {topic}.*topics apply"):
        start()


@pytest.mark.parametrize("topic", ["justice.birth.registered.v1", f"{GROUP}.cases"])
def test_topics_of_different_partition_counts_are_refused_before_it_joins(cluster: MemoryCluster, topic: str) -> None:
    cluster.admin().add_partitions(topic, 8)
    with pytest.raises(Refused, match=f"differ in partitions.*{topic} has 8"):
        start()


def test_a_case_log_that_is_deleted_by_age_is_refused(cluster: MemoryCluster) -> None:
    cluster.admin().alter(f"{GROUP}.cases", {"cleanup.policy": None})
    with pytest.raises(Refused, match="not compacted"):
        start()


def test_the_topics_of_the_given_group_count_not_those_of_the_default_one(cluster: MemoryCluster) -> None:
    with pytest.raises(Refused, match=r"needs the topic visitors\.archive"):
        start(group="visitors")


def test_a_wrong_process_file_is_refused_before_kafka_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("process: p\n")
    with pytest.raises(CheckFailed, match=r"p\.yaml"):
        start(path)


def test_a_process_is_named_by_a_file_or_by_what_ships(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.touch()
    assert worker.process_file(str(path)) == path
    assert worker.process_file("recorded") == worker.PROCESSES / "recorded.yaml"
    with pytest.raises(UsageError, match="There is no process wedding"):
        worker.process_file("wedding")


def test_readiness_is_said_and_written_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ready = worker._announce(tmp_path / "ready")
    ready([0, 2])
    assert (tmp_path / "ready").read_text() == "0 2"
    ready([])
    assert (tmp_path / "ready").read_text() == ""
    assert capsys.readouterr().err.splitlines()[0] == "agencybus worker: ready, case partitions 0, 2"


def test_a_ready_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    worker._announce(tmp_path / "none" / "ready")([1])
    worker._announce(None)([1])


@pytest.mark.parametrize("name", ["faust", "aiokafka"])
def test_a_host_is_made_by_its_name(name: str) -> None:
    assert worker._host(name).__name__.lower() == f"{name}host"


def test_a_member_is_silent_for_several_heartbeats_before_it_is_given_up() -> None:
    settings = Settings(bootstrap="127.0.0.1:1", session_timeout_ms=12_000)
    joined = worker._membership(Job(files=[], instance="one"), "g", GRAPH, settings)
    assert (joined.bootstrap, joined.group, joined.topics, joined.instance) == (
        "127.0.0.1:1",
        "g",
        GRAPH.listens | {"g.parked"},
        "one",
    )
    assert (joined.session_timeout_ms, joined.heartbeat_ms) == (12_000, 2_000)


def test_a_recovery_may_take_its_whole_time_before_the_client_leaves_its_group() -> None:
    settings = Settings(bootstrap="127.0.0.1:1", recovery_s=600)
    joined = worker._membership(Job(files=[]), "g", GRAPH, settings)
    assert joined.recovery_s == 600
    assert joined.max_poll_interval_ms > 1_000 * (joined.recovery_s + 30)

"""The launcher on real Kafka: twice, stale, killed, with a taken port, with three nodes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.broker import launcher, ports, probe, state, status
from bus.broker.config import Node
from bus.errors import BusError
from bus.testing import eventually
from schemas import names

UP = """
import sys
from pathlib import Path
from bus.broker import launcher
launcher.up(Path(sys.argv[1]), port=launcher.free_port(), progress=lambda s: print(s, flush=True))
"""


def quiet(_: str) -> None:
    pass


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory whose broker is stopped afterwards; its name has what breaks careless quoting."""
    folder = tmp_path / "bürgeramt $x 'é"
    yield folder
    launcher.down(folder, progress=quiet)


def up(directory: Path, *, progress: Callable[[str], None] = quiet) -> launcher.Cluster:
    return launcher.up(directory, progress=progress, port=None if directory.exists() else launcher.free_port())


def kill(directory: Path) -> None:
    """kill -9 of every node; returns when they are gone."""
    pids = [node.pid for node in launcher.status(directory).nodes]
    for pid in pids:
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(node.pid for node in launcher.status(directory).nodes):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def states(directory: Path) -> list[str]:
    return [node.state for node in launcher.status(directory).nodes]


@pytest.mark.kafka
def test_up_twice_starts_one_broker_and_down_twice_stops_it_once(directory: Path) -> None:
    assert launcher.status(directory).nodes == ()
    first = up(directory)
    assert first.started
    assert first.status.running
    assert directory.stat().st_mode & 0o777 == 0o700
    assert not list(directory.glob("node-1/format-*"))
    again = up(directory)
    assert not again.started
    assert again.status == first.status
    assert launcher.down(directory, progress=quiet) == 1
    assert launcher.down(directory, progress=quiet) == 0
    assert states(directory) == ["stopped"]


def test_a_node_that_is_stale_for_a_moment_has_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pid may be written between the two looks of one status."""
    node = Node(1, 9092, 9093)

    def looks(*told: tuple[status.NodeState, int]) -> None:
        left = list(told)

        def look(directory: Path) -> status.Status:
            condition, sees = left.pop(0) if len(left) > 1 else left[0]
            found = status.NodeStatus(1, node.address, condition, None, tmp_path / "server.log", sees)
            return status.Status(directory, "c", (found,))

        monkeypatch.setattr(launcher, "status", look)

    looks(("starting", 0), ("stale", 0), ("starting", 0), ("stale", 0), ("running", 1))
    assert launcher._await(tmp_path, state.Kept("c", (node,)), progress=quiet).running
    looks(("stale", 0))
    with pytest.raises(BusError, match="Node 1 ended while it started"):
        launcher._await(tmp_path, state.Kept("c", (node,)), progress=quiet)


@pytest.mark.kafka
def test_a_killed_broker_is_stale_and_comes_back_with_its_records(directory: Path) -> None:
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import KafkaAdminClient, NewTopic

    first = up(directory)
    admin = KafkaAdminClient(bootstrap_servers=first.bootstrap)
    admin.create_topics([NewTopic(name="kept", num_partitions=1, replication_factor=1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=first.bootstrap, acks="all")
    producer.send("kept", b"one", partition=0).get(timeout=20)
    producer.close()
    kill(directory)
    assert states(directory) == ["stale"]
    second = up(directory)
    assert second.started
    assert second.bootstrap == first.bootstrap
    assert second.status.cluster_id == first.status.cluster_id
    consumer = KafkaConsumer(bootstrap_servers=second.bootstrap)
    assert consumer.end_offsets([TopicPartition("kept", 0)]) == {TopicPartition("kept", 0): 1}
    consumer.close()


@pytest.mark.kafka
@pytest.mark.parametrize("said", ["Formatting", "Starting"])
def test_a_launcher_killed_while_it_works_is_finished_by_the_next(directory: Path, said: str) -> None:
    with subprocess.Popen([sys.executable, "-c", UP, str(directory)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert any(line.startswith(said) for line in first.stdout)
        first.kill()
    left = [node.pid for node in launcher.status(directory).nodes if node.pid]
    cluster = up(directory)
    assert cluster.status.running
    if left:  # the broker that the killed launcher had started is the one that serves
        assert [node.pid for node in cluster.status.nodes] == left
    assert not list(directory.glob("node-1/format-*"))


@pytest.mark.kafka
def test_a_stale_pid_of_a_stranger_and_a_taken_port_do_not_stop_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        node = Node(1, busy, launcher.free_port())
        state.home(directory, node).mkdir(parents=True)
        state.save(directory, state.Kept(state.new_cluster_id(), (node,)))
        state.pid_path(directory, node).write_text(str(os.getpid()))  # used again, by this test
        assert states(directory) == ["stale"]
        monkeypatch.setattr(ports, "DEFAULT", busy)
        said: list[str] = []
        cluster = up(directory, progress=said.append)
        assert cluster.status.running
        assert f"Port {busy} is taken by another program: using {cluster.bootstrap.split(':')[1]}." in said
    assert up(directory).bootstrap == cluster.bootstrap


def test_a_broker_that_is_killed_and_still_holds_its_port_comes_back_on_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command line is gone by then, so it does not live."""
    with socket.create_server(("127.0.0.1", 0)) as dying:
        node = Node(1, dying.getsockname()[1], launcher.free_port())
        state.home(directory, node).mkdir(parents=True)
        state.save(directory, state.Kept(state.new_cluster_id(), (node,)))
        monkeypatch.setattr(time, "sleep", lambda _: dying.close())
        (planned,) = launcher._plan(directory, nodes=1, port=None, progress=quiet).nodes
    assert planned.port == node.port


@pytest.mark.kafka
def test_a_port_lost_between_the_look_and_the_start_is_replaced(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        right = ports.choose
        chosen = [(Node(1, busy, launcher.free_port()),)]
        monkeypatch.setattr(ports, "choose", lambda *args, **kw: chosen.pop() if chosen else right(*args, **kw))
        cluster = up(directory)
        assert cluster.status.running
        assert not chosen
        assert cluster.status.nodes[0].address != f"127.0.0.1:{busy}"


@pytest.mark.kafka
def test_a_broker_that_ends_while_starting_is_quoted_with_its_log(directory: Path) -> None:
    up(directory)
    launcher.down(directory, progress=quiet)
    (directory / "node-1" / "data" / "meta.properties").write_text("version=1\nnode.id=9\n")
    with pytest.raises(BusError, match=r"Node 1 ended while it started; its log says: .*meta\.properties") as caught:
        up(directory)
    assert caught.value.remedy == f"See {directory}/node-1/server.log."


@pytest.mark.kafka
def test_three_nodes_see_each_other_and_hold_three_replicas(kafka3: str) -> None:
    answers = [probe.ask(address, timeout=5) for address in kafka3.split(",")]
    assert all(answer is not None and sorted(answer.brokers) == [1, 2, 3] for answer in answers)
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(bootstrap_servers=kafka3)
    admin.create_topics([NewTopic(name="three", num_partitions=3, replication_factor=3)])

    def all_have_it() -> bool:  # the broker that is asked may hear of a new topic a moment later
        (described,) = admin.describe_topics(["three"])
        return {frozenset(part["replica_nodes"]) for part in described["partitions"]} == {frozenset({1, 2, 3})}

    eventually(all_have_it)
    admin.close()


@pytest.mark.kafka
def test_the_fixture_gives_a_broker_that_answers(kafka: str) -> None:
    answer = probe.ask(kafka, timeout=5)
    assert answer is not None
    assert kafka in answer.brokers.values()


def test_fresh_names_are_in_the_topic_grammar(fresh: Callable[[str], str], topic_prefix: str) -> None:
    assert names.agency(fresh("clinic")) == fresh("clinic")
    assert names.topic(f"{topic_prefix}.request.created.v1").agency == topic_prefix


@pytest.mark.parametrize(("nodes", "clue"), [(0, "1 or 3 nodes"), (2, "1 or 3 nodes"), (3, "cluster of 1 node")])
def test_a_wish_that_cannot_be_met_is_refused_before_anything_starts(tmp_path: Path, nodes: int, clue: str) -> None:
    state.save(tmp_path, state.Kept(state.new_cluster_id(), (Node(1, launcher.free_port(), 1),)))
    with pytest.raises(BusError, match=clue) as caught:
        launcher.up(tmp_path, progress=quiet, nodes=nodes)
    assert caught.value.remedy


def test_a_directory_with_a_comma_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BusError, match="comma"):
        launcher.up(tmp_path / "a,b", progress=quiet)


def test_nothing_runs_where_nothing_was_started(tmp_path: Path) -> None:
    assert not launcher.status(tmp_path / "none").running
    assert launcher.down(tmp_path / "none", progress=quiet) == 0
    assert not (tmp_path / "none").exists()

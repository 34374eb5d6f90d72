"""What the broker is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.broker.config import Node, log4j2_properties, server_properties

ONE = (Node(1, 9092, 20001),)
THREE = tuple(Node(i, 9091 + i, 20000 + i) for i in (1, 2, 3))


def java_properties(text: str) -> dict[str, str]:
    """Reads what we write as java.util.Properties does, for keys without escapes."""
    found = {}
    for line in text.split("\n"):
        key, _, raw = line.partition("=")
        out, at = bytearray(), 0
        while at < len(raw):
            if raw[at] != "\\":
                out += raw[at].encode("utf-16-be")
                at += 1
            elif raw[at + 1] == "u":
                out += int(raw[at + 2 : at + 6], 16).to_bytes(2, "big")
                at += 6
            else:
                out += raw[at + 1].encode("utf-16-be")
                at += 2
        found[key] = out.decode("utf-16-be")
    return found


@pytest.mark.parametrize("nodes", [ONE, THREE])
def test_every_listener_is_on_loopback(nodes: tuple[Node, ...]) -> None:
    for node in nodes:
        found = java_properties(server_properties(node, nodes, data=Path("/d")))
        for listener in (*found["listeners"].split(","), *found["advertised.listeners"].split(",")):
            assert "://127.0.0.1:" in listener


def test_no_topic_is_made_by_a_typing_error_and_no_election_loses_data() -> None:
    found = java_properties(server_properties(ONE[0], ONE, data=Path("/d")))
    assert found["auto.create.topics.enable"] == "false"
    assert found["unclean.leader.election.enable"] == "false"


@pytest.mark.parametrize(("nodes", "replicas", "in_sync"), [(ONE, "1", "1"), (THREE, "3", "2")])
def test_internal_topics_are_as_durable_as_the_cluster_allows(
    nodes: tuple[Node, ...], replicas: str, in_sync: str
) -> None:
    found = java_properties(server_properties(nodes[0], nodes, data=Path("/d")))
    for key in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        assert found[f"{key}.replication.factor"] == replicas
    for key in ("transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr", "min.insync.replicas"):
        assert found[key] == in_sync


def test_the_timestamp_type_is_left_to_topics() -> None:
    assert "log.message.timestamp.type" not in server_properties(ONE[0], ONE, data=Path("/d"))


def test_controllers_have_listeners_of_their_own_that_all_nodes_know() -> None:
    for node in THREE:
        found = java_properties(server_properties(node, THREE, data=Path("/d")))
        assert found["controller.quorum.voters"] == "1@127.0.0.1:20001,2@127.0.0.1:20002,3@127.0.0.1:20003"
        assert f"CONTROLLER://127.0.0.1:{node.controller_port}" in found["listeners"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_directory_name_reaches_java_unchanged(name: str) -> None:
    data = Path("/d") / name
    text = server_properties(ONE[0], ONE, data=data)
    assert text.isascii()
    assert java_properties(text)["log.dirs"] == str(data)


def test_the_log_goes_to_one_file_of_bounded_size() -> None:
    found = log4j2_properties(Path("/d/server.log"))
    assert "appender.file.fileName = /d/server.log\n" in found
    assert "size = 10MB" in found

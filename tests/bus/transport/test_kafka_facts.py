"""What the brokers say of themselves, defaults included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from kafka.errors import KafkaConnectionError

from bus.errors import Unreachable
from bus.message import Outgoing, Partition
from bus.ports import TopicState
from bus.testing import eventually
from bus.transport import kafka_client, kafka_facts
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_consumer import KafkaConsumer
from bus.transport.kafka_producer import KafkaProducer


def put(bootstrap: str, place: Partition) -> None:
    """Append one record."""

    async def append() -> None:
        producer = KafkaProducer(bootstrap)
        await producer.start()
        await producer.append(place, [Outgoing(b"k", b"v")])
        await producer.stop()

    asyncio.run(append())


class _Client:
    """An admin client whose answers are given."""

    def __init__(self, brokers: dict[int, bool], isr: list[int]) -> None:
        self._brokers = brokers
        self._isr = isr
        self.asked: list[Any] = []
        self.away: set[str] = set()
        self.closed = False

    def describe_cluster(self) -> dict[str, Any]:
        brokers = [{"broker_id": n, "is_fenced": fenced} for n, fenced in self._brokers.items()]
        return {"cluster_id": "c", "brokers": brokers}

    def describe_configs(self, resources: list[Any], config_filter: str) -> dict[str, Any]:
        if resources[0].name in self.away:
            raise KafkaConnectionError("refused")
        self.asked.append((resources[0].name, config_filter))
        return {
            "broker": {str(resources[0].name): {"min.insync.replicas": {"value": "1"}, "password": {"value": None}}}
        }

    def get_broker_version_data(self, broker: int) -> str:
        return "<BrokerVersionData 4.3>"

    def describe_topics(self) -> list[dict[str, Any]]:
        parts = [{"partition_index": 0, "isr_nodes": self._isr, "replica_nodes": [1, 2]}]
        return [{"name": "t", "partitions": parts}]

    def close(self) -> None:
        self.closed = True


def facts_of(client: _Client, monkeypatch: pytest.MonkeyPatch) -> Any:
    import kafka

    monkeypatch.setattr(kafka_client, "_knock", lambda bootstrap: None)
    monkeypatch.setattr(kafka, "KafkaAdminClient", lambda **_: client)
    return kafka_facts.read("b:1")


def test_a_broker_that_died_a_moment_ago_and_is_still_listed_leaves_the_answer_to_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = _Client({2: False, 3: False}, isr=[2])
    client.away = {"2"}
    assert facts_of(client, monkeypatch).config == {"min.insync.replicas": "1"}
    assert client.asked == [("3", "all")]
    client.away = {"2", "3"}
    with pytest.raises(Unreachable):
        facts_of(client, monkeypatch)


def test_only_brokers_that_are_up_count_and_a_partition_behind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    client = _Client({3: False, 1: True, 2: False}, isr=[2])
    found = facts_of(client, monkeypatch)
    assert (found.cluster_id, found.version, found.brokers) == ("c", "4.3", (2, 3))
    assert found.under_replicated == ("t[0]",)
    assert found.config == {"min.insync.replicas": "1"}, "a secret that is not told is not there"
    assert client.asked == [("2", "all")], "defaults are asked for too"
    assert client.closed
    assert facts_of(_Client({1: False}, isr=[1, 2]), monkeypatch).under_replicated == ()


def test_a_cluster_whose_brokers_are_all_fenced_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    client = _Client({1: True}, isr=[])
    with pytest.raises(Unreachable, match="no broker of the cluster is up"):
        facts_of(client, monkeypatch)
    assert client.closed


@pytest.mark.kafka
def test_real_brokers_tell_their_version_and_settings_nobody_changed(kafka: str) -> None:
    found = kafka_facts.read(kafka)
    assert len(found.brokers) == 1
    assert tuple(map(int, found.version.split(".")[:2])) >= (4, 0)
    assert found.config["unclean.leader.election.enable"] == "false"
    assert found.config["group.max.session.timeout.ms"] == "1800000"
    assert found.under_replicated == ()
    assert found.cluster_id


@pytest.mark.kafka
def test_the_newest_append_time_is_the_brokers_and_none_where_nothing_stands(
    kafka: str, fresh: Callable[[str], str]
) -> None:
    place = Partition(f"{fresh('t')}.x.y.v1", 0)
    admin = KafkaAdmin(kafka)
    admin.create(TopicState(place.topic, 1, 1, {"message.timestamp.type": "LogAppendTime"}))
    admin.close()
    assert kafka_facts.newest(kafka, [place]) is None
    before = time.time_ns() // 1_000_000
    put(kafka, place)
    newest = kafka_facts.newest(kafka, [place])
    assert newest is not None
    assert before - 1_000 <= newest <= time.time_ns() // 1_000_000 + 1_000


@pytest.mark.kafka
def test_a_member_is_told_with_the_name_of_its_client_and_nobody_is_in_a_group_that_never_was(
    kafka: str, fresh: Callable[[str], str]
) -> None:
    topic, group = f"{fresh('t')}.x.y.v1", fresh("group")
    assert kafka_facts.members(kafka, group) == ()
    admin = KafkaAdmin(kafka)
    admin.create(TopicState(topic, 1, 1))
    admin.close()
    consumer = KafkaConsumer(kafka, [topic], group=group, client_id="desk-7")
    eventually(lambda: bool(consumer.poll(max_records=1, timeout=0.1) or consumer.assignment()))
    (member,) = kafka_facts.members(kafka, group)
    consumer.close()
    assert (member.instance, member.client_id, member.host) == (None, "desk-7", "127.0.0.1")
    assert kafka_facts.members(kafka, group) == ()

"""Weak clients and clusters on real Kafka: each wrong setting alone is refused with its remedy, a right one passes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import aiokafka
import kafka as kafka_python
import pytest

from bus import selfcheck, topology
from bus.errors import Refused
from bus.ports import TopicState
from bus.transport import durability, kafka_facts
from bus.transport.kafka import KafkaTransport
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_consumer import KafkaConsumer
from bus.transport.kafka_producer import KafkaProducer
from schemas.catalogue import standard

pytestmark = pytest.mark.kafka
INBOX: dict[str, Any] = {
    "group_id": "g",
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "isolation_level": "read_committed",
}
WRONG_CONSUMERS: dict[str, tuple[dict[str, Any], str | None]] = {
    "read_uncommitted": ({"isolation_level": "read_uncommitted"}, "isolation"),
    "latest": ({"auto_offset_reset": "latest"}, "offset-reset"),
    "auto commit": ({"enable_auto_commit": True}, "auto-commit"),
    "no checksum": ({"check_crcs": False}, "checksum"),
}


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        ({"acks": "all", "enable_idempotence": True}, []),
        ({"acks": 1}, ["acks", "idempotence"]),
        ({"acks": 0}, ["acks", "idempotence"]),
        ({"acks": "all"}, ["idempotence"]),
    ],
)
async def test_a_producer_is_judged_as_it_was_built(kafka: str, options: dict[str, Any], rules: list[str]) -> None:
    client = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka, **options)
    assert [verdict.rule for verdict in durability.check_producer(client)] == rules
    await client.stop()


@pytest.mark.parametrize("library", ["aiokafka", "kafka-python"])
@pytest.mark.parametrize("name", ["right", *WRONG_CONSUMERS])
async def test_a_consumer_of_either_library_is_judged_as_it_was_built(kafka: str, library: str, name: str) -> None:
    change, rule = WRONG_CONSUMERS.get(name, ({}, None))
    options = {**INBOX, **change, "bootstrap_servers": kafka}
    if library == "aiokafka":
        client: Any = aiokafka.AIOKafkaConsumer(**options)
        found = list(durability.check_consumer(client))
        await client.stop()
    else:
        client = kafka_python.KafkaConsumer(**options, allow_auto_create_topics=False)
        found = list(durability.check_consumer(client))
        client.close()
    assert [verdict.rule for verdict in found] == ([rule] if rule else [])


def test_a_consumer_that_has_a_misspelt_topic_made_is_refused(kafka: str) -> None:
    client = kafka_python.KafkaConsumer(**INBOX, bootstrap_servers=kafka)  # the client's own default
    assert [verdict.rule for verdict in durability.check_consumer(client)] == ["auto-create"]
    client.close()


def test_a_client_that_does_not_tell_is_not_trusted() -> None:
    assert {v.rule for v in durability.check_consumer(object())} >= {"isolation", "offset-reset", "auto-commit"}
    assert [v.rule for v in durability.check_producer(object())] == ["acks", "idempotence"]


async def test_our_producer_made_weak_by_an_option_is_refused(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = aiokafka.AIOKafkaProducer

    def weak(**options: Any) -> Any:
        return real(**{**options, "acks": 1, "enable_idempotence": False})

    monkeypatch.setattr(aiokafka, "AIOKafkaProducer", weak)
    with pytest.raises(Refused, match=r"acks=1.*Build it with acks='all'"):
        await KafkaProducer(kafka).start()


def test_our_inbox_made_weak_by_an_option_is_refused(
    kafka: str, monkeypatch: pytest.MonkeyPatch, topic_prefix: str
) -> None:
    real = kafka_python.KafkaConsumer

    def weak(**options: Any) -> Any:
        return real(**{**options, "auto_offset_reset": "latest"})

    monkeypatch.setattr(kafka_python, "KafkaConsumer", weak)
    with pytest.raises(Refused, match=r"begins at latest.*auto_offset_reset='earliest'"):
        KafkaConsumer(kafka, [f"{topic_prefix}.x.y.v1"], group="g")


# -- the cluster: each wrong setting is made on real topics, then asked for as workers and doctor do

STANDARD = topology.load(topology.STANDARD, standard())
GROUP = "workflow.birth"
INPUT = STANDARD.groups[GROUP][0]
DAY_MS = 86_400_000


class Cluster:
    """The standard topics under a prefix of this test's own."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.bootstrap = bootstrap
        self._prefix = prefix
        self.group = self.name(GROUP)
        self.inputs = [self.name(topic) for topic in STANDARD.groups[GROUP]]
        self._admin = KafkaAdmin(bootstrap)
        states = STANDARD.states(1)
        for name in [*STANDARD.groups[GROUP], *(f"{GROUP}.{r}" for r in ("cases", "archive", "dead", "parked"))]:
            self._admin.create(replace(states[name], name=self.name(name), partitions=1))

    def name(self, topic: str) -> str:
        return f"{self._prefix}.{topic}"

    @contextmanager
    def altered(self, topic: str, config: Mapping[str, str]) -> Iterator[None]:
        right = STANDARD.states(1)[topic].config
        self._admin.alter(self.name(topic), config)
        yield
        self._admin.alter(self.name(topic), {key: right.get(key) for key in config})

    @contextmanager
    def with_partitions(self, topic: str, count: int) -> Iterator[None]:
        state = self._admin.topics()[self.name(topic)]
        for other in (replace(state, partitions=count), state):
            self._admin.delete(self.name(topic))
            self._admin.create(other)
            if other is not state:
                yield

    @contextmanager
    def without(self, topic: str) -> Iterator[None]:
        state = self._admin.topics()[self.name(topic)]
        self._admin.delete(self.name(topic))
        yield
        self._admin.create(state)

    def errors(self) -> list[tuple[str, str]]:
        """What a worker's start finds."""
        facts = kafka_facts.read(self.bootstrap)
        topics = {name: state for name, state in self._admin.topics().items() if name.startswith(self._prefix)}
        found = selfcheck.check_group(self.group, inputs=self.inputs, topics=topics, defaults=facts.config)
        found += selfcheck.check_cluster(facts, topics)
        assert all(verdict.remedy for verdict in found)
        return sorted({(v.rule, v.subject) for v in found if v.level == "error"})

    def close(self) -> None:
        for name in [*self.inputs, *(f"{self.group}.{r}" for r in ("cases", "archive", "dead", "parked"))]:
            self._admin.delete(name)
        self._admin.close()


@pytest.fixture(scope="module")
def cluster(kafka: str) -> Iterator[Cluster]:
    cluster = Cluster(kafka, f"t-{uuid.uuid4().hex[:8]}")
    yield cluster
    cluster.close()


def test_the_topics_as_apply_makes_them_pass(cluster: Cluster) -> None:
    assert cluster.errors() == []


WRONG_TOPICS = {
    "cases deleted by age": (f"{GROUP}.cases", {"cleanup.policy": "delete"}, "not-compacted"),
    "cases compacted and deleted": (f"{GROUP}.cases", {"cleanup.policy": "compact,delete"}, "not-compacted"),
    "archive not compacted": (f"{GROUP}.archive", {"cleanup.policy": "delete"}, "not-compacted"),
    "parked not compacted": (f"{GROUP}.parked", {"cleanup.policy": "delete"}, "not-compacted"),
    "letters expire": (f"{GROUP}.dead", {"retention.ms": str(30 * DAY_MS)}, "letters-expire"),
    "batches do not fit": (f"{GROUP}.cases", {"max.message.bytes": "500000"}, "batch-size"),
    "kept beyond the markers": (INPUT, {"retention.ms": str(31 * DAY_MS)}, "retention-horizon"),
    "kept for ever": (INPUT, {"retention.ms": "-1"}, "retention-horizon"),
    "gone before it is read": (INPUT, {"retention.ms": str(DAY_MS)}, "retention-short"),
    "stamped by the writer": (INPUT, {"message.timestamp.type": "CreateTime"}, "timestamp"),
    "unclean election": (INPUT, {"unclean.leader.election.enable": "true"}, "unclean-election"),
    "more in sync than there are": (INPUT, {"min.insync.replicas": "2"}, "min-insync"),
}


@pytest.mark.parametrize("case", WRONG_TOPICS)
def test_a_wrong_topic_is_refused(cluster: Cluster, case: str) -> None:
    topic, config, rule = WRONG_TOPICS[case]
    with cluster.altered(topic, config):
        assert cluster.errors() == [(rule, cluster.name(topic))]
    assert cluster.errors() == []


def test_topics_of_different_counts_and_a_missing_one_are_refused(cluster: Cluster) -> None:
    with cluster.with_partitions(INPUT, 3):
        assert cluster.errors() == [("partition-mismatch", cluster.group)]
    with cluster.without(f"{GROUP}.parked"):
        assert cluster.errors() == [("missing-topic", f"{cluster.group}.parked")]


def test_an_inbox_on_a_weak_topic_is_refused_before_it_joins(cluster: Cluster) -> None:
    transport = KafkaTransport(bootstrap=cluster.bootstrap)
    transport.consumer([cluster.name(INPUT)], group=cluster.group).close()
    weak = cluster.altered(INPUT, {"unclean.leader.election.enable": "true"})
    with weak:
        with pytest.raises(Refused, match=r"may become leader.*Remove the topic's setting"):
            transport.consumer([cluster.name(INPUT)], group=cluster.group)
        other = cluster.name(STANDARD.groups[GROUP][1])
        transport.consumer([other], group=cluster.group).close()  # what it does not read is not its business


def test_a_session_the_brokers_do_not_take_is_refused_before_it_joins(cluster: Cluster) -> None:
    transport = KafkaTransport(bootstrap=cluster.bootstrap, session_timeout_ms=3_600_000)
    with pytest.raises(Refused, match=r"session timeouts of .*SESSION_TIMEOUT_MS"):
        transport.consumer([cluster.name(INPUT)], group=cluster.group)


def test_a_setting_of_the_brokers_is_seen_where_a_topic_says_nothing(cluster: Cluster) -> None:
    facts = kafka_facts.read(cluster.bootstrap)
    assert facts.config["auto.create.topics.enable"] == "false"
    assert facts.config["unclean.leader.election.enable"] == "false"
    assert int(facts.config["offsets.retention.minutes"]) >= 10_080
    weak = replace(facts, config={**facts.config, "unclean.leader.election.enable": "true"})
    assert "unclean-election" in [v.rule for v in selfcheck.check_cluster(weak, {})]


def test_who_may_not_describe_the_brokers_is_told_and_may_read(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(_: str) -> None:
        raise Refused("ClusterAuthorizationFailed.")

    monkeypatch.setattr(kafka_facts, "read", forbidden)
    durability.refuse_weak_cluster(cluster.bootstrap, cluster.inputs, session_timeout_ms=10_000)
    assert "durability was not checked" in caplog.text


def test_the_replicas_of_three_brokers_are_judged_on_three_brokers(kafka3: str, fresh: Callable[[str], str]) -> None:
    facts = kafka_facts.read(kafka3)
    admin = KafkaAdmin(kafka3)
    prefix = fresh("t")
    append = {"message.timestamp.type": "LogAppendTime"}
    shapes = {"right": (3, "2"), "one-in-sync": (3, "1"), "two-replicas": (2, "1"), "one-replica": (1, "1")}
    for name, (replicas, in_sync) in shapes.items():
        config = {**append, "min.insync.replicas": in_sync}
        admin.create(TopicState(f"{prefix}.{name}", 1, replicas, config))
    topics = {name: state for name, state in admin.topics().items() if name.startswith(prefix)}
    admin.close()
    found = {v.subject.removeprefix(f"{prefix}."): v.rule for v in selfcheck.check_cluster(facts, topics)}
    assert found == {"one-in-sync": "min-insync", "two-replicas": "replication", "one-replica": "replication"}

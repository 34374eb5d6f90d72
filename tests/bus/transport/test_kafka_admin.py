"""The administrator on Kafka beside the contract: refusals as sentences, bad groups, coordinators that move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import kafka.errors as ke
import pytest

from bus.errors import Refused, Unreachable
from bus.message import Partition
from bus.ports import TopicState
from bus.testing import drain, numbered, put
from bus.transport import kafka_admin, kafka_client
from bus.transport.kafka import KafkaTransport
from bus.transport.kafka_admin import KafkaAdmin

PLACE = Partition("t.a.b.v1", 0)


class _Client:
    """kafka-python's admin client; each listing of offsets gets the next answer."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []
        self.closed = 0

    def list_group_offsets(self, groups: list[str]) -> Any:
        self.asked.append(groups)
        return self._next()

    def alter_group_offsets(self, group: str, offsets: Any) -> Any:
        self.asked.append([group])
        answer = self._next()
        return dict.fromkeys(offsets, answer) if isinstance(answer, type) else answer

    def _next(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def admin_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[_Client], KafkaAdmin]:
    import kafka

    monkeypatch.setattr(kafka_client, "_knock", lambda bootstrap: None)
    monkeypatch.setattr(kafka_admin, "_PAUSE_S", 0.0)

    def make(client: _Client) -> KafkaAdmin:
        monkeypatch.setattr(kafka, "KafkaAdminClient", lambda **_: client)
        return KafkaAdmin("b:1")

    return make


def offsets(**groups: int) -> dict[str, Any]:
    place = SimpleNamespace(topic=PLACE.topic, partition=PLACE.number)
    return {group: {_Place(place): SimpleNamespace(offset=at)} for group, at in groups.items()}


class _Place:
    """A hashable topic and partition."""

    def __init__(self, place: SimpleNamespace) -> None:
        self.topic, self.partition = place.topic, place.partition


def test_one_bad_group_does_not_hide_the_commits_of_the_others(admin_of: Callable[[_Client], KafkaAdmin]) -> None:
    bad = ke.GroupAuthorizationFailedError()
    client = _Client(bad, offsets(good=5), bad, offsets(other=7))
    found = admin_of(client).committed(["good", "bad", "other"])
    assert found == {"good": {PLACE: 5}, "bad": {}, "other": {PLACE: 7}}
    assert client.asked == [["good", "bad", "other"], ["good"], ["bad"], ["other"]]


def test_a_broker_s_default_is_not_taken_for_a_topic_s_own_setting(admin_of: Callable[[_Client], KafkaAdmin]) -> None:
    class Describing(_Client):
        def describe_topics(self) -> list[dict[str, Any]]:
            parts = [{"replica_nodes": [1, 2]}, {"replica_nodes": [1]}]
            kept = {"is_internal": False, "error_code": 0, "partitions": parts}
            return [{"name": "ours", **kept}, {"name": "__consumer_offsets", **kept, "is_internal": True}]

        def describe_configs(self, _: object) -> dict[str, Any]:
            own = {"value": "compact", "config_source": "DYNAMIC_TOPIC_CONFIG"}
            default = {"value": "1", "config_source": "STATIC_BROKER_CONFIG"}
            return {"topic": {"ours": {"cleanup.policy": own, "min.insync.replicas": default}}}

    found = admin_of(Describing()).topics()
    assert found == {"ours": TopicState("ours", 2, 1, {"cleanup.policy": "compact"})}, "the least replicated counts"


def test_a_partition_without_a_commit_is_absent_and_no_group_asks_nothing(
    admin_of: Callable[[_Client], KafkaAdmin],
) -> None:
    client = _Client(offsets(g=-1))
    assert admin_of(client).committed(["g"]) == {"g": {}}
    assert admin_of(client).committed([]) == {}
    assert len(client.asked) == 1


@pytest.mark.parametrize(
    "moving", [ke.NotCoordinatorError, ke.CoordinatorNotAvailableError, ke.CoordinatorLoadInProgressError]
)
def test_while_a_coordinator_moves_it_is_asked_again_with_a_new_client(
    admin_of: Callable[[_Client], KafkaAdmin], moving: type[Exception]
) -> None:
    client = _Client(moving(), moving(), offsets(g=5))
    assert admin_of(client).committed(["g"]) == {"g": {PLACE: 5}}
    assert client.closed == 2, "the old client keeps the old coordinator for good"
    told = _Client(moving, ke.NoError)  # told per partition when offsets are set
    admin_of(told).commit("g", {PLACE: 3})
    assert (len(told.asked), told.closed) == (2, 1)


def test_a_coordinator_that_never_comes_is_unreachable(
    admin_of: Callable[[_Client], KafkaAdmin], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_admin, "_COORDINATOR_S", -1.0)
    with pytest.raises(Unreachable, match="read commits: CoordinatorNotAvailableError"):
        admin_of(_Client(ke.CoordinatorNotAvailableError())).committed(["g"])


@pytest.mark.parametrize(
    ("answer", "said"),
    [(ke.UnknownMemberIdError, "running members"), (ke.TopicAuthorizationFailedError, r"t\.a\.b\.v1\[0\]: TopicAuth")],
)
def test_a_refused_offset_says_why(
    admin_of: Callable[[_Client], KafkaAdmin], answer: type[Exception], said: str
) -> None:
    with pytest.raises(Refused, match=said) as refused:
        admin_of(_Client(answer)).commit("g", {PLACE: 3})
    assert refused.value.field == "group"


@pytest.fixture
def admin(kafka: str) -> Iterator[KafkaAdmin]:
    found = KafkaAdmin(kafka)
    yield found
    found.close()


@pytest.fixture
def name(fresh: Callable[[str], str]) -> str:
    return f"{fresh('t')}.case.tested.v1"


@pytest.mark.kafka
def test_on_kafka_what_cannot_be_is_refused_with_the_broker_s_reason(admin: KafkaAdmin, name: str) -> None:
    with pytest.raises(Refused, match=f"create topic {name}.*[Rr]eplication"):
        admin.create(TopicState(name, 1, 99))
    with pytest.raises(Refused, match=f"create topic {name}"):
        admin.create(TopicState(name, 1, 1, {"no.such.setting": "1"}))
    assert name not in admin.topics()
    admin.create(TopicState(name, 1, 1))
    for config in ({"no.such.setting": "1"}, {"retention.ms": "soon"}):
        with pytest.raises(Refused) as refused:
            admin.alter(name, config)
        assert refused.value.field == "config"
    with pytest.raises(Refused):
        admin.alter(f"{name}.none", {"retention.ms": "1000"})


@pytest.mark.kafka
def test_on_kafka_only_what_was_set_on_the_topic_counts_as_its_configuration(admin: KafkaAdmin, name: str) -> None:
    admin.create(TopicState(name, 2, 1))
    assert admin.topics()[name].config == {}
    admin.alter(name, {"min.insync.replicas": "1", "cleanup.policy": "compact"})
    assert admin.topics()[name].config == {"min.insync.replicas": "1", "cleanup.policy": "compact"}
    assert not [topic for topic in admin.topics() if topic.startswith("__")], "Kafka's own topics are not ours"


@pytest.mark.kafka
def test_on_kafka_a_grown_topic_takes_records_in_its_new_partitions_at_once(
    kafka: str, admin: KafkaAdmin, name: str
) -> None:
    transport = KafkaTransport(bootstrap=kafka)
    admin.create(TopicState(name, 1, 1))
    admin.add_partitions(name, 3)
    assert put(transport, Partition(name, 2), numbered(2)) == 0
    consumer = transport.consumer([name], group=f"{name}-g")
    assert len(drain(consumer, 2)) == 2
    consumer.close()

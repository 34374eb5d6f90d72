"""The group member on Kafka beside the contract: what is never committed, and what an answer of the group means."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import kafka.errors as ke
import pytest

from bus.errors import BusError, Fenced, Refused, Unreachable
from bus.message import Partition
from bus.ports import TopicState
from bus.testing import drain, eventually, numbered, put
from bus.transport import kafka_client
from bus.transport.kafka import KafkaTransport
from bus.transport.kafka_consumer import KafkaConsumer

PLACE = Partition("t.a.b.v1", 0)


class _Client:
    """kafka-python's consumer, with its answers given and its calls noted."""

    def __init__(self, answer: Exception | None = None, topics: tuple[str, ...] = (PLACE.topic,)) -> None:
        self.answer = answer
        self.topics = topics
        self.calls: list[tuple[str, Any]] = []
        self.options: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.deal = False  # partitions are dealt out at the next poll
        self.silent = False  # the coordinator is

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {0} if topic in self.topics else None

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.calls.append(("subscribe", topics))
        self.listener = listener

    def poll(self, **_: object) -> dict[Any, list[Any]]:
        import kafka

        if self.deal:
            self.deal = False
            self.listener.on_partitions_assigned(self.assignment())
        place = kafka.TopicPartition(PLACE.topic, PLACE.number)
        told = {"topic": PLACE.topic, "partition": 0, "offset": 9, "timestamp": 0}
        return {place: [SimpleNamespace(**told, key=None, value=b"", headers=[])]}

    def committed(self, _: Any) -> int:
        if self.silent:
            raise ke.KafkaTimeoutError
        return 3

    def positions(self) -> list[Any]:
        """What was sought, in order."""
        return [said for call, said in self.calls if call == "seek"]

    def assignment(self) -> set[Any]:
        import kafka

        return {kafka.TopicPartition(*(PLACE.topic, PLACE.number))}

    def commit(self, offsets: dict[Any, Any], **_: object) -> None:
        self.calls.append(("commit", {tuple(tp): place.offset for tp, place in offsets.items()}))
        if self.answer is not None:
            raise self.answer

    def seek(self, place: Any, offset: int) -> None:
        self.calls.append(("seek", (tuple(place), offset)))

    def position(self, place: Any, timeout_ms: int) -> int | None:
        return None

    def close(self, **options: object) -> None:
        self.calls.append(("close", options["autocommit"]))


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Callable[[_Client], KafkaConsumer]:
    import kafka

    monkeypatch.setattr(kafka_client, "_knock", lambda bootstrap: None)

    def make(client: _Client) -> KafkaConsumer:
        def made(**options: Any) -> _Client:
            client.options = options
            client.config = {"check_crcs": True, **options}
            return client

        monkeypatch.setattr(kafka, "KafkaConsumer", made)
        return KafkaConsumer("b:1", [PLACE.topic], group="g", session_timeout_ms=10_000)

    return make


def test_nothing_is_committed_by_timer_and_nothing_on_leaving(member: Callable[[_Client], KafkaConsumer]) -> None:
    client = _Client()
    member(client).close()
    assert client.options["enable_auto_commit"] is False
    assert ("close", False) in client.calls


def test_a_heartbeat_comes_several_times_a_session(member: Callable[[_Client], KafkaConsumer]) -> None:
    client = _Client()
    member(client)
    assert client.options["session_timeout_ms"] >= 3 * client.options["heartbeat_interval_ms"]


def test_a_topic_that_is_not_there_is_refused_before_the_group_is_joined_and_leaves_no_client_behind(
    member: Callable[[_Client], KafkaConsumer],
) -> None:
    client = _Client(topics=())
    with pytest.raises(Refused, match=r"no topic t\.a\.b\.v1"):
        member(client)
    assert client.calls == [("close", False)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (ke.CommitFailedError(), Fenced),
        (ke.RebalanceInProgressError(), Fenced),
        (ke.IllegalGenerationError(), Fenced),
        (ke.UnknownMemberIdError(), Fenced),
        (ke.FencedInstanceIdError(), Fenced),
        (ke.KafkaTimeoutError(), Unreachable),
        (ke.GroupAuthorizationFailedError(), Refused),
    ],
)
def test_each_answer_to_a_commit_says_whether_someone_else_owns_it_now(
    member: Callable[[_Client], KafkaConsumer], answer: Exception, kind: type[BusError]
) -> None:
    with pytest.raises(kind):
        member(_Client(answer)).commit({PLACE: 5})


def test_a_commit_for_a_partition_that_moved_is_not_even_sent(member: Callable[[_Client], KafkaConsumer]) -> None:
    client = _Client()
    with pytest.raises(Fenced, match=r"t\.a\.b\.v1\[1\] belongs to another member of g"):
        member(client).commit({PLACE: 5, Partition(PLACE.topic, 1): 5})
    member(client).commit({})
    assert not [call for call in client.calls if call[0] == "commit"]


def test_a_seek_passes_over_what_is_not_owned(member: Callable[[_Client], KafkaConsumer]) -> None:
    client = _Client()
    member(client).seek({PLACE: 3, Partition(PLACE.topic, 1): 7})
    assert [call for call in client.calls if call[0] == "seek"] == [("seek", ((PLACE.topic, 0), 3))]


def test_a_position_that_the_cluster_does_not_tell_in_time_is_an_outage(
    member: Callable[[_Client], KafkaConsumer],
) -> None:
    with pytest.raises(Unreachable, match=r"find where g reads t\.a\.b\.v1\[0\]"):
        member(_Client()).position(PLACE)


@pytest.fixture
def transport(kafka: str) -> KafkaTransport:
    return KafkaTransport(bootstrap=kafka, session_timeout_ms=30_000)


@pytest.fixture
def place(transport: KafkaTransport, fresh: Callable[[str], str]) -> Partition:
    name = f"{fresh('t')}.case.tested.v1"
    admin = transport.admin()
    admin.create(TopicState(name, 1, 1))
    admin.close()
    return Partition(name, 0)


def test_partitions_whose_commit_cannot_be_asked_for_after_a_rebalance_are_set_back_at_the_next_poll(
    member: Callable[[_Client], KafkaConsumer],
) -> None:
    client = _Client()
    consumer = member(client)
    client.deal = True
    client.silent = True
    with pytest.raises(Unreachable):
        consumer.poll(max_records=1, timeout=0)
    assert client.positions() == []
    client.silent = False
    assert consumer.poll(max_records=1, timeout=0) == []
    assert client.positions() == [((PLACE.topic, 0), 3)]
    assert [record.offset for record in consumer.poll(max_records=1, timeout=0)] == [9]
    assert client.positions() == [((PLACE.topic, 0), 3)], "once for each rebalance"


@pytest.mark.kafka
async def test_on_kafka_a_member_never_sees_what_a_transaction_took_back(
    kafka: str, transport: KafkaTransport, place: Partition
) -> None:
    import aiokafka

    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=place.topic)
    await producer.start()
    for value, keep in ((b"aborted", False), (b"kept", True)):
        await producer.begin_transaction()
        await producer.send_and_wait(place.topic, value, partition=0)
        await (producer.commit_transaction() if keep else producer.abort_transaction())
    await producer.stop()
    consumer = transport.consumer([place.topic], group=f"{place.topic}-g")
    assert [(r.offset, r.value) for r in drain(consumer, 1)] == [(2, b"kept")]
    consumer.close()


@pytest.mark.kafka
def test_on_kafka_who_closes_leaves_at_once_and_the_next_need_not_wait_for_a_session_to_end(
    transport: KafkaTransport, place: Partition
) -> None:
    put(transport, place, numbered(2))
    first = transport.consumer([place.topic], group=f"{place.topic}-g")
    drain(first, 2)
    first.close()
    second = transport.consumer([place.topic], group=f"{place.topic}-g")

    def inherited() -> bool:
        second.poll(max_records=1, timeout=0.1)
        return second.assignment() == {place}

    eventually(inherited, within_s=15)  # the session would be 30 s
    second.close()

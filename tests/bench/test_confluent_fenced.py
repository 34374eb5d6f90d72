"""The fenced confluent-kafka loop: worst-point crashes, a member that was replaced, and how its answers are counted."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from bus.message import Partition
from bus.ports import TopicState
from bus.testing import eventually
from bus.transport.kafka_admin import KafkaAdmin
from tests.bench import confluent_loop
from tests.bench.child import Child
from tests.bench.cluster import PARTITIONS, Cluster
from tests.bench.confluent_fenced import Cases, Loop
from tests.bench.recorded import EVENTS_PER_CASE, FOLLOWED
from tests.bench.test_confluent_loop import EVENTS, Crash, Following, Instead, Run

ROW, COMMIT = "produce", "commit_transaction"


def halted(loop: Following, at: str, act: Callable[[], None]) -> None:
    """Let something happen within the loop's first batch: before it calls `at`; of `produce`, before its first row."""
    real = loop._producer
    happened: list[str] = []

    def call(*arguments: Any, **options: Any) -> Any:
        if not happened and not (at == ROW and arguments[0] == FOLLOWED):
            happened.append(at)
            assert real.flush(60) == 0  # what was produced so far is stored
            act()
        return getattr(real, at)(*arguments, **options)

    loop._producer = Instead(real, **{at: call})


@pytest.fixture
def cluster(kafka: str, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(kafka, tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture
def run(cluster: Cluster, fresh: Callable[[str], str]) -> Run:
    return Run(cluster, fresh("loop"), Loop)


def replaced(run: Run, at: str) -> tuple[BaseException, object, object]:
    """A member is stopped in its first batch, another finishes all, the first goes on; how it ended, and the state of
    then and now. The batch leaves every case of it unfinished: of a finished one the old row would be as the new."""
    loop = run.loop()
    real = loop._consumer
    few = EVENTS_PER_CASE // 2
    loop._consumer = Instead(real, consume=lambda most, seconds: real.consume(min(most, few), seconds))
    then: list[object] = []

    def another_takes_over() -> None:
        loop._consumer.unsubscribe()
        loop._consumer.consume(1, 0.1)  # the group has dismissed it
        run.to_the_end()
        eventually(lambda: run.counted() == EVENTS)
        then.append((run.state(), run.answered()))

    halted(loop, at, another_takes_over)
    with pytest.raises((KafkaException, RuntimeError)) as ended:
        loop.run()
    return ended.value, then[0], (run.state(), run.answered())


@pytest.mark.kafka
@pytest.mark.parametrize("at", [ROW, COMMIT])
def test_a_crash_within_a_batch_leaves_nothing_of_it_and_every_event_is_answered_once(run: Run, at: str) -> None:
    def crash() -> None:
        raise Crash

    loop = run.loop()
    halted(loop, at, crash)
    with pytest.raises(Crash):
        loop.run()
    assert run.answered() == []
    assert run.state() == {}
    run.to_the_end()
    assert len(run.answered()) == len(set(run.answered())) == EVENTS
    eventually(lambda: run.counted() == EVENTS)


@pytest.mark.kafka
def test_a_crash_right_after_the_commit_repeats_no_answer(run: Run) -> None:
    loop = run.loop()
    real = loop._producer

    def commit(seconds: float) -> None:
        real.commit_transaction(seconds)
        raise Crash

    loop._producer = Instead(real, commit_transaction=commit)
    with pytest.raises(Crash):
        loop.run()
    eventually(lambda: bool(run.answered()))  # the broker marks what is committed after it has said so
    run.to_the_end()
    assert len(run.answered()) == len(set(run.answered())) == EVENTS
    eventually(lambda: run.counted() == EVENTS)


@pytest.mark.kafka
@pytest.mark.parametrize("at", [ROW, COMMIT])
def test_a_member_that_was_replaced_within_a_batch_ends_and_changes_nothing(run: Run, at: str) -> None:
    error, then, now = replaced(run, at)
    assert isinstance(error, KafkaException)
    assert error.args[0].code() == KafkaError._FENCED
    assert now == then


@pytest.mark.kafka
def test_without_the_fence_the_same_member_overwrites_the_state(cluster: Cluster, fresh: Callable[[str], str]) -> None:
    run = Run(cluster, fresh("loop"), confluent_loop.Loop)
    _, then, now = replaced(run, ROW)
    assert now != then
    assert min(row["events"] for row in run.state().values()) < EVENTS_PER_CASE


@pytest.mark.kafka
def test_what_the_broker_does_not_take_ends_the_loop_and_nothing_of_the_batch_is_seen(run: Run) -> None:
    admin = KafkaAdmin(run.cluster.bootstrap)
    start = admin.committed([run.group])
    admin.create(TopicState(f"{run.group}.changelog", PARTITIONS, 1, {"max.message.bytes": "100"}))
    with pytest.raises(KafkaException):
        run.loop().run()
    run.loop()._producer.init_transactions(60)  # ends what is left open
    assert admin.committed([run.group]) == start
    assert run.answered() == []
    admin.close()


def test_an_event_that_is_published_twice_is_answered_once() -> None:
    cases = Cases()
    cases.install(0, [])
    assert [cases.apply(0, b"k", event_id, "a") for event_id in ("1", "1", "2", "1")] == [True, False, True, False]
    assert cases._cases[0][b"k"].events == 2


class Committing(Child):
    """A program that commits one record, with its marker, at some looks, and uses a second of CPU each time."""

    def __init__(self, cluster: Cluster, topic: str, at: Container[int]) -> None:
        self._producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": topic})
        self._producer.init_transactions(60)
        self._topic, self._at, self._ends = topic, at, cluster.ends
        self.looks = 0

    def check(self) -> None:
        self.looks += 1
        if self.looks in self._at:
            self.commit()

    def commit(self) -> None:
        end = sum(self._ends(self._topic).values())
        self._producer.begin_transaction()
        self._producer.produce(self._topic, b"value", partition=0)
        self._producer.commit_transaction(60)
        eventually(lambda: sum(self._ends(self._topic).values()) == end + 2)  # the marker comes after the answer

    def cpu_s(self) -> float:
        return self.looks


@pytest.mark.kafka
def test_follow_ups_are_counted_without_the_markers_of_transactions(
    cluster: Cluster, fresh: Callable[[str], str]
) -> None:
    topic = f"bench.{fresh('counted')}"
    cluster.create(topic)
    child = Committing(cluster, topic, range(1, 12, 2))
    records, samples = cluster.await_follow_ups(topic, cluster.ends(topic), 6, child)
    assert len(records) == 6
    assert [sample.done for sample in samples] == [1, 2, 3, 4, 5, 6]


@pytest.mark.kafka
def test_a_follow_up_that_comes_while_the_others_are_read_has_its_sample(
    cluster: Cluster, fresh: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"bench.{fresh('counted')}"
    cluster.create(topic)
    child = Committing(cluster, topic, [1])
    before, real = cluster.ends(topic), cluster.ends
    asked: list[int] = []

    def ends(topic: str) -> dict[Partition, int]:
        found = real(topic)
        asked.append(sum(found.values()))
        if asked == [2, 2]:  # nothing has moved since the first record and its marker: now records are read
            child.commit()
        return found

    monkeypatch.setattr(cluster, "ends", ends)
    records, samples = cluster.await_follow_ups(topic, before, 2, child)
    assert [sample.done for sample in samples] == [1, 2]
    assert len(records) == 2

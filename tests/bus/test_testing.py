"""The shipped test tools: they fail when they must, and the contract catches a twin that is kinder than Kafka."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest

from bus.errors import Refused, UsageError
from bus.message import Outgoing, Partition, Record
from bus.ports import Consumer, TopicState, Transport
from bus.testing import (
    START,
    ManualClock,
    TransportContract,
    drain,
    eventually,
    expecting,
    memory_bus,
    memory_cluster,
    numbered,
    put,
)
from bus.transport.memory import MemoryCluster, MemoryConsumer
from tests.bus.support import CATALOGUE, NoteWritten


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    assert clock.now() == clock.now() == START
    clock.advance(hours=2, seconds=1)
    assert clock.now() == START + timedelta(seconds=7_201)


def test_eventually_asks_until_it_holds_and_fails_at_its_deadline() -> None:
    answers = iter([False, False, True])
    eventually(lambda: next(answers))
    assert next(answers, None) is None
    with pytest.raises(AssertionError, match=r"within 0\.02 s"):
        eventually(lambda: False, within_s=0.02)


def test_expecting_takes_the_error_named_and_no_other_outcome() -> None:
    with expecting(Refused):
        raise Refused("no")
    with pytest.raises(AssertionError, match="Refused was not raised"), expecting(Refused):
        pass
    with pytest.raises(UsageError), expecting(Refused):
        raise UsageError("other")


def test_draining_ends_when_enough_came_and_fails_when_it_does_not() -> None:
    cluster = memory_cluster("t.a.b.v1", partitions=1)
    put(cluster, Partition("t.a.b.v1", 0), numbered(3, start=5))
    consumer = cluster.consumer(["t.a.b.v1"], group="g")
    assert [record.value for record in drain(consumer, 3)] == [b"5", b"6", b"7"]
    with pytest.raises(AssertionError):
        drain(consumer, 1, within_s=0.05)


def test_a_bus_in_memory_reads_no_settings_of_its_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENCYBUS__AGENCY", "justice")
    with memory_bus(memory_cluster(), catalogue=CATALOGUE) as bus, pytest.raises(UsageError):
        bus.publish(NoteWritten(text="a"), case="c")


class _Consuming(MemoryCluster):
    """A cluster with another kind of consumer."""

    kind: type[MemoryConsumer] = MemoryConsumer

    def consumer(self, topics: object, *, group: str) -> MemoryConsumer:
        return self.kind(self, tuple(topics), group)  # type: ignore[arg-type]  # as the port has it


class _CommitsAnything(MemoryConsumer):
    def commit(self, positions: Mapping[Partition, int]) -> None:
        self._group.commits.update(positions)


class _IgnoresCommits(MemoryConsumer):
    def commit(self, positions: Mapping[Partition, int]) -> None:
        pass


class _CommitsWhatItPolls(MemoryConsumer):
    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        found = super().poll(max_records=max_records, timeout=timeout)
        self._group.commits.update({Partition(r.topic, r.partition): r.offset + 1 for r in found})
        return found


class _KeepsNoBound(MemoryConsumer):
    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        return super().poll(max_records=max_records + 1, timeout=timeout)


class _Generous(MemoryCluster):
    def store(self, partition: Partition, records: object) -> int:
        if partition.topic not in self.topics:  # makes topics by a slip, as a broker with the wrong setting does
            self.admin().create(TopicState(partition.topic, 9, 1))
        return super().store(partition, records)  # type: ignore[arg-type]


class _Backwards(MemoryCluster):
    def store(self, partition: Partition, records: list[Outgoing]) -> int:  # type: ignore[override]
        return super().store(partition, records[::-1])


Story = Callable[[TransportContract, Transport, str], None]


class _Contract(TransportContract):
    __test__ = False

    def silence(self, consumer: Consumer) -> None:
        assert isinstance(consumer, MemoryConsumer)
        consumer.evict()


def _consuming(kind: type[MemoryConsumer]) -> MemoryCluster:
    cluster = _Consuming(ManualClock())
    cluster.kind = kind
    return cluster


@pytest.mark.parametrize(
    ("twin", "story"),
    [
        (_consuming(_CommitsAnything), TransportContract.test_a_foreign_partition_cannot_be_committed),
        (_consuming(_CommitsAnything), TransportContract.test_a_member_whose_partition_moved_cannot_commit),
        (_consuming(_CommitsWhatItPolls), TransportContract.test_what_was_polled_but_not_committed_comes_again),
        (_consuming(_IgnoresCommits), TransportContract.test_a_group_resumes_where_it_committed),
        (_consuming(_KeepsNoBound), TransportContract.test_a_poll_keeps_to_its_bound),
        (_Generous(ManualClock()), TransportContract.test_a_topic_or_partition_that_is_not_there_is_refused),
        (_Backwards(ManualClock()), TransportContract.test_records_come_back_in_order_with_their_offsets),
    ],
)
def test_the_contract_catches_a_twin_that_is_kinder_than_kafka(
    twin: MemoryCluster, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.testing.eventually", lambda holds, within_s=1.0: eventually(holds, within_s=0.2))
    honest = memory_cluster()
    story(_Contract(), honest, "t.case.tested.v1")
    with pytest.raises(AssertionError):
        story(_Contract(), twin, "t.case.tested.v1")

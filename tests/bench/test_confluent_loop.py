"""The bare confluent-kafka loop is a fair yardstick only if what it claims holds: crashes at the worst points."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest
from confluent_kafka import TopicPartition

from bus.errors import Refused
from bus.message import Outgoing, Partition
from bus.partitioner import partition_for
from bus.ports import TopicState
from bus.transport.kafka_admin import KafkaAdmin
from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.bench import ready, recorded
from tests.bench.by_hand import ByHand
from tests.bench.changelog import Changelog
from tests.bench.cluster import PARTITIONS, Cluster, append
from tests.bench.confluent_loop import Cases, Loop
from tests.bench.recorded import EVENTS_PER_CASE, FOLLOWED, TOPIC

EVENTS = 2_400  # three batches


class Crash(Exception):
    pass


class Done(Exception):
    pass


class Instead:
    """A client some of whose methods are replaced."""

    def __init__(self, real: Any, **methods: Callable[..., Any]) -> None:
        self._real = real
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Following(Protocol):
    """A loop under test: its clients may be replaced."""

    _consumer: Any
    _producer: Any

    def run(self) -> None: ...


class Run:
    """A topic with fresh events in it, and loops that follow them."""

    def __init__(self, cluster: Cluster, group: str, start: Callable[[str, str, ByHand], Following] = Loop) -> None:
        self.cluster, self.group = cluster, group
        self._start = start
        for topic in (TOPIC, FOLLOWED):
            with suppress(Refused):  # another test's, on the same broker; as wide, and stamped by the broker as well
                cluster.create(topic)
            assert len(cluster.ends(topic)) == PARTITIONS
        self.before = cluster.ends(FOLLOWED)
        cluster.begin_at_end(group, TOPIC)
        batches: dict[Partition, list[Outgoing]] = {}
        for record in ready.records(EVENTS, group):
            place = Partition(TOPIC, partition_for(record.key or b"", PARTITIONS))
            batches.setdefault(place, []).append(record)
        asyncio.run(append(cluster.bootstrap, batches))

    def loop(self) -> Following:
        """A fresh process."""
        codec = Codec(standard())
        hand = ByHand("small", codec.schema_id(ActivityRecorded), codec.schema_id(ActivityFollowed))
        return self._start(self.cluster.bootstrap, self.group, hand)

    def to_the_end(self) -> None:
        """A fresh process follows until all it was given is committed, and every event is answered."""
        loop = self.loop()
        real = loop._consumer
        ends = {place.number: end for place, end in self.cluster.ends(TOPIC).items()}
        give_up = time.monotonic() + 30

        def consume(*limits: Any) -> Any:
            committed = real.committed([TopicPartition(TOPIC, number) for number in ends], 30)
            reached = {place.partition: place.offset for place in committed} == ends
            if reached and len(set(self.answered())) == EVENTS:
                raise Done
            assert time.monotonic() < give_up, f"{len(set(self.answered()))} answered, committed {committed}"
            return real.consume(*limits)

        loop._consumer = Instead(real, consume=consume)
        with pytest.raises(Done):
            loop.run()

    def answered(self) -> list[str]:
        return [recorded.answered(record) for record in self.cluster.since(FOLLOWED, self.before)]

    def state(self) -> dict[bytes, dict[str, Any]]:
        """What the changelog says of each case."""
        found = Changelog(self.cluster.bootstrap, self.group).rows(range(PARTITIONS))
        return {key: json.loads(value) for rows in found.values() for key, value in rows}

    def counted(self) -> int:
        """How many events the state knows of cases that are whole."""
        counts = [row["events"] for row in self.state().values()]
        return sum(count for count in counts if count == EVENTS_PER_CASE)


@pytest.fixture
def run(kafka: str, fresh: Callable[[str], str], tmp_path: Path) -> Iterator[Run]:
    cluster = Cluster(kafka, tmp_path)
    yield Run(cluster, fresh("loop"))
    cluster.close()


@pytest.mark.kafka
def test_a_crash_between_delivery_and_commit_counts_nothing_twice_and_repeats_answers_under_their_ids(run: Run) -> None:
    def crash(**_options: Any) -> None:
        raise Crash

    loop = run.loop()
    loop._consumer = Instead(loop._consumer, commit=crash)
    with pytest.raises(Crash):
        loop.run()
    repeated = len(run.answered())
    assert repeated
    run.to_the_end()
    assert run.counted() == EVENTS
    assert len(run.answered()) == EVENTS + repeated
    ids = [dict(record.headers)["ce_id"] for record in run.cluster.since(FOLLOWED, run.before)]
    assert len(set(ids)) == EVENTS


@pytest.mark.kafka
def test_answers_that_a_crash_lost_although_their_changelog_is_stored_are_given_after_all(run: Run) -> None:
    loop = run.loop()
    real = loop._producer

    def only_changelog(topic: str, *record: Any, **options: Any) -> None:
        if topic != FOLLOWED:
            real.produce(topic, *record, **options)

    def crash(seconds: float) -> None:
        real.flush(seconds)
        raise Crash

    loop._producer = Instead(real, produce=only_changelog, flush=crash)
    with pytest.raises(Crash):
        loop.run()
    assert run.answered() == []
    run.to_the_end()
    assert sorted(run.answered()) == sorted(set(run.answered()))
    assert run.counted() == EVENTS


@pytest.mark.kafka
def test_what_the_broker_does_not_take_ends_the_loop_before_it_commits(run: Run) -> None:
    admin = KafkaAdmin(run.cluster.bootstrap)
    start = admin.committed([run.group])
    admin.create(TopicState(f"{run.group}.changelog", PARTITIONS, 1, {"max.message.bytes": "100"}))
    with pytest.raises(RuntimeError, match="not delivered"):
        run.loop().run()
    assert admin.committed([run.group]) == start
    admin.close()


def test_an_event_that_is_published_twice_is_answered_once() -> None:
    cases = Cases()
    cases.install(0, [])
    assert [cases.apply(0, b"k", event_id, "a") for event_id in ("1", "1", "2", "1")] == [True, False, True, False]
    assert cases._cases[0][b"k"].events == 2

"""F11, F25, F26, F40, F63: settings and classes that are refused, replaced or never used."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from agents import aiokafka_host
from agents.aiokafka_host import AiokafkaHost
from bus import selfcheck
from bus.errors import Refused
from bus.ports import TopicState
from tests.agents.harness import World
from tests.agents.traps.support import (
    HERE,
    NOWHERE,
    OTHER,
    TOPIC,
    acking,
    hardened,
    keep,
    ours,
    settings,
    stock,
    stock_is_trapped,
)


def refuses(start: Callable[[], object]) -> None:
    """Trapped unless `start` is refused with a reason."""
    try:
        start()
    except Refused:
        return
    keep(holds=False, what="it starts without a word")


async def test_F11_exactly_once_is_refused_since_it_is_not_atomic(monkeypatch: pytest.MonkeyPatch) -> None:
    refuses(lambda: hardened(processing_guarantee="exactly_once"))
    with stock_is_trapped():
        refuses(lambda: stock(processing_guarantee="exactly_once"))

    app = stock(processing_guarantee="exactly_once")
    manager = acking(app).transactions
    app.assignor._topic_groups = {TOPIC: 0, OTHER: 1}
    used: list[str | None] = []

    class Producer:
        async def send(self, *_args: Any, transactional_id: str | None) -> None:
            used.append(transactional_id)

        async def commit_transactions(self, by_id: dict[str, Any], _group: str, **_kwargs: Any) -> None:
            used.extend(by_id)

    monkeypatch.setattr(manager, "producer", Producer())
    monkeypatch.setattr(manager.consumer, "key_partition", lambda _topic, _key, _partition: 2)
    await manager.send(OTHER, b"k", b"v", None, None, None)
    await manager.commit({HERE: 1})
    with stock_is_trapped():
        keep(len(set(used)) == 1, f"output and offsets travel in two transactions: {used}")


async def test_F25_no_topic_is_made_with_one_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """We make none at all: topics come from the topology file, which states the replicas."""

    async def durable(app: Any) -> None:
        made: list[int] = []

        async def create(_topic: str, _partitions: int, replication: int, **_kwargs: Any) -> None:
            made.append(replication)

        monkeypatch.setattr(app.consumer._thread, "create_topic", create)
        await app.consumer.create_topic("changelog", app.conf.topic_partitions, app.conf.topic_replication_factor)
        keep(all(replicas >= 3 for replicas in made), f"a topic with replication factor {made}")

    await durable(hardened())
    assert hardened().conf.topic_disable_leader
    with stock_is_trapped():
        await durable(stock())


class Cluster:
    """Partition counts as an assignor asks for them."""

    def __init__(self, **counts: int) -> None:
        self._counts = {TOPIC: counts["asked"], OTHER: counts["answered"]}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._counts[topic]))


def shares(assignor: Any, cluster: Cluster, members: int) -> list[dict[str, set[int]]]:
    """Per member, the partition numbers it gets of each topic."""
    joined = {f"m-{n}": assignor.metadata([TOPIC, OTHER]) for n in range(members)}
    found = []
    for share in assignor.assign(cluster, joined).values():
        numbers: dict[str, set[int]] = defaultdict(set)
        for topic, partitions in share.assignment:
            numbers[topic].update(partitions)
        found.append(numbers)
    return found


def test_F26_topics_whose_partition_counts_differ_are_refused_at_start() -> None:
    world = World(NOWHERE, "a")
    own = [f"{world.group}.{kind}" for kind in ("cases", "archive", "dead", "parked")]
    counts = {TOPIC: 4, world.topic("ordered"): 4, **dict.fromkeys(own, 4)}

    def start(answered: int) -> None:
        counted = {**counts, OTHER: answered}.items()
        config = {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}
        topics = {name: TopicState(name, count, 1, config) for name, count in counted}
        outputs = [world.topic("ordered")]
        selfcheck.refuse(selfcheck.check_group(world.group, inputs=list(world.inputs), outputs=outputs, topics=topics))

    start(answered=4)
    refuses(lambda: start(answered=3))
    with stock_is_trapped():
        refuses(lambda: shares(RoundRobinPartitionAssignor, Cluster(asked=4, answered=3), 1))


async def test_F40_an_exception_in_a_timer_cannot_stop_the_worker() -> None:
    """We register no timer of Faust's: deadlines are in the cases and fire in a unit (F4 covers a unit that raises)."""

    async def lives(app: Any) -> None:
        for task in app._app_tasks:
            await asyncio.wait({app.add_future(task())}, timeout=1.0)
        keep(not app.crashed, "a timer's exception crashed the app")

    await lives(ours().app)
    app = stock()

    @app.timer(0.01)  # type: ignore[untyped-decorator]  # faust ships no complete types
    async def tick() -> None:
        raise ValueError("broken")

    with stock_is_trapped():
        await lives(app)


async def test_F63_equal_partition_numbers_stay_on_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def together(strategy: list[Any]) -> None:
        for members in range(1, 7):
            for numbers in shares(strategy[0], Cluster(asked=6, answered=6), members):
                keep(numbers[TOPIC] == numbers[OTHER], f"{members} workers: {dict(numbers)}")

    def of_faust(app: Any) -> list[Any]:
        thread = app.consumer._thread
        consumer = thread._create_worker_consumer(app.transport)
        consumer._closed = True  # never started: its destructor must not warn
        found: list[Any] = consumer._partition_assignment_strategy
        return found

    joined: dict[str, Any] = {}

    def note(**given: Any) -> None:
        joined.update(given)
        raise ConnectionError("noted")

    monkeypatch.setattr(aiokafka_host, "AIOKafkaConsumer", note)
    with pytest.raises(ConnectionError):
        await AiokafkaHost(settings(), object(), ready=print)._connect()  # type: ignore[arg-type]  # no unit is run
    together(of_faust(hardened()))
    together(joined["partition_assignment_strategy"])
    with stock_is_trapped():
        together(of_faust(stock(table_standby_replicas=0)))

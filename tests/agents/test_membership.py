"""What the hosts share: where to start, a fetch as a unit, and the end of membership."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest

from agents import membership
from agents.membership import (
    COMMANDS_S,
    EXIT_MEMBERSHIP_LOST,
    PROMPT_S,
    ask_seldom,
    date_answers,
    end_when_membership_is_lost,
    floors,
    from_kafka,
)
from bus.errors import Unreachable
from bus.message import Partition, Record
from bus.partitioner import partition_for
from tests.agents.harness import PARTITIONS, World

A0, A1 = TopicPartition("a.x.y.v1", 0), TopicPartition("a.x.y.v1", 1)


class Offsets:
    """A consumer that knows first offsets and commits."""

    def __init__(self, first: dict[Any, int], commits: dict[Any, int]) -> None:
        self._first, self._commits = first, commits

    def assignment(self) -> set[Any]:
        return set(self._first)

    async def beginning_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return {tp: self._first[tp] for tp in partitions}

    async def committed(self, partition: Any) -> int | None:
        return self._commits.get(partition)


async def test_an_input_starts_at_its_commit_or_at_what_retention_has_left() -> None:
    places = [Partition(*A0), Partition(*A1)]
    assert await floors(Offsets({A0: 0, A1: 7}, {A0: 5}), places) == {places[0]: 5, places[1]: 7}
    assert await floors(Offsets({A0: 9, A1: 0}, {A0: 5, A1: 3}), places) == {places[0]: 9, places[1]: 3}


async def test_an_input_that_another_member_has_is_left_out() -> None:
    places = [Partition(*A0), Partition(*A1)]
    assert await floors(Offsets({A1: 7}, {}), places) == {places[1]: 7}


def consumer(fetching: Any = None, **states: Any) -> Any:
    """A consumer whose assignment has these states, by the partition's name a0, a1; `fetching` is its fetch task."""
    known = {A0: states.get("a0"), A1: states.get("a1")}
    assignment = SimpleNamespace(state_value=known.get)
    return SimpleNamespace(
        _fetcher=SimpleNamespace(error_future=fetching or SimpleNamespace(done=lambda: False)),
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)),
    )


def state(position: int, *, highwater: int | None, timestamp: int = 50, valid: bool = True) -> Any:
    return SimpleNamespace(position=position, highwater=highwater, timestamp=timestamp, has_valid_position=valid)


def raw(offset: int) -> Record:
    return Record(A0.topic, 0, offset, offset, b"k", b"v", (("h", b"1"),))


def test_a_fetch_starts_where_the_one_before_ended_and_passes_markers() -> None:
    place = Partition(*A0)
    found = from_kafka(consumer(a0=state(6, highwater=9)), {A0: [raw(3), raw(4)]}, [A0], {place: 3})
    assert (found.starts, found.positions) == ({place: 3}, {place: 6})
    assert found.records == {place: [raw(3), raw(4)]}
    assert found.seen == {}


def test_only_a_partition_read_to_its_end_says_until_when() -> None:
    here, there = Partition(*A0), Partition(*A1)
    told = from_kafka(
        consumer(a0=state(9, highwater=9, timestamp=77), a1=state(2, highwater=None)), {}, [A0, A1], {here: 9, there: 2}
    )
    assert told.seen == {here: 77}


def test_a_partition_that_is_gone_or_has_no_position_is_left_out() -> None:
    found = from_kafka(consumer(a0=state(0, highwater=0, valid=False)), {}, [A0, A1], {Partition(*A0): 0})
    assert found.positions == {}


async def test_a_client_whose_fetching_has_ended_ends_the_worker_instead_of_waiting_for_ever() -> None:
    async def fetching() -> None:
        raise RuntimeError("the transport is closed")

    task = asyncio.create_task(fetching())
    await asyncio.wait([task])
    with pytest.raises(Unreachable, match="stopped fetching"):
        from_kafka(consumer(task, a0=state(6, highwater=9)), {}, [A0], {Partition(*A0): 3})


async def test_a_client_that_is_being_closed_has_not_failed() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await asyncio.wait([task])
    from_kafka(consumer(task, a0=state(6, highwater=9)), {}, [A0], {Partition(*A0): 3})


class Coordinator:
    """The part of aiokafka's coordinator the hook touches."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.resets = 0
        self.kept: list[Exception] = []

    def reset_generation(self) -> None:
        self.resets += 1

    def _push_error_to_user(self, error: Exception) -> None:
        self.kept.append(error)


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []
    monkeypatch.setattr("agents.membership.os._exit", codes.append)
    return codes


async def test_a_member_that_was_forgotten_ends_the_process(
    exits: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator: Any = Coordinator(generation=3)
    end_when_membership_is_lost(SimpleNamespace(_coordinator=coordinator))
    coordinator.reset_generation()
    assert (exits, coordinator.resets) == ([EXIT_MEMBERSHIP_LOST], 0)
    assert capsys.readouterr().err.count("\n") == 1


async def test_a_member_that_leaves_or_has_not_joined_yet_is_not_lost(exits: list[int]) -> None:
    leaving: Any = Coordinator(generation=3)
    leaving._closing.set_result(None)
    error = KafkaError("while leaving")
    joining: Any = Coordinator(generation=-1)
    for coordinator in (leaving, joining):
        end_when_membership_is_lost(SimpleNamespace(_coordinator=coordinator))
        coordinator.reset_generation()
        assert coordinator.resets == 1
    leaving._push_error_to_user(error)
    assert (exits, leaving.kept) == ([], [error])


async def test_a_member_that_the_group_refuses_ends_the_process_without_waiting_for_a_fetch(
    exits: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator: Any = Coordinator(generation=3)
    end_when_membership_is_lost(SimpleNamespace(_coordinator=coordinator))
    coordinator._push_error_to_user(KafkaError("82"))
    assert (exits, coordinator.kept) == ([EXIT_MEMBERSHIP_LOST], [])
    assert "the group does not take this member" in capsys.readouterr().err


@pytest.mark.parametrize(("took_s", "dated"), [(PROMPT_S / 2, False), (PROMPT_S * 10, True)])
async def test_an_answer_that_was_long_under_way_tells_only_up_to_when_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, took_s: float, dated: bool
) -> None:
    seconds = [100.0]
    clock = SimpleNamespace(monotonic=lambda: seconds[0], time_ns=lambda: int(seconds[0] * 1e9))
    monkeypatch.setattr(membership, "time", clock)
    state = SimpleNamespace(timestamp=None)

    async def answered(assignment: Any, node: int, request: Any) -> str:
        seconds[0] += took_s  # the process stood still meanwhile
        state.timestamp = int(seconds[0] * 1000)  # as aiokafka dates it: when it is read
        return "records"

    fetcher = SimpleNamespace(_proc_fetch_request=answered)
    date_answers(SimpleNamespace(_fetcher=fetcher))
    request = SimpleNamespace(topics=[(A0.topic, [(A0.partition, 0)])])
    assignment = SimpleNamespace(state_value=lambda tp: state if tp == A0 else None)
    assert await fetcher._proc_fetch_request(assignment, 1, request) == "records"
    assert state.timestamp == (100_000 if dated else int((100 + took_s) * 1000))


async def test_commands_are_asked_for_twice_a_second_and_with_every_fetch_that_has_nothing_else_to_ask_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = [100.0]
    monkeypatch.setattr(membership, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    asked: list[tuple[int, list[str]]] = []

    async def fetched(_assignment: Any, node: int, request: Any) -> str:
        asked.append((node, [topic for topic, _ in request.topics]))
        return "records"

    fetcher = SimpleNamespace(_proc_fetch_request=fetched)
    ask_seldom(SimpleNamespace(_fetcher=fetcher), "g.parked")

    async def fetch(node: int, *topics: str) -> None:
        request = FetchRequest(200, 1, 1_000, 1, [(topic, [(0, 7, 1_000)]) for topic in topics])
        assert await fetcher._proc_fetch_request(None, node, request) == "records"

    both, events = ("asked.v1", "g.parked"), ("asked.v1",)
    await fetch(1, *both)
    await fetch(1, *both)
    await fetch(2, *both)  # another broker, which leads other partitions
    await fetch(1, "g.parked")  # all else is full, say: it costs nothing then
    seconds[0] += COMMANDS_S
    await fetch(1, *events)  # all partitions of commands hold unread records
    await fetch(1, *both)
    await fetch(1, *both)
    assert [list(topics) for _, topics in asked] == [
        list(topics) for topics in (both, events, both, ("g.parked",), events, both, events)
    ]


@pytest.mark.kafka
async def test_what_is_stored_while_the_process_stands_still_is_not_called_absent(
    monkeypatch: pytest.MonkeyPatch, kafka: str, fresh: Callable[[str], str]
) -> None:
    world = World(kafka, fresh("t"))
    world.create()
    topic = world.topic("asked")
    here = TopicPartition(topic, partition_for(b"c-1", PARTITIONS))
    stood_s = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + stood_s[0], time_ns=time.time_ns)
    monkeypatch.setattr(membership, "time", clock)
    held: asyncio.Queue[None] = asyncio.Queue()
    let: asyncio.Queue[None] = asyncio.Queue()
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=kafka, fetch_max_wait_ms=200, auto_offset_reset="earliest")
    await consumer.start()
    send = consumer._client.send

    async def sent(node: int, request: Any) -> Any:
        answer = await send(node, request)
        if "Fetch" in type(request).__name__:
            held.put_nowait(None)
            await let.get()
        return answer

    monkeypatch.setattr(consumer._client, "send", sent)
    try:
        date_answers(consumer)
        consumer.assign([here])
        await held.get()  # "there is nothing", in the socket of a process that was stopped
        await world.ask(["c-1"])
        stood_s[0] = 5.0
        let.put_nowait(None)
        await held.get()  # the answer is read, and the next one is there
        told = from_kafka(consumer, {}, [here], {Partition(*here): 0})
    finally:
        await consumer.stop()
    (record,) = world.read(topic)
    assert told.seen[Partition(*here)] < record.timestamp

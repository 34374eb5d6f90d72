"""What both hosts need of an aiokafka consumer: settings, start positions, a fetch as `Fetched`, the end of membership.

Called by `agents.aiokafka_host` and `agents.faust_host`. The traps it avoids: a member that the group has forgotten
would rejoin in silence and work on with stale memory, or push out its replacement (F64, F65); a group whose commits
expired after idle days would start from the beginning (F71: positions in the case log come first, commits second).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from agents.unit import Fetched
from bus.errors import Unreachable
from bus.message import Partition, Record

EXIT_MEMBERSHIP_LOST = 75  # EX_TEMPFAIL: the supervisor starts a clean process
COMMANDS_S = 0.5
PROMPT_S = 0.5  # a fetch waits 0.2 s at the broker; with clocks 0.4 s apart still within the runner's grace of 1 s


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """How a host joins its group.

    Args:
        bootstrap: broker addresses. group: consumer group. topics: what the process listens to.
        instance: static member name, so a quick restart moves no partition; None for a dynamic member.
        session_timeout_ms: after this silence the group gives the partitions to another worker. Faust's default of
            60 s would leave a dead worker's cases waiting for a minute (F70).
        heartbeat_ms: about a sixth of it. rebalance_timeout_ms: how long members may take to rejoin.
        max_poll_records: upper bound of one unit.
        max_poll_interval_ms: after so long without a fetch the client leaves its group. Longer than the recovery of a
            large case store, which fetches nothing; a worker that hangs is ended sooner by `agents.watchdog`.
        recovery_s: how long taking an assignment over may take, in seconds; less than that.
        client_id: names the process in the group, so that two under one instance name can be told apart.
    """

    bootstrap: str
    group: str
    topics: frozenset[str]
    instance: str | None = None
    session_timeout_ms: int = 10_000
    heartbeat_ms: int = 1_500
    rebalance_timeout_ms: int = 30_000
    max_poll_records: int = 1_000
    max_poll_interval_ms: int = 180_000
    recovery_s: float = 120.0
    client_id: str = "agencybus-worker"


def end_when_membership_is_lost(consumer: Any) -> None:
    """End the process when the group no longer knows this member (F64).

    `reset_generation` is where aiokafka learns it (research/faust-host.md 1); what it does not expect, such as
    FENCED_INSTANCE_ID when a twin came while this member was joining, it keeps for the next fetch, which a member
    without partitions never makes. A clean exit would rejoin and disturb the others once more, so the process ends at
    once; every decision is durable in the case log.
    """
    coordinator = consumer._coordinator  # noqa: SLF001  # no public hook
    reset, keep = coordinator.reset_generation, coordinator._push_error_to_user  # noqa: SLF001  # as above

    def ended() -> None:
        if coordinator._closing.done() or coordinator.generation < 0:  # noqa: SLF001  # leaving, or not joined yet
            reset()
            return
        _end("the group gave this member's partitions away")

    def refused(error: Exception) -> Any:
        if coordinator._closing.done():  # noqa: SLF001  # leaving
            return keep(error)
        return _end(f"the group does not take this member ({error})")

    coordinator.reset_generation = ended
    coordinator._push_error_to_user = refused  # noqa: SLF001  # as above


def _end(why: str) -> NoReturn:
    sys.stderr.write(
        f"agencybus worker: {why}; ending to start clean. (Is another worker running under the same --instance?)\n"
    )
    sys.stderr.flush()
    os._exit(EXIT_MEMBERSHIP_LOST)


def date_answers(consumer: Any) -> None:
    """Let an answer that was long under way tell of its topics only up to when it was asked for.

    aiokafka dates each answer when it is read. A process that was stopped, or whose loop stood still, meanwhile would
    then believe that nothing came in that time: it would call an event unopened whose opening stands on the topic, and
    let a deadline pass before the event that met it. The fence does not see that when the pause is within the session.

    Args:
        consumer: an aiokafka consumer that has started.
    """
    from aiokafka import TopicPartition

    fetcher = consumer._fetcher  # noqa: SLF001  # no public hook
    answered = fetcher._proc_fetch_request  # noqa: SLF001

    async def asked(assignment: Any, node: int, request: Any) -> Any:
        at, begun = time.time_ns() // 1_000_000, time.monotonic()
        found = await answered(assignment, node, request)
        if time.monotonic() - begun > PROMPT_S:
            for topic, places in request.topics:
                for place in places:
                    state = assignment.state_value(TopicPartition(topic, place[0]))
                    if state is not None and state.timestamp is not None:
                        state.timestamp = min(state.timestamp, at)
        return found

    fetcher._proc_fetch_request = asked  # noqa: SLF001


def ask_seldom(consumer: Any, topic: str) -> None:
    """Let a fetch of events ask for a topic of commands only twice a second.

    A worker's next fetch begins when the one before is read, a hundred times a second and more, and has as many
    partitions of commands as of events: half of what client and broker have to go through, nearly always for nothing.

    Args:
        consumer: an aiokafka consumer that has started.
        topic: of the commands; read by every fetch that reads nothing else of its broker.
    """
    fetcher = consumer._fetcher  # noqa: SLF001  # no public hook
    fetch = fetcher._proc_fetch_request  # noqa: SLF001
    asked: dict[int, float] = {}  # by broker

    async def seldom(assignment: Any, node: int, request: Any) -> Any:
        others = [part for part in request.topics if part[0] != topic]
        if others and len(others) < len(request.topics):
            now = time.monotonic()
            if now - asked.get(node, -COMMANDS_S) < COMMANDS_S:
                request._topics = others  # noqa: SLF001  # has no setter
            else:
                asked[node] = now
        return await fetch(assignment, node, request)

    fetcher._proc_fetch_request = seldom  # noqa: SLF001


async def floors(consumer: Any, inputs: Sequence[Partition]) -> dict[Partition, int]:
    """Where each input may start at the earliest: the first stored offset, or the group's commit where it is later.

    Inputs that are not this member's are left out: beside a member that listens to fewer topics (a rolling upgrade),
    equal partition numbers may go to two workers.
    """
    from aiokafka import TopicPartition

    assigned = consumer.assignment()
    partitions = {p: TopicPartition(p.topic, p.number) for p in inputs}
    partitions = {p: tp for p, tp in partitions.items() if tp in assigned}
    first = await consumer.beginning_offsets(list(partitions.values()))
    result: dict[Partition, int] = {}
    for partition, tp in partitions.items():
        committed = await consumer.committed(tp)
        result[partition] = max(first[tp], committed or 0)
    return result


def known_ends(consumer: Any, wanted: Iterable[Any]) -> dict[Partition, int]:
    """How far inputs reach, as the last fetch of each told: what a worker has not committed of it, waits."""
    assignment = consumer._subscription.subscription.assignment  # noqa: SLF001  # as in `from_kafka`
    states = ((tp, assignment.state_value(tp)) for tp in wanted)
    return {Partition(tp.topic, tp.partition): s.highwater for tp, s in states if s is not None and s.highwater}


def from_kafka(
    consumer: Any,
    found: Mapping[Any, Iterable[Record]],
    wanted: Iterable[Any],
    fetched_to: Mapping[Partition, int],
) -> Fetched:
    """One fetch as the runner takes it.

    Args:
        consumer: the aiokafka consumer, for positions and high watermarks.
        found: what getmany returned, read through the splitter.
        wanted: the topic partitions that were asked for.
        fetched_to: where the fetch before ended, by partition.

    Raises:
        Unreachable: the client's own task that fetches has ended: aiokafka logs it and then waits for ever for records
            that nobody asks for (seen after a network fault), so the process must end.
    """
    _still_fetching(consumer)
    records: dict[Partition, list[Record]] = {}
    starts: dict[Partition, int] = {}
    positions: dict[Partition, int] = {}
    seen: dict[Partition, int] = {}
    assignment = consumer._subscription.subscription.assignment  # noqa: SLF001  # `position()` would await per partition
    for tp in wanted:
        partition = Partition(tp.topic, tp.partition)
        state = assignment.state_value(tp)
        if state is None or not state.has_valid_position:
            continue
        starts[partition] = fetched_to[partition]
        positions[partition] = state.position
        if state.highwater is not None and state.position >= state.highwater:
            seen[partition] = state.timestamp
        got = found.get(tp)
        if got:
            records[partition] = list(got)
    return Fetched(records, starts, positions, seen)


def _still_fetching(consumer: Any) -> None:
    task = consumer._fetcher.error_future  # noqa: SLF001  # its task; aiokafka itself never looks at it
    if task.done() and not task.cancelled():
        error = task.exception()
        cause = type(error.__cause__ or error).__name__
        raise Unreachable(f"the Kafka client has stopped fetching ({cause}).", remedy="Start the worker again.")

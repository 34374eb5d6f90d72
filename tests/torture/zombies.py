"""Processes that stop themselves (SIGSTOP) at a named moment of their work, so that they wake up as zombies.

Forked by `tests.torture.zygote` for `test_zombies`. Each is an ordinary program of the bus: `agencybus worker run`, a
subscription, an inbox, a relay. The moments are put around it, it knows nothing of them. A moment counts once the test
has armed the process: what it stops with in hand is then known, which no pause from outside can promise. `fenced` and
`unique` take a guard out for the negative controls.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from kafka.errors import NoError
from kafka.structs import TopicPartition

from agents.case_log import OURS, Row
from agents.kafka_case_log import KafkaCaseLog
from agents.runner import Runner
from agents.unit import Fetched
from bus.errors import Refused
from bus.message import Outgoing, Partition, Record
from bus.transport import kafka_facts
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_producer import KafkaProducer
from bus.transport.kafka_reader import KafkaReader
from tests.torture.cluster import make_topics
from tests.torture.killer import Zygote

PATIENCE_S = 60.0
_LOOK_S = 0.1
SESSION_MS = 6_000  # the least a worker takes
RECORDED, FOLLOWED = "replay.activity.recorded.v1", "replay.activity.followed.v1"
WORKING = (  # the life of a worker's unit, in order
    "fetched", "burying", "decided", "stored", "sending", "sent", "archiving", "committing",
)  # fmt: skip
_DEAF_S = 3.0
_CHILD = "AGENCYBUS_WORKER_CHILD"


class Stop:
    """Stops this process the first time it comes by `at` once it is armed; says so in a file.

    Args:
        folder: of the run. actor: whose files these are. at: the moment; empty never comes.
    """

    def __init__(self, folder: Path, actor: str, at: str) -> None:
        self._armed, self._stopped, self._at = armed(folder, actor), stopped(folder, actor), at

    def __call__(self, moment: str) -> None:
        if moment == self._at and self._armed.exists() and not self._stopped.exists():
            self._stopped.touch()
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # this thread goes no further, nor does any


def armed(folder: Path, actor: str) -> Path:
    """The file that arms an actor."""
    return folder / f"{actor}.armed"


def stopped(folder: Path, actor: str) -> Path:
    """The file that says it has stopped."""
    return folder / f"{actor}.stopped"


def worker(
    *,
    actor: str,
    folder: str,
    bootstrap: str,
    group: str,
    host: str,
    instance: str = "",
    supervised: bool = False,
    at: str = "",
    deaf: bool = False,
    fenced: bool = True,
) -> None:
    """``agencybus worker run recorded`` for the cases of `group`.

    Args:
        actor: this process. folder: of the run. bootstrap: the cluster.
        group: consumer group; its cases begin with its name. host: faust or aiokafka.
        instance: static member name; empty for a dynamic member.
        supervised: whether it has a supervisor of its own; else the zygote stands for the one of all.
        at: the moment of `WORKING`, or "joining", at which it stops.
        deaf: whether it takes in a while after everything else that the group has given it up.
        fenced: whether its batches carry its owner's epoch.
    """
    stop = Stop(Path(folder), actor, at)
    _stop_in_units(stop, f"{group}-".encode())
    _stop_in_sending(stop)
    _stop_in_joining(stop)
    if deaf:
        _hear_late()
    if not fenced:
        _take_out_the_fence()
    if not supervised:
        os.environ[_CHILD] = str(os.getppid())
    static = ["--instance", instance] if instance else []
    ready = ["--ready-file", f"{folder}/{actor}.ready"]
    words = ["worker", "run", "recorded", "--host", host, "--group", group, "--case-prefix", f"{group}-", *ready]
    _command(bootstrap, [*words, *static])


def _stop_in_units(stop: Stop, prefix: bytes) -> None:
    """Put the moments around the runner and its case log; only a unit with cases of its own counts."""
    handle, append = Runner.handle, KafkaCaseLog.append

    async def handling(self: Runner, *fetches: Fetched) -> None:
        if any((r.key or b"").startswith(prefix) for f in fetches for found in f.records.values() for r in found):
            stop("fetched")
        await handle(self, *fetches)

    async def appending(self: KafkaCaseLog, batches: Mapping[int, Sequence[Row]]) -> None:
        decided = any(not key.startswith(OURS) for rows in batches.values() for key, _ in rows)
        if decided:
            stop("decided")
        await append(self, batches)
        if decided:
            stop("stored")

    Runner.handle = handling  # type: ignore[method-assign]
    KafkaCaseLog.append = appending  # type: ignore[method-assign]


def _stop_in_sending(stop: Stop) -> None:
    """Put the moments around outputs, the archive, dead letters and the group's commits."""
    from aiokafka import AIOKafkaConsumer

    append, commit = KafkaProducer.append, AIOKafkaConsumer.commit

    async def appending(self: KafkaProducer, partition: Partition, records: Sequence[Outgoing]) -> int:
        if partition.topic == FOLLOWED:
            stop("sending")
        if partition.topic.endswith(".archive"):
            stop("archiving")
        if partition.topic.endswith(".dead"):
            stop("burying")
        first = await append(self, partition, records)
        if partition.topic == FOLLOWED:
            stop("sent")
        return first

    async def committing(self: Any, *offsets: Any) -> None:
        stop("committing")
        await commit(self, *offsets)

    KafkaProducer.append = appending  # type: ignore[method-assign]
    AIOKafkaConsumer.commit = committing


def _hear_late() -> None:
    """Let what ends a member that the group has forgotten come late: until then the log alone holds it back."""
    from agents import aiokafka_host, faust_app
    from agents.membership import end_when_membership_is_lost

    def hearing(consumer: Any) -> None:
        end_when_membership_is_lost(consumer)
        coordinator = consumer._coordinator
        ended = coordinator.reset_generation
        coordinator.reset_generation = lambda: threading.Timer(_DEAF_S, ended).start()

    for host in (aiokafka_host, faust_app):
        vars(host)["end_when_membership_is_lost"] = hearing


def _stop_in_joining(stop: Stop) -> None:
    """Put a moment before a member asks to be let in again."""
    from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance

    join = CoordinatorGroupRebalance.perform_group_join

    async def joining(self: Any) -> Any:
        stop("joining")
        return await join(self)

    CoordinatorGroupRebalance.perform_group_join = joining


def _take_out_the_fence() -> None:
    """Let batches carry no producer id: the broker then takes them from anyone."""
    build = KafkaCaseLog._build

    def unfenced(self: KafkaCaseLog, number: int, rows: Sequence[Row]) -> bytes:
        mine = self._claims[number]
        self._claims[number] = replace(mine, producer_id=-1, epoch=-1, sequence=-1)
        try:
            return build(self, number, rows)
        finally:
            self._claims[number] = mine

    KafkaCaseLog._build = unfenced  # type: ignore[method-assign]


def _command(bootstrap: str, words: Sequence[str]) -> None:
    """Become this command."""
    os.environ["AGENCYBUS__BOOTSTRAP"] = bootstrap
    os.environ["AGENCYBUS__SESSION_TIMEOUT_MS"] = str(SESSION_MS)
    sys.argv = ["agencybus", *words]
    from bus.cli.main import run

    run()


PRELOAD: Sequence[str] = (
    "tests.torture.zombies",
    "bus.cli.main",
    "agents.faust_host",
    "agents.aiokafka_host",
    "connectors.cli_database",
    "kafka",
)


@dataclass
class World:
    """A cluster, a reader of it, and the parent of all actors."""

    bootstrap: str
    folder: Path
    zygote: Zygote
    reader: KafkaReader
    admin: KafkaAdmin
    mark: str = field(default_factory=lambda: f"z{uuid.uuid4().hex[:6]}")  # names of groups begin with it

    @classmethod
    @contextmanager
    def on(cls, bootstrap: str, folder: Path, topics: Sequence[str], *modules: str) -> Iterator[Self]:
        """A world on a cluster, with these topics, and the actors of `modules` as well."""
        with (
            Zygote([*PRELOAD, *modules], os.environ) as zygote,
            closing(KafkaReader(bootstrap)) as reader,
            closing(KafkaAdmin(bootstrap)) as admin,
        ):
            world = cls(bootstrap, folder, zygote, reader, admin)
            world.make(topics)
            yield world

    def make(self, topics: Sequence[str], *, groups: Sequence[str] = ()) -> None:
        """Make topics of the standard topology, and those of groups that read the first of them."""
        brokers = len(kafka_facts.read(self.bootstrap).brokers)
        make_topics(self.bootstrap, topics, groups=groups, workflows=[], brokers=brokers)

    def read(self, topic: str) -> list[Record]:
        """Every record of a topic, partition by partition; none of one that nobody has made yet."""
        try:
            places = [Partition(topic, n) for n in range(self.reader.partitions(topic))]
        except Refused:
            return []
        return [r for p, ends in self.reader.bounds(places).items() for r in self.reader.read(p, *ends)]

    def ends(self, topic: str) -> dict[Partition, int]:
        """The end of each partition of a topic that holds anything."""
        places = [Partition(topic, n) for n in range(self.reader.partitions(topic))]
        return {p: end for p, (_, end) in self.reader.bounds(places).items() if end}

    def committed(self, group: str) -> dict[Partition, int]:
        """What the group has committed."""
        return self.admin.committed([group]).get(group, {})

    def settled(self, group: str) -> int:
        """How many members a group has; 0 while partitions are being dealt out."""
        found = self.admin._client.describe_groups([group])[group]
        return len(found["members"]) if found["group_state"] == "Stable" else 0

    def forget_commits(self, group: str, topic: str) -> set[str]:
        """Delete a group's commits on a topic, as an operator's slip would; the names of the broker's refusals."""
        places = [TopicPartition(topic, n) for n in range(self.reader.partitions(topic))]
        answer = self.admin._client.delete_group_offsets(group, places)
        return {error.__name__ for error in answer.values() if error is not NoError}

    def forget_group(self, group: str) -> None:
        """Delete a group that has no members, commits and all, as its expiry would."""
        assert self.admin._client.delete_groups([group]) == {group: "OK"}
        assert self.committed(group) == {}


class Actor:
    """One process of the run.

    Args:
        world: where it lives. name: of it and its files. target: ``module:function``.
        arguments: of that function.
    """

    def __init__(self, world: World, name: str, target: str, **arguments: object) -> None:
        self.name, self._world, self._log = name, world, world.folder / f"{name}.log"
        given = {"actor": name, "folder": str(world.folder), "bootstrap": world.bootstrap, **arguments}
        self._child = world.zygote.start(name, target, given, self._log)

    @property
    def ready(self) -> bool:
        """Whether it has said that it works."""
        return (self._world.folder / f"{self.name}.ready").exists()

    @property
    def owned(self) -> list[int]:
        """The case partitions that a worker said last that it owns."""
        with suppress(FileNotFoundError):
            return [int(n) for n in (self._world.folder / f"{self.name}.ready").read_text().split()]
        return []

    def arm(self) -> None:
        """Let it stop when its moment comes."""
        armed(self._world.folder, self.name).touch()

    @property
    def asleep(self) -> bool:
        """Whether it has stopped itself."""
        return stopped(self._world.folder, self.name).exists()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._world.zygote.signal(self._child, number)

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._child.code

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text() if self._log.exists() else ""


def until(holds: Callable[[], bool], what: str, actors: Iterable[Actor] = ()) -> None:
    """Wait, looking seldom enough to leave the machine to the actors; say whose logs tell why it did not come to that.

    Args:
        holds: what is waited for. what: the same in words. actors: whose it is.

    Raises:
        AssertionError: it did not come to that in time.
    """
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > give_up:
            logs = "\n".join(f"== {a.name} ({a.code})\n{a.log()[-2_000:]}" for a in actors)
            raise AssertionError(f"{what} did not hold within {PATIENCE_S:g} s\n{logs}")
        time.sleep(_LOOK_S)

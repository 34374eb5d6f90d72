"""A tiny process on real Kafka for the tests of the hosts: its topics, its worker, its world.

Used by the host tests and the Faust trap tests; run as a program it is one worker process (kills and signals need a
process of their own). The process is built by hand, so that a fault in the compiler fails the compiler's tests only:
`note.asked` opens a case, the workflow emits `note.ordered`, `note.answered` ends it. The agency is fresh per test, so
tests share a broker and never a topic.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.graph import Emit, End, Graph, Listen
from agents.intake import Intake
from agents.kafka_case_log import KafkaCaseLog
from agents.membership import HostSettings
from agents.outputs import Outputs
from agents.runner import Runner
from bus.clock import SystemClock
from bus.message import Partition, Record
from bus.ports import TopicState
from bus.publish import Publisher
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_producer import KafkaProducer
from bus.transport.kafka_reader import KafkaReader
from schemas.catalogue import Catalogue
from schemas.codec import Codec
from schemas.event import Event, PersonalData

HOSTS = ("faust", "aiokafka")
SESSION_MS = 6_000
PARTITIONS = 4


@dataclass(frozen=True)
class World:
    """Names and contracts of one test.

    Args:
        bootstrap: the broker. agency: owner of the three topics; the group's name is made from it.
    """

    bootstrap: str
    agency: str
    asked: type[Event] = field(init=False)
    ordered: type[Event] = field(init=False)
    answered: type[Event] = field(init=False)

    def __post_init__(self) -> None:
        for fact in ("asked", "ordered", "answered"):
            object.__setattr__(self, fact, _contract(self.agency, fact))

    @property
    def group(self) -> str:
        return f"workflow.{self.agency}"

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue([self.asked, self.ordered, self.answered])

    def topic(self, fact: str) -> str:
        return f"{self.agency}.note.{fact}.v1"

    @property
    def inputs(self) -> tuple[str, str]:
        return self.topic("asked"), self.topic("answered")

    def create(self, partitions: int = PARTITIONS) -> None:
        """Make all topics, as `topics apply` would."""
        admin = KafkaAdmin(self.bootstrap)
        for name in (*self.inputs, self.topic("ordered")):
            admin.create(TopicState(name, partitions, 1, {"message.timestamp.type": "LogAppendTime"}))
        for kind in ("cases", "parked"):
            admin.create(TopicState(f"{self.group}.{kind}", partitions, 1, {"cleanup.policy": "compact"}))
        for kind in ("archive", "dead"):
            admin.create(TopicState(f"{self.group}.{kind}", partitions, 1))
        admin.close()

    async def ask(self, cases: Iterable[str]) -> None:
        await self._publish(self.asked, cases)

    async def answer(self, cases: Iterable[str]) -> None:
        await self._publish(self.answered, cases)

    async def _publish(self, model: type[Event], cases: Iterable[str]) -> None:
        producer = KafkaProducer(self.bootstrap)
        await producer.start()
        catalogue = self.catalogue
        publisher = Publisher(producer, Codec(catalogue), catalogue, agency=self.agency, clock=SystemClock())
        await asyncio.gather(
            *(publisher.publish(model.model_validate({"number": i}), case=case) for i, case in enumerate(cases))
        )
        await publisher.close()
        await producer.stop()

    def read(self, topic: str) -> list[Record]:
        """Every record of a topic."""
        reader = KafkaReader(self.bootstrap)
        parts = [Partition(topic, n) for n in range(reader.partitions(topic))]
        found = [r for p, (first, end) in reader.bounds(parts).items() for r in reader.read(p, first, end)]
        reader.close()
        return found

    def orders(self) -> list[str]:
        """The case of every order sent, repeats included."""
        return [(r.key or b"").decode() for r in self.read(self.topic("ordered"))]

    def order_ids(self) -> dict[str, set[str]]:
        """Case -> the ids of the orders sent for it."""
        ids: dict[str, set[str]] = {}
        for r in self.read(self.topic("ordered")):
            ids.setdefault((r.key or b"").decode(), set()).add((dict(r.headers)["ce_id"] or b"").decode())
        return ids

    def archived(self) -> list[str]:
        """The cases that came to their end, repeats included."""
        return [(r.key or b"").decode() for r in self.read(f"{self.group}.archive")]

    def committed(self) -> dict[Partition, int]:
        admin = KafkaAdmin(self.bootstrap)
        found = admin.committed([self.group])[self.group]
        admin.close()
        return {p: offset for p, offset in found.items() if offset}

    def ends(self) -> dict[Partition, int]:
        """End offset per input partition that holds anything."""
        reader = KafkaReader(self.bootstrap)
        parts = [Partition(topic, n) for topic in self.inputs for n in range(reader.partitions(topic))]
        found = {p: end for p, (_, end) in reader.bounds(parts).items() if end}
        reader.close()
        return found

    def graph(self) -> Graph:
        """asked -> order -> answered -> end."""
        asked, answered = self.inputs
        return Graph(
            process="note",
            title="A note is asked for, ordered, answered",
            hash=f"note-{self.agency}",
            opens_on=asked,
            opening="asked",
            listens=frozenset(self.inputs),
            emits=frozenset({self.topic("ordered")}),
            time="append",
            keeps_early=True,
            needs={},
            keeps_opening_time=False,
            keeps_case=False,
            program=(
                Emit("order", self.topic("ordered"), self.agency, lambda _: {"number": 1}, 1),
                Listen("wait", answered, "answered", None, keeps_time=False, due=None, late=-1, next=2),
                End("done", "completed"),
            ),
            entry=0,
            waiters={answered: (1,)},
            at={"wait": 1},
            reach={"wait": frozenset({answered})},
            keeps={"wait": {}, "case": {}},
            due=None,
            late=-1,
            steps={},
            layout=(),
            agencies={self.topic("ordered"): self.agency},
        )


def _contract(agency: str, fact: str) -> type[Event]:
    class Note(Event, contract=f"note.{fact}", agencies=(agency,), personal_data=PersonalData.NONE):
        """A note; says which one it is."""

        number: int
        """Any number."""

    return Note


class Breaking(Runner):
    """A runner whose first unit with records raises, for what hosts must do then."""

    async def handle(self, *fetches: Any) -> None:
        if any(fetched.records for fetched in fetches):
            raise ValueError("the unit broke")
        await super().handle(*fetches)


@asynccontextmanager
async def runner_of(world: World, kind: type[Runner] = Runner) -> AsyncIterator[Runner]:
    """A runner with its clients connected."""
    catalogue, codec, graph = world.catalogue, Codec(world.catalogue), world.graph()
    log = KafkaCaseLog(world.bootstrap, world.group, deadline_s=20)
    producer = KafkaProducer(world.bootstrap)
    await log.start()
    await producer.start()
    clock = SystemClock()
    intake = Intake(
        graph,
        catalogue=catalogue,
        codec=codec,
        extracts=dict.fromkeys(world.inputs, lambda _: {}),
        partitions=PARTITIONS,
    )
    outputs = Outputs(
        producer,
        catalogue=catalogue,
        codec=codec,
        group=world.group,
        process="note",
        partitions=PARTITIONS,
        clock=clock,
    )
    try:
        yield kind({graph.hash: graph}, intake=intake, log=log, outputs=outputs, clock=clock, owner="test")
    finally:
        await producer.stop()
        await log.stop()


def host_of(name: str, world: World, runner: Runner, ready: Callable[[Sequence[int]], None], **settings: Any) -> Any:
    """The host of that name over a runner."""
    joined = HostSettings(
        bootstrap=world.bootstrap,
        group=world.group,
        topics=runner.inputs,
        session_timeout_ms=SESSION_MS,
        heartbeat_ms=500,
        **settings,
    )
    return host_class(name)(joined, runner, ready=ready)


def host_class(name: str) -> Any:
    """The host of that name; each imported only when asked for, faust costs a second."""
    if name == "faust":
        from agents.faust_host import FaustHost

        return FaustHost
    from agents.aiokafka_host import AiokafkaHost

    return AiokafkaHost


@dataclass
class Worker:
    """A worker in a process of its own."""

    process: subprocess.Popen[str]
    ready_file: Path

    def owned(self) -> list[int]:
        """The case partitions it said it owns; empty before the first assignment."""
        with suppress(FileNotFoundError):
            return [int(n) for n in self.ready_file.read_text().split()]
        return []

    def end(self, sign: int = signal.SIGTERM, *, within_s: float = 15.0) -> tuple[int, str]:
        """Send a signal, wait; the exit code and what it wrote to stderr."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        _, said = self.process.communicate(timeout=within_s)
        return self.process.returncode, said


def start_worker(
    world: World, host: str, folder: Path, *, name: str = "w", instance: str = "", breaks: bool = False
) -> Worker:
    """Start a worker process; it writes what it owns to a file of its own."""
    ready = folder / f"{name}.ready"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.agents.harness", world.bootstrap, world.agency, host, str(ready)]
    command += ["--instance", instance] if instance else []
    command += ["--breaks"] if breaks else []
    return Worker(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True), ready)


async def until(holds: Callable[[], bool], *, within_s: float = 30.0, what: str = "it") -> None:
    """Ask again and again, with the loop running in between. Raises AssertionError after `within_s` seconds."""
    give_up = time.monotonic() + within_s
    while not await asyncio.to_thread(holds):
        if time.monotonic() > give_up:
            raise AssertionError(f"{what} did not hold within {within_s:g} s")
        await asyncio.sleep(0.05)


async def _work(args: argparse.Namespace) -> None:
    world = World(args.bootstrap, args.agency)

    def ready(numbers: Sequence[int]) -> None:
        part = args.ready.with_suffix(".part")
        part.write_text(" ".join(map(str, numbers)))
        part.rename(args.ready)

    async with runner_of(world, Breaking if args.breaks else Runner) as runner:
        host = host_of(args.host, world, runner, ready, instance=args.instance or None)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, host.stop)
        await host.run()


def main() -> None:
    """One worker process; ends as `agents.cli_worker` ends its child."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("agency")
    parser.add_argument("host", choices=HOSTS)
    parser.add_argument("ready", type=Path)
    parser.add_argument("--instance", default="")
    parser.add_argument("--breaks", action="store_true")
    args = parser.parse_args()
    try:
        asyncio.run(_work(args))
    except Exception as error:  # noqa: BLE001  # whatever it is ends the process, as in `agents.cli_worker`
        sys.stderr.write(f"worker: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()

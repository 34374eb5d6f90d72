"""What a workflow host must do, on real Kafka; `test_faust_host` and `test_aiokafka_host` run it on theirs.

Join, carry cases, commit what is finished, stop clean, resume, share with a second worker, survive a kill, end the
process when a unit breaks. Hosts share one loop where a test needs two; only kills and signals need processes.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agents.membership import HostSettings
from agents.runner import Runner
from bus.errors import Unreachable
from tests.agents.harness import Worker, World, host_class, host_of, runner_of, start_worker, until

ALL = [0, 1, 2, 3]


@asynccontextmanager
async def running(name: str, world: World, owned: list[Sequence[int]]) -> AsyncIterator[None]:
    """A host at work in this loop; stopped clean at the end. Each takeover is added to `owned`."""
    async with runner_of(world) as runner:
        host = host_of(name, world, runner, owned.append)
        task = asyncio.create_task(host.run())
        try:
            yield
        finally:
            host.stop()
            await task


class Settled:
    """Whether workers own all case partitions between them."""

    def __init__(self, *workers: list[Sequence[int]]) -> None:
        self._workers = workers

    def __call__(self) -> bool:
        last = [owned[-1] if owned else [] for owned in self._workers]
        return all(last) and sorted(n for numbers in last for n in numbers) == ALL


@pytest.mark.kafka
class HostSuite:
    """See the module. Subclasses name their host."""

    host: str

    @pytest.fixture
    def world(self, kafka: str, fresh: Callable[[str], str]) -> World:
        world = World(kafka, fresh("t"))
        world.create()
        return world

    @pytest.fixture
    def workers(self) -> Iterator[list[Worker]]:
        started: list[Worker] = []
        yield started
        for worker in started:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.communicate()

    async def test_a_case_is_carried_to_its_end_and_a_clean_restart_repeats_nothing(self, world: World) -> None:
        cases = [f"c-{i}" for i in range(40)]
        await world.ask(cases)
        async with running(self.host, world, []):
            await until(lambda: len(world.orders()) == 40, what="every case ordered")
            await world.answer(cases[:20])
            await until(lambda: len(world.archived()) == 20, what="20 cases ended")
        assert world.committed() == world.ends()
        await world.answer(cases[20:])
        async with running(self.host, world, []):
            await until(lambda: len(world.archived()) == 40, what="40 cases ended")
        assert world.committed() == world.ends()
        assert sorted(world.orders()) == sorted(world.archived()) == sorted(cases)
        assert world.read(f"{world.group}.dead") == []

    async def test_a_second_worker_joins_and_leaves_and_no_case_is_lost_or_done_twice(self, world: World) -> None:
        cases = [f"c-{i}" for i in range(120)]
        first: list[Sequence[int]] = []
        second: list[Sequence[int]] = []
        await world.ask(cases[:60])
        async with running(self.host, world, first):
            await until(Settled(first), what="one worker owns all")
            async with running(self.host, world, second):
                await world.ask(cases[60:])
                await until(Settled(first, second), what="two workers share")
                await world.answer(cases[:60])
                await until(lambda: len(world.archived()) >= 60, what="60 cases ended")
            await until(Settled(first), what="one worker owns all again")
            await world.answer(cases[60:])
            await until(lambda: len(world.archived()) >= 120, what="120 cases ended")
        ids = world.order_ids()
        assert sorted(ids) == sorted(set(world.archived())) == sorted(cases)
        assert all(len(found) == 1 for found in ids.values())

    async def test_after_kill_9_the_successor_resumes_and_sigterm_ends_it_in_time(
        self, world: World, tmp_path: Path, workers: list[Worker]
    ) -> None:
        cases = [f"c-{i}" for i in range(200)]
        workers.append(start_worker(world, self.host, tmp_path, name="one", instance="w"))
        await until(lambda: workers[0].owned() == ALL, what="the first worker ready")
        await world.ask(cases)
        await until(lambda: len(world.orders()) > 0, what="the first orders sent")
        workers[0].end(signal.SIGKILL)
        await world.answer(cases)
        workers.append(start_worker(world, self.host, tmp_path, name="two", instance="w"))
        await until(lambda: len(set(world.archived())) == 200, what="200 cases ended")
        ids = world.order_ids()
        assert sorted(ids) == sorted(cases)
        assert all(len(found) == 1 for found in ids.values())  # repeats carry the same id
        asked = time.monotonic()
        code, said = workers[1].end(signal.SIGTERM)
        assert code == 0, said
        assert time.monotonic() - asked < 5
        assert world.committed() == world.ends()

    async def test_a_unit_that_raises_ends_the_process_with_one_line_and_stays_undone(
        self, world: World, tmp_path: Path, workers: list[Worker]
    ) -> None:
        await world.ask(["c-1"])
        workers.append(start_worker(world, self.host, tmp_path, breaks=True))
        await until(lambda: workers[0].process.poll() is not None, what="the worker ended")
        code, said = workers[0].end()
        assert code == 1
        assert [line for line in said.splitlines() if line.startswith("worker:")] == [
            "worker: ValueError: the unit broke"
        ]
        assert "Traceback" not in said
        assert world.committed() == {}

    async def test_no_broker_is_unreachable(self) -> None:
        nowhere = HostSettings(bootstrap="127.0.0.1:1", group="g", topics=frozenset({"a.note.asked.v1"}))
        runner = object.__new__(Runner)  # never reached
        with pytest.raises(Unreachable, match="no broker answers"):
            await host_class(self.host)(nowhere, runner, ready=print).run()

"""A worker that stalls on real Kafka says so while it cannot work, and ends before the group moves on without it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.watchdog import EXIT_NOT_DRAINED, EXIT_STALLED
from bus.testing import eventually
from tests.agents.harness import World, until
from tests.torture.killer import Zygote

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote(["tests.agents.stalling", "agents.faust_host", "agents.aiokafka_host"], os.environ) as made:
        yield made


@pytest.fixture
def world(kafka: str, fresh: Callable[[str], str]) -> World:
    world = World(kafka, fresh("t"))
    world.create()
    return world


class Worker:
    """A forked worker."""

    def __init__(self, zygote: Zygote, log: Path, world: World, host: str, how: str, **more: int) -> None:
        self._zygote = zygote
        self._log = log
        told = {"bootstrap": world.bootstrap, "agency": world.agency, "host": host, "how": how, **more}
        self._child = zygote.start(str(log), "tests.agents.stalling:work", told, log)

    def said(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    async def port(self) -> int:
        """Of its health pages, once it is ready."""
        await until(lambda: bool(self.said()), what="the port")
        return int(self.said()[0])

    def signal(self, number: int) -> None:
        self._zygote.signal(self._child, number)

    async def ended(self) -> tuple[int | None, str]:
        """Its exit code, and what it said besides its port."""
        await until(lambda: self._child.code is not None, what="its end")
        return self._child.code, "\n".join(self.said()[1:])


Start = Callable[..., Worker]


@pytest.fixture
def start(world: World, zygote: Zygote, tmp_path: Path) -> Iterator[Start]:
    started: list[Worker] = []
    names = itertools.count()

    def begin(host: str, how: str, **more: int) -> Worker:
        started.append(Worker(zygote, tmp_path / f"{next(names)}.log", world, host, how, **more))
        return started[-1]

    yield begin
    for worker in started:
        worker.signal(signal.SIGKILL)


def get(port: int, page: str) -> tuple[int, list[str]]:
    """Status and reasons."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=2) as answer:
            return answer.status, json.load(answer)["reasons"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["reasons"]


@pytest.mark.parametrize(
    ("host", "how", "reason"),
    [
        ("faust", "loop", "event loop"),  # its consumer heartbeats from a thread of its own: nobody else would notice
        ("aiokafka", "unit", "one unit has taken"),
        ("faust", "commit", "the commit of"),
    ],
)
async def test_a_stalled_worker_is_not_live_and_then_gone(
    world: World, start: Start, host: str, how: str, reason: str
) -> None:
    worker = start(host, how)
    port = await worker.port()
    await until(lambda: get(port, "ready") == (200, []), what="ready")
    await world.ask(["c-1"])
    await until(lambda: get(port, "live")[0] == 503, what="not live")
    status, reasons = get(port, "live")
    assert status == 503
    assert any(reason in said for said in reasons)
    code, said = await worker.ended()
    assert code == EXIT_STALLED, said
    assert reason in said
    assert "Where it stood:" in said


@pytest.mark.parametrize("host", ["faust", "aiokafka"])
async def test_a_worker_that_works_stays_ready_and_stops_in_time(world: World, start: Start, host: str) -> None:
    worker = start(host, "none")
    port = await worker.port()
    await world.ask([f"c-{n}" for n in range(50)])
    await until(lambda: len(world.orders()) == 50, what="50 orders")
    await until(lambda: get(port, "ready") == (200, []), what="ready again")
    worker.signal(signal.SIGTERM)
    assert await worker.ended() == (0, "")


async def test_a_unit_that_hangs_does_not_outlive_the_budget_of_a_stop(world: World, start: Start) -> None:
    worker = start("faust", "stop")
    port = await worker.port()
    await world.ask(["c-1"])
    await until(lambda: get(port, "live")[0] == 503, what="it hangs")
    worker.signal(signal.SIGTERM)
    code, said = await worker.ended()
    assert code == EXIT_NOT_DRAINED, said
    assert "it was told to stop" in said
    assert "Traceback" not in said


async def test_its_cases_go_on_with_a_clean_process(world: World, start: Start) -> None:
    worker = start("aiokafka", "loop", session_ms=2_000)
    await worker.port()
    await world.ask(["c-1"])
    assert (await worker.ended())[0] == EXIT_STALLED
    start("aiokafka", "none")
    await until(lambda: world.orders() == ["c-1"], what="the order")
    eventually(lambda: set(world.committed()) == set(world.ends()))

"""A worker that stalls on real Kafka says so while it cannot work, and ends before the group moves on without it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from agents.watchdog import EXIT_NOT_DRAINED, EXIT_STALLED
from bus.testing import eventually
from tests.agents.harness import World, until

pytestmark = pytest.mark.kafka
Start = Callable[[str, str], tuple[subprocess.Popen[str], int]]


@pytest.fixture
def world(kafka: str, fresh: Callable[[str], str]) -> World:
    world = World(kafka, fresh("t"))
    world.create()
    return world


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def begin(host: str, how: str) -> tuple[subprocess.Popen[str], int]:
        words = [sys.executable, "-m", "tests.agents.stalling", world.bootstrap, world.agency, host, how]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def get(port: int, page: str) -> tuple[int, list[str]]:
    """Status and reasons."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=2) as answer:
            return answer.status, json.load(answer)["reasons"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["reasons"]


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said = process.communicate(timeout=20)[1]
    return process.returncode, said


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
    process, port = start(host, how)
    await until(lambda: get(port, "ready") == (200, []), what="ready")
    await world.ask(["c-1"])
    await until(lambda: get(port, "live")[0] == 503, what="not live")
    status, reasons = get(port, "live")
    assert status == 503
    assert any(reason in said for said in reasons)
    code, said = ended(process)
    assert code == EXIT_STALLED, said
    assert reason in said
    assert "Where it stood:" in said


@pytest.mark.parametrize("host", ["faust", "aiokafka"])
async def test_a_worker_that_works_stays_ready_and_stops_in_time(world: World, start: Start, host: str) -> None:
    process, port = start(host, "none")
    await world.ask([f"c-{n}" for n in range(50)])
    await until(lambda: len(world.orders()) == 50, what="50 orders")
    await until(lambda: get(port, "ready") == (200, []), what="ready again")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "")


async def test_a_unit_that_hangs_does_not_outlive_the_budget_of_a_stop(world: World, start: Start) -> None:
    process, port = start("faust", "unit")
    await world.ask(["c-1"])
    await until(lambda: get(port, "live")[0] == 503, what="it hangs")
    process.send_signal(signal.SIGTERM)
    code, said = ended(process)
    assert code == EXIT_NOT_DRAINED, said
    assert "Traceback" not in said


async def test_its_cases_go_on_with_a_clean_process(world: World, start: Start) -> None:
    process, _ = start("aiokafka", "loop")
    await world.ask(["c-1"])
    assert ended(process)[0] == EXIT_STALLED
    start("aiokafka", "none")
    await until(lambda: world.orders() == ["c-1"], what="the order")
    eventually(lambda: set(world.committed()) == set(world.ends()))

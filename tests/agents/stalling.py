"""A worker process that stalls at its first event in the way it is told, watched as a real one is.

Forked by `test_stalls`: ``loop``, ``unit`` or ``commit`` stalls, ``stop`` is a unit that stalls and is told to stop,
``none`` works. It writes its health port to stdout. The limit under test is short, so that a test need not wait for a
worker's own; the others are a worker's, so that a slow machine reaches none of them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

from agents import watchdog
from agents.health import Limits, Pulse
from agents.health_server import HealthServer
from agents.membership import HostSettings
from agents.runner import Runner
from bus.message import Partition
from tests.agents.harness import SESSION_MS, World, host_class, runner_of

LIMITS = {
    "loop": Limits(loop_late=0.3, loop_end=1.5),
    "unit": Limits(busy_late=0.3, busy_end=1.5),
    "commit": Limits(commit_late=0.3, commit_end=2.5),
    "stop": Limits(busy_late=0.3, drain=1),
    "none": Limits(),
}


def stalling(how: str) -> type[Runner]:
    """A runner that stalls so."""

    class Stalling(Runner):
        stalled = False

        async def handle(self, *fetches: Any) -> None:
            if how != "none" and any(fetched.records for fetched in fetches):
                Stalling.stalled = True
                if how == "loop":
                    time.sleep(60)  # noqa: ASYNC251  # the fault under test
                if how in {"unit", "stop"}:
                    await asyncio.Event().wait()
            await super().handle(*fetches)

        def committable(self) -> dict[Partition, int]:
            return {} if self.stalled else super().committable()

    return Stalling


async def _work(bootstrap: str, agency: str, host_name: str, how: str, session_ms: int) -> None:
    world = World(bootstrap, agency)
    pulse = Pulse(time.monotonic)
    loop = asyncio.get_running_loop()
    hosts: list[Any] = []

    def stop() -> None:
        loop.call_soon_threadsafe(hosts[0].stop)

    dog = watchdog.Watchdog(pulse, LIMITS[how], stop=stop)
    server = HealthServer(pulse, LIMITS[how], port=0)

    async def beat() -> None:
        while True:
            pulse.beat()
            await asyncio.sleep(0.1)

    async with runner_of(world, stalling(how)) as runner:
        settings = HostSettings(
            bootstrap=bootstrap,
            group=world.group,
            topics=runner.inputs,
            session_timeout_ms=session_ms,
            heartbeat_ms=500,
        )

        def ready(_: Sequence[int]) -> None:
            sys.stdout.write(f"{server.port}\n")
            sys.stdout.flush()

        hosts.append(host_class(host_name)(settings, runner, ready=ready, pulse=pulse))
        beating = asyncio.create_task(beat())
        dog.start()
        server.start()
        await hosts[0].run()
        beating.cancel()
        dog.close()
        server.close()


def work(*, bootstrap: str, agency: str, host: str, how: str, session_ms: int = SESSION_MS) -> int:
    """One worker; its exit code.

    Args:
        bootstrap: the broker. agency: of the world. host: faust or aiokafka. how: see the module.
        session_ms: after which the group gives away what it had.
    """
    watchdog.hold_signals()
    try:
        asyncio.run(_work(bootstrap, agency, host, how, session_ms))
    except Exception as error:  # noqa: BLE001  # whatever it is ends the process, as in `agents.cli_worker`
        sys.stderr.write(f"worker: {type(error).__name__}: {error}\n")
        return 1
    return 0

"""A worker process that stalls at its first event in the way it is told, watched as a real one is.

Run by `test_stalls`: ``python -m tests.agents.stalling BOOTSTRAP AGENCY HOST loop|unit|commit|none``. It writes its
health port to stdout. Its limits are short, so that a test need not wait for a worker's own.
"""

from __future__ import annotations

import asyncio
import os
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

LIMITS = Limits(loop_late=0.5, loop_end=2, busy_late=0.5, busy_end=2.5, commit_late=0.5, commit_end=3, drain=2)


def stalling(how: str) -> type[Runner]:
    """A runner that stalls so."""

    class Stalling(Runner):
        stalled = False

        async def handle(self, *fetches: Any) -> None:
            if how != "none" and any(fetched.records for fetched in fetches):
                Stalling.stalled = True
                if how == "loop":
                    time.sleep(60)  # noqa: ASYNC251  # the fault under test
                if how == "unit":
                    await asyncio.Event().wait()
            await super().handle(*fetches)

        def committable(self) -> dict[Partition, int]:
            return {} if self.stalled else super().committable()

    return Stalling


async def _work(bootstrap: str, agency: str, host_name: str, how: str) -> None:
    world = World(bootstrap, agency)
    pulse = Pulse(time.monotonic)
    loop = asyncio.get_running_loop()
    hosts: list[Any] = []

    def stop() -> None:
        loop.call_soon_threadsafe(hosts[0].stop)

    dog = watchdog.Watchdog(pulse, LIMITS, stop=stop)
    server = HealthServer(pulse, LIMITS, port=0)

    async def beat() -> None:
        while True:
            pulse.beat()
            await asyncio.sleep(0.1)

    async with runner_of(world, stalling(how)) as runner:
        settings = HostSettings(
            bootstrap=bootstrap,
            group=world.group,
            topics=runner.inputs,
            session_timeout_ms=SESSION_MS,
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


def main() -> None:
    """One worker."""
    watchdog.hold_signals()
    try:
        asyncio.run(_work(*sys.argv[1:5]))
    except Exception as error:  # noqa: BLE001  # whatever it is ends the process, as in `agents.cli_worker`
        sys.stderr.write(f"worker: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()

"""A worker that hangs ends by itself, in processes of their own: blocked loops, signals, pauses."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest

from agents.health import Limits, Pulse
from agents.watchdog import EXIT_NOT_DRAINED, EXIT_STALLED, Watchdog
from bus.testing import eventually

PROGRAM = """
import asyncio, signal, sys, time
from agents import watchdog
from agents.health import UNIT, Limits, Pulse
watchdog.hold_signals()
limits = Limits(loop_end={loop_end}, busy_end=1.5, drain=1.0)
pulse = Pulse(time.monotonic)
stopped = []
dog = watchdog.Watchdog(pulse, limits, stop=lambda: stopped.append(1))
dog.start()
async def main():
    dog.watch(asyncio.get_running_loop())
    async def beat():
        while True:
            pulse.beat()
            await asyncio.sleep(0.1)
    task = asyncio.create_task(beat())
    print("up", flush=True)
    await work()
    task.cancel()
{work}
asyncio.run(main())
dog.close()
"""


def program(work: str, *, loop_end: float = 1.5) -> subprocess.Popen[str]:
    lines = "\n".join(f"    {line}" for line in work.splitlines())
    code = PROGRAM.replace("{work}", f"async def work():\n{lines}").replace("{loop_end}", str(loop_end))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=20)
    return process.returncode, said


def test_a_blocked_loop_ends_the_process_and_shows_where_it_stood() -> None:
    code, said = end(program("time.sleep(60)"))
    assert code == EXIT_STALLED
    assert said.startswith("agencybus worker: its event loop has been blocked for 2 s; ending at once, a clean process")
    assert "in work" in said  # the stack of the thread that is blocked


def test_a_unit_that_never_returns_ends_the_process_although_the_loop_turns() -> None:
    code, said = end(program("with pulse.busy(UNIT):\n    await asyncio.Event().wait()"))
    assert (code, "one unit has taken 2 s" in said) == (EXIT_STALLED, True)
    assert re.search(r"(?m)^Task .*: main .* > work .* > Event.wait \(locks.py:\d+\) > FutureIter$", said), said


def test_a_worker_that_works_is_left_alone() -> None:
    code, said = end(program("for _ in range(25):\n    with pulse.busy(UNIT):\n        await asyncio.sleep(0.1)"))
    assert (code, said) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_a_worker_whose_loop_is_blocked_and_the_budget_ends_it(number: signal.Signals) -> None:
    process = program("time.sleep(1.2)\ntime.sleep(60)")
    process.send_signal(number)
    code, said = end(process)
    assert (code, "told to stop 1 s ago and is not done" in said) == (EXIT_NOT_DRAINED, True)


def test_a_worker_that_stops_within_its_budget_ends_well() -> None:
    process = program("while not stopped:\n    await asyncio.sleep(0.05)")
    process.send_signal(signal.SIGTERM)
    assert end(process) == (0, "")


def test_a_process_that_was_paused_goes_on_when_it_wakes() -> None:
    process = program("while not stopped:\n    await asyncio.sleep(0.05)")
    process.send_signal(signal.SIGSTOP)
    since = time.monotonic()
    eventually(lambda: time.monotonic() - since > 4)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    assert end(process) == (0, "")


def test_a_process_that_was_paused_is_not_told_to_stop_by_waking() -> None:
    work = "for _ in range(30):\n    await asyncio.sleep(0.1)\nassert not stopped, 'nobody said so'"
    process = program(work, loop_end=20)  # a pause as short as this one is counted
    process.send_signal(signal.SIGSTOP)
    since = time.monotonic()
    eventually(lambda: time.monotonic() - since > 1.5)  # beyond the tick in which it waits for a signal
    process.send_signal(signal.SIGCONT)
    assert end(process) == (0, "")


def test_its_end_waits_for_its_thread_which_would_set_the_last_timer_again() -> None:
    dog = Watchdog(Pulse(time.monotonic), Limits(), stop=lambda: None)
    dog.start()
    dog.close()
    assert not dog._thread.is_alive()

"""The Faust host keeps the contract of hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from agents import faust_host
from agents.faust_host import FaustHost
from bus.errors import Fenced
from bus.message import Partition
from tests.agents.host_suite import HostSuite
from tests.agents.traps.support import Runs, ours


class TestFaustHost(HostSuite):
    host = "faust"


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError("faust is gone")])
async def test_what_its_end_meets_is_not_told_over_what_ended_it(error: BaseException) -> None:
    async def stop() -> None:
        raise error  # a call into faust's thread that was cut off comes back as CancelledError

    host: Any = object.__new__(FaustHost)
    host.app = SimpleNamespace(stop=stop)
    await host._leave()


async def test_partitions_that_are_to_be_given_up_are_taken_over_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    host: Any = ours(Runs())
    asked: list[bool] = []
    client = SimpleNamespace(_coordinator=SimpleNamespace(generation=3))

    async def take_over(*_: object, still_mine: Callable[[], bool], **__: object) -> dict[Partition, int]:
        asked.append(still_mine())
        await host._revoked()  # the generation moves on only after it
        asked.append(still_mine())
        raise Fenced("the assignment changed.")

    monkeypatch.setattr(faust_host, "take_over", take_over)
    monkeypatch.setattr(host.app.consumer, "_thread", SimpleNamespace(_ensure_consumer=lambda: client))
    monkeypatch.setattr(host.app.consumer, "assignment", set)
    await host._complete()
    assert asked == [True, False]


async def test_a_unit_that_fails_during_a_stop_is_what_the_worker_ends_with(monkeypatch: pytest.MonkeyPatch) -> None:
    host = ours(Runs())

    async def nothing() -> None:
        """Connected, or gone."""

    async def unit() -> None:
        host._fail(ValueError("the unit broke"))

    for name in ("_connect", "_leave"):
        monkeypatch.setattr(host, name, nothing)
    monkeypatch.setattr(host.app, "wait_until_stopped", asyncio.Event().wait)
    monkeypatch.setattr(host.app.consumer, "wait_empty", unit)
    host.stop()
    with pytest.raises(ValueError, match="the unit broke"):
        await host.run()

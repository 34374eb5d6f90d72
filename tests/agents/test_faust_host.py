"""The Faust host keeps the contract of hosts."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agents.faust_host import FaustHost
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

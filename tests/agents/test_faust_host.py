"""The Faust host keeps the contract of hosts."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agents.faust_host import FaustHost
from tests.agents.host_suite import HostSuite


class TestFaustHost(HostSuite):
    host = "faust"


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError("faust is gone")])
async def test_what_its_end_meets_is_not_told_over_what_ended_it(error: BaseException) -> None:
    async def stop() -> None:
        raise error  # a call into faust's thread that was cut off comes back as CancelledError

    host: Any = object.__new__(FaustHost)
    host.app = SimpleNamespace(stop=stop)
    await host._leave()

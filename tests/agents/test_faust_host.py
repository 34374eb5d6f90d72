"""The Faust host keeps the contract of hosts."""

from __future__ import annotations

from tests.agents.host_suite import HostSuite


class TestFaustHost(HostSuite):
    host = "faust"

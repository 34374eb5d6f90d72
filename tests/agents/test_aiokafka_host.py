"""The plain aiokafka host keeps the contract of hosts."""

from __future__ import annotations

from tests.agents.host_suite import HostSuite


class TestAiokafkaHost(HostSuite):
    host = "aiokafka"

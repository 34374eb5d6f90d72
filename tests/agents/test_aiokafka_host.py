"""The plain aiokafka host keeps the contract of hosts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agents import aiokafka_host
from agents.aiokafka_host import AiokafkaHost
from bus.errors import Unreachable
from tests.agents.host_suite import HostSuite
from tests.agents.traps.support import Runs, settings


class TestAiokafkaHost(HostSuite):
    host = "aiokafka"


async def test_its_client_dates_old_answers_asks_seldom_for_commands_and_ends_with_its_membership(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def start() -> None:
        """Connected."""

    client = SimpleNamespace(start=start, subscribe=lambda **_: None)
    guarded: list[tuple[str, Any]] = []
    for guard in ("refuse_weak_consumer", "end_when_membership_is_lost", "date_answers"):
        monkeypatch.setattr(aiokafka_host, guard, lambda consumer, guard=guard: guarded.append((guard, consumer)))
    monkeypatch.setattr(aiokafka_host, "ask_seldom", lambda consumer, topic: guarded.append((topic, consumer)))
    monkeypatch.setattr(aiokafka_host, "AIOKafkaConsumer", lambda **_: client)
    runner: Any = Runs()
    await AiokafkaHost(settings(), runner, ready=print)._connect()
    guards = ["refuse_weak_consumer", "end_when_membership_is_lost", "date_answers", "g.parked"]
    assert [name for name, _ in guarded] == guards
    assert all(consumer is client for _, consumer in guarded)


async def test_what_its_end_meets_is_not_told_over_what_ended_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect() -> None:
        raise Unreachable("no broker answers.")

    async def stop() -> None:
        raise RuntimeError("the client is gone")

    runner: Any = Runs()
    host = AiokafkaHost(settings(), runner, ready=print)
    monkeypatch.setattr(host, "_connect", connect)
    for client in (None, SimpleNamespace(stop=stop)):
        host._consumer = client
        with pytest.raises(Unreachable):
            await host.run()

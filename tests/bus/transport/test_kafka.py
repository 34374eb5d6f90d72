"""The transport of real life: each client is made for the same cluster with the times that were chosen."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from bus.ports import Transport
from bus.transport import kafka as module
from bus.transport.kafka import KafkaTransport


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """What each client was made with, by its class."""
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def recorder(name: str) -> Any:
        return lambda *args, **options: calls.__setitem__(name, (args, options))

    for name in ("KafkaProducer", "KafkaConsumer", "KafkaReader", "KafkaAdmin"):
        monkeypatch.setattr(module, name, recorder(name))
    monkeypatch.setattr(module, "refuse_weak_cluster", recorder("checked"))
    return calls


def test_every_client_gets_the_cluster_its_name_and_its_times(
    made: dict[str, tuple[tuple[Any, ...], dict[str, Any]]],
) -> None:
    transport = KafkaTransport(
        bootstrap="a:1,b:2", deadline_s=7, session_timeout_ms=8_000, max_poll_interval_ms=9_000, client_id="me"
    )
    transport.producer()
    transport.consumer(["t"], group="g")
    transport.reader()
    transport.admin()
    assert made == {
        "checked": (("a:1,b:2", ["t"]), {"session_timeout_ms": 8_000}),
        "KafkaProducer": (("a:1,b:2",), {"deadline_s": 7, "client_id": "me"}),
        "KafkaConsumer": (
            ("a:1,b:2", ["t"]),
            {"group": "g", "session_timeout_ms": 8_000, "max_poll_interval_ms": 9_000, "client_id": "me"},
        ),
        "KafkaReader": (("a:1,b:2",), {"client_id": "me"}),
        "KafkaAdmin": (("a:1,b:2",), {"client_id": "me"}),
    }


def test_nothing_connects_before_a_client_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket, "create_connection", refuse)
    transport: Transport = KafkaTransport(bootstrap="127.0.0.1:1")
    transport.producer()

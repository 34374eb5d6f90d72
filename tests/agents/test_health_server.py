"""The health pages: true while the loop is blocked, bounded labels, on loopback only."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents.health import Limits, Pulse
from agents.health_server import HealthServer
from bus.errors import BusError
from bus.message import Partition

A = Partition("a.x.y.v1", 0)


class Clock:
    """Real time plus what a test lets pass."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() - self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(clock)


@pytest.fixture
def server(pulse: Pulse) -> Iterator[HealthServer]:
    server = HealthServer(pulse, Limits(), port=0)
    server.start()
    yield server
    server.close()


def get(server: HealthServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_ready_follows_the_assignment(server: HealthServer, pulse: Pulse) -> None:
    assert get(server, "/live")[0] == 200
    status, body = get(server, "/ready")
    assert (status, json.loads(body)) == (
        503,
        {"ready": False, "reasons": ["it has no assignment yet"], "partitions": None},
    )
    pulse.took_over({A: 0}, [0], seconds=0.2)
    status, body = get(server, "/ready")
    assert (status, json.loads(body)) == (200, {"ready": True, "reasons": [], "partitions": [0]})


def test_a_loop_that_does_not_turn_is_told_although_it_cannot_answer(server: HealthServer, clock: Clock) -> None:
    clock.ahead = 7.0
    server_pulse = Pulse(clock)  # noted seven seconds ago; nothing beats
    blocked = HealthServer(server_pulse, Limits(), port=0)
    blocked.start()
    status, body = get(blocked, "/live?verbose")
    blocked.close()
    assert (status, json.loads(body)["live"]) == (503, False)
    assert "event loop" in json.loads(body)["reasons"][0]


def test_the_figures_are_prometheus_text_with_topic_and_partition_as_the_only_labels(
    server: HealthServer, pulse: Pulse
) -> None:
    pulse.took_over({A: 3}, [0], seconds=0.25)
    pulse.saw({A: 10})
    pulse.committed({A: 4})
    pulse.beat(parked=2, letters=7)
    status, body = get(server, "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert status == 200
    assert families["agencybus_worker_parked_cases"].samples[0].value == 2
    assert families["agencybus_worker_dead_letters"].samples[0].value == 7
    (behind,) = families["agencybus_worker_uncommitted_records"].samples
    assert (behind.labels, behind.value) == ({"topic": A.topic, "partition": "0"}, 6)
    assert families["agencybus_worker_commit_age_seconds"].samples[0].value < 5
    assert families["agencybus_worker_recovery_seconds"].samples[0].value == 0.25
    assert {
        name: families[f"agencybus_worker_{name}"].samples[0].value for name in ("live", "ready", "partitions")
    } == {
        "live": 1,
        "ready": 1,
        "partitions": 1,
    }
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    assert labels == {"topic", "partition"}


def test_no_other_page_is_served_and_no_other_word_taken(server: HealthServer) -> None:
    assert get(server, "/cases")[0] == 404
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/live", data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    refused.value.close()
    assert refused.value.code == 501


def test_it_listens_on_loopback_only(server: HealthServer) -> None:
    assert server._server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_said_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BusError, match=f"--health {port}: .*0 for a free one"):
            HealthServer(Pulse(time.monotonic), Limits(), port=port)

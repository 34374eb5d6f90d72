"""`/live`, `/ready` and `/metrics` of a worker, on loopback, answered by threads that need nothing of its event loop.

Started by `agents.worker` for `worker run --health PORT`. The traps it avoids: state that anyone on the network can
read (F43: loopback only, and only counts and topic names, never a case or a person); a check that answers "well"
because it only shows that the port is open (F44).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.health import Limits, Pulse, ages, assess
from bus.errors import BusError

HOST = "127.0.0.1"
_SOCKET_S = 5.0  # a client that says nothing for so long is let go
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class HealthServer:
    """The three pages.

    Args:
        pulse: what the worker notes of itself. limits: what counts as late.
        port: TCP port; 0 takes a free one.

    Raises:
        BusError: when the port cannot be had.
    """

    def __init__(self, pulse: Pulse, limits: Limits, *, port: int) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Figures(pulse, limits))

        class Handler(_Handler):
            facts = pulse
            bounds = limits
            figures = registry

        try:
            self._server = ThreadingHTTPServer((HOST, port), Handler)
        except OSError as error:
            raise BusError(
                f"--health {port}: {error.strerror}.", remedy="Give another port, or 0 for a free one."
            ) from None
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    facts: Pulse
    bounds: Limits
    figures: CollectorRegistry
    timeout = _SOCKET_S
    server_version = "agencybus"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer ``/live``, ``/ready`` (200 or 503, JSON with reasons) and ``/metrics``."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, _TEXT, generate_latest(self.figures))
        elif path in {"/live", "/ready"}:
            facts = self.facts.facts()
            health = assess(facts, time.monotonic(), self.bounds)
            holds = health.live if path == "/live" else health.ready
            said = {
                path[1:]: holds,
                "reasons": list(health.reasons),
                "partitions": None if facts.owned is None else list(facts.owned),
            }
            self._answer(200 if holds else 503, "application/json", json.dumps(said).encode() + b"\n")
        else:
            self._answer(404, "text/plain", b"/live /ready /metrics\n")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: a check every few seconds is no news."""


class _Figures(Collector):
    """The families of ``/metrics``, made when asked for. Labels: topic and partition of the inputs, nothing else."""

    def __init__(self, pulse: Pulse, limits: Limits) -> None:
        self._pulse = pulse
        self._limits = limits

    def collect(self) -> Iterable[Metric]:
        """All families."""
        facts, now = self._pulse.facts(), time.monotonic()
        health = assess(facts, now, self._limits)
        yield _gauge("live", "1 while the worker works.", health.live)
        yield _gauge("ready", "1 while it is assigned, recovered and committing.", health.ready)
        yield _gauge("partitions", "Case partitions owned.", len(facts.owned or ()))
        yield _gauge("loop_age_seconds", "Seconds since the event loop turned.", now - facts.beat)
        yield _counter("units", "Units of work finished.", facts.units)
        yield _counter("dead_letters", "Dead letters written.", facts.letters)
        yield _gauge("parked_cases", "Cases that stand still behind a failure.", facts.parked)
        if facts.recovered_in is not None:
            yield _gauge("recovery_seconds", "Seconds the last takeover of partitions took.", facts.recovered_in)
        labels = ["topic", "partition"]
        age = GaugeMetricFamily(
            f"{_PREFIX}commit_age_seconds",
            "Seconds since the group's commit moved while records stand behind it.",
            labels=labels,
        )
        behind = GaugeMetricFamily(
            f"{_PREFIX}uncommitted_records", "Offsets between the group's commit and the known end.", labels=labels
        )
        for place, seconds in ages(facts, now).items():
            age.add_metric([place.topic, str(place.number)], seconds)
            behind.add_metric([place.topic, str(place.number)], facts.behind[place])
        yield age
        yield behind

    def describe(self) -> Iterator[Metric]:
        """Nothing is fixed before the first assignment."""
        return iter(())


_PREFIX = "agencybus_worker_"


def _gauge(name: str, help_text: str, value: float) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, help_text)
    family.add_metric([], value)
    return family


def _counter(name: str, help_text: str, value: float) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, help_text)
    family.add_metric([], value)
    return family

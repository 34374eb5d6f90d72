"""An agency's program and an operator on real Kafka, for the tests of dead letters and parked keys.

The program reads with the SDK; its effects and the marks of what it has applied stand in one table, as in a database.
What is checked is the table, not the program's word.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bus.cli.main import main
from bus.errors import Refused
from bus.message import Partition
from bus.middleware.retry import Policy, RetryPolicy
from bus.wiring import Bus
from schemas.requests import RequestCreated

Capture = pytest.CaptureFixture[str]
KEYS = 8
ERRORS = ("RuleA", "RuleB", "RuleC")


class RuleA(Refused):
    """One cause."""


class RuleB(Refused):
    """Another."""


class RuleC(Refused):
    """A third."""


class Table:
    """Effects, and the marks of events that had theirs: one transaction writes both."""

    def __init__(self) -> None:
        self.effects: list[tuple[str, int]] = []
        self.offered: Counter[str] = Counter()
        self._marks: set[str] = set()
        self._lock = threading.Lock()

    def has(self, partition: Partition, mark: str) -> bool:
        with self._lock:
            seen = mark in self._marks
            self.offered[mark] += 1
            return seen

    def add(self, partition: Partition, mark: str) -> None:
        with self._lock:
            self._marks.add(mark)

    def apply(self, key: str, number: int) -> None:
        with self._lock:
            self.effects.append((key, number))


class Office:
    """An agency's program in a thread; `broken` it refuses every third event, by three rules in turn."""

    def __init__(self, bus: Bus, group: str, table: Table, *, prefix: str) -> None:
        self.broken = True
        self.buggy = False
        self.handled = 0
        self._stop = threading.Event()
        self._bus, self._group, self._table, self._prefix = bus, group, table, prefix
        policy = Policy(retry=RetryPolicy(attempts=1))
        self._subscription = bus.subscribe(
            RequestCreated, group=group, publishers=["interior"], seen=table, policy=policy
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for delivery in self._subscription:
            key = delivery.message.case or ""
            with delivery as event:
                if key.startswith(self._prefix):
                    number = int(event.request_id.rpartition("-")[2])
                    if self.buggy and number < KEYS:
                        raise ValueError("a bug")
                    if self.broken and number % 3 == 0:
                        raise (RuleA, RuleB, RuleC)[number // 3 % 3]("no")
                    self._table.apply(key, number)
            self.handled += 1
            if self._stop.is_set():
                return

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._stop.set()
            self._bus.publish(request(10**6), case="wake-up")
            self._thread.join(30)
            self._subscription.close()
            assert not self._thread.is_alive()


def request(number: int) -> RequestCreated:
    return RequestCreated(request_id=f"R-{number}", kind="parking_permit", subject=f"SYN-P-{number}")


class Desk:
    """The commands of an operator against one cluster and group."""

    def __init__(self, kafka: str, group: str, capsys: Capture) -> None:
        self._at = ["--bootstrap", kafka]
        self._group = ["--group", group]
        self._capsys = capsys

    def run(self, *words: str, code: int = 0) -> Any:
        self._capsys.readouterr()
        own = self._group if words[1] != "undo" else []
        assert main([*words, "--json", *own, *self._at]) == code, self._capsys.readouterr().err
        return json.loads(self._capsys.readouterr().out)

    def counts(self) -> tuple[int, int, int]:
        found = self.run("dlq", "list")["counts"]
        return found["open"], found["redriven"], found["dropped"]


def start_at_the_end(kafka: str, group: str) -> None:
    at = ["--bootstrap", kafka]
    assert main(["topics", "apply", *at]) == 0
    words = ["reset", "interior.request.created.v1", "--group", group, "--to", "latest", "--yes"]
    assert main([*words, *at]) == 0


@contextmanager
def an_office(bus: Bus, group: str, table: Table) -> Iterator[Office]:
    office = Office(bus, group, table, prefix=group)
    with office.running():
        yield office

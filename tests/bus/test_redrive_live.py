"""The bars of a redrive on real Kafka: twice during live traffic, and a thousand letters of three causes.

An agency's program with the SDK reads; its effects and the marks of what it has applied stand in one table, as in a
database. What is checked is the table, not the program's word.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bus.cli.main import main
from bus.errors import Refused
from bus.message import Partition
from bus.middleware.retry import Policy, RetryPolicy
from bus.settings import Settings
from bus.testing import eventually
from bus.transport.kafka import KafkaTransport
from bus.wiring import Bus, connect
from schemas.requests import RequestCreated
from tests.bus.letters import fill, make_topics

pytestmark = pytest.mark.kafka
Capture = pytest.CaptureFixture[str]
KEYS, BEFORE, LIVE = 8, 240, 500
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


def test_redriving_all_twice_during_live_traffic_changes_no_effect_and_no_order(
    kafka: str, fresh: Callable[[str], str], capsys: Capture
) -> None:
    group = fresh("office")
    start_at_the_end(kafka, group)
    settings, desk, table = Settings(bootstrap=kafka, agency="interior"), Desk(kafka, group, capsys), Table()
    with connect(settings=settings) as bus, _office(bus, group, table) as office:
        for number in range(BEFORE):
            bus.publish(request(number), case=f"{group}-{number % KEYS}")
        refused = [n for n in range(BEFORE) if n % 3 == 0]
        eventually(lambda: office.handled >= BEFORE - len(refused), within_s=60)
        eventually(lambda: _letters(kafka, group) >= len(refused), within_s=60)
        assert desk.counts() == (len(refused), 0, 0)
        assert {one["error"] for one in desk.run("dlq", "list")["causes"]} == set(ERRORS)
        office.broken = False

        live = threading.Thread(target=_publish, args=(bus, group), daemon=True)
        live.start()
        # In several chunks: within one the reader itself would put a key's records in order.
        first = desk.run("dlq", "redrive", "--all", "--rate", "20", "--reason", "rules mended")
        again = desk.run("dlq", "redrive", "--all", "--rate", "200", "--again")
        live.join(120)
        assert (first["letters"], again["letters"]) == (len(refused), len(refused))
        eventually(lambda: len(table.effects) >= BEFORE + LIVE, within_s=60)
        eventually(lambda: desk.run("parked", "list")["parked"] == [], within_s=60)
        assert desk.counts() == (0, len(refused), 0)
    assert sorted(number for _, number in table.effects) == list(range(BEFORE + LIVE))
    assert max(table.offered.values()) > 1, "no event was ever offered twice: nothing was tested"
    per_key: dict[str, list[int]] = defaultdict(list)
    for key, number in table.effects:
        per_key[key].append(number)
    back = set(refused)
    for numbers in per_key.values():
        for part in ([n for n in numbers if n in back], [n for n in numbers if n not in back]):
            assert part == sorted(part)


@contextmanager
def _office(bus: Bus, group: str, table: Table) -> Iterator[Office]:
    office = Office(bus, group, table, prefix=group)
    with office.running():
        yield office


def _publish(bus: Bus, group: str) -> None:
    for number in range(BEFORE, BEFORE + LIVE):
        bus.publish(request(number), case=f"{group}-{number % KEYS}")
        time.sleep(0.01)  # spreads the traffic over the redrive; nothing waits for it


def _letters(kafka: str, group: str) -> int:
    reader = KafkaTransport(bootstrap=kafka).reader()
    try:
        first, end = reader.bounds([Partition(f"{group}.dead", 0)])[Partition(f"{group}.dead", 0)]
    finally:
        reader.close()
    return end - first


def test_a_thousand_letters_of_three_causes_take_one_action_each_and_none_is_lost_from_the_count(
    kafka: str, fresh: Callable[[str], str], capsys: Capture
) -> None:
    group = fresh("office")
    assert main(["topics", "apply", "--bootstrap", kafka]) == 0
    transport, desk = KafkaTransport(bootstrap=kafka), Desk(kafka, group, capsys)
    make_topics(transport, group=group)
    fill(transport, 1_000, group=group)
    began = time.monotonic()
    causes = {one["error"]: one["cause"] for one in desk.run("dlq", "list")["causes"]}
    assert set(causes) == {"Poison", "ValueError", "Refused"}
    assert desk.counts() == (1_000, 0, 0)
    dropped = desk.run("dlq", "drop", "--cause", causes["Poison"], "--reason", "sent again")
    assert dropped["letters"] == 334
    for error in ("ValueError", "Refused"):
        assert desk.run("dlq", "redrive", "--cause", causes[error], "--rate", "max")["letters"] == 333
        assert sum(desk.counts()) == 1_000
    assert desk.counts() == (0, 666, 334)
    assert desk.run("dlq", "undo", dropped["action"])["letters"] == 334
    assert desk.counts() == (334, 666, 0)
    with capsys.disabled():
        print(f"\n1,000 letters triaged in {time.monotonic() - began:.1f} s, 9 commands", end="")  # noqa: T201


def test_parked_keys_are_let_go_or_given_up_while_their_reader_runs(
    kafka: str, fresh: Callable[[str], str], capsys: Capture
) -> None:
    group = fresh("office")
    start_at_the_end(kafka, group)
    settings, desk, table = Settings(bootstrap=kafka, agency="interior"), Desk(kafka, group, capsys), Table()
    with connect(settings=settings) as bus, _office(bus, group, table) as office:
        office.broken, office.buggy = False, True
        for number in range(3 * KEYS):
            bus.publish(request(number), case=f"{group}-{number % KEYS}")

        def all_stand() -> bool:
            try:
                return bool(sum(one["entries"] for one in desk.run("parked", "list")["parked"]) == 3 * KEYS)
            except AssertionError:  # nothing has been parked yet, so there is no topic
                return False

        eventually(all_stand, within_s=60)
        assert desk.run("parked", "release", "--case", f"{group}-0", code=1)["failed"][0]["attempt"] == 2
        office.buggy = False
        freed = desk.run("parked", "release", "--case", f"{group}-0", "--wait", "30")
        assert [one["key"] for one in freed["settled"]] == [f"{group}-0"]
        given_up = desk.run("parked", "drop", "--key", f"{group}-1", "--reason", "withdrawn", "--wait", "30")
        assert [one["key"] for one in given_up["settled"]] == [f"{group}-1"]
        assert len(desk.run("parked", "release", "--all", "--wait", "30")["settled"]) == KEYS - 2
        assert desk.run("parked", "list")["parked"] == []
        (cause,) = desk.run("dlq", "list")["causes"]
        assert (cause["error"], cause["open"]) == ("Dropped", 1)
        assert desk.run("dlq", "redrive", "--all")["letters"] == 1
        eventually(lambda: len(table.effects) == 3 * KEYS, within_s=60)
    assert sorted(number for _, number in table.effects) == list(range(3 * KEYS))
    for key in range(KEYS):
        numbers = [number for name, number in table.effects if name == f"{group}-{key}"]
        assert numbers == ([9, 17, 1] if key == 1 else [key, key + KEYS, key + 2 * KEYS])
    acts = Counter(one["act"] for one in desk.run("dlq", "history")["actions"])
    assert acts == {"release": 3, "discard": 1, "redrive": 1}

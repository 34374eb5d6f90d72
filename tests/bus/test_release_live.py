"""Parked keys on real Kafka: let go, failed again, given up and brought back, while their reader runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from bus.settings import Settings
from bus.testing import eventually
from bus.wiring import connect
from tests.bus.offices import KEYS, Capture, Desk, Table, an_office, request, start_at_the_end

pytestmark = pytest.mark.kafka


def test_parked_keys_are_let_go_or_given_up_while_their_reader_runs(
    kafka: str, fresh: Callable[[str], str], capsys: Capture
) -> None:
    group = fresh("office")
    start_at_the_end(kafka, group)
    settings, desk, table = Settings(bootstrap=kafka, agency="interior"), Desk(kafka, group, capsys), Table()
    with connect(settings=settings) as bus, an_office(bus, group, table) as office:
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

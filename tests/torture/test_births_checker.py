"""The checker of the kill tests sees what it is there to see."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy

from tests.torture.births import History, anomalies

GOOD = History(
    stillborn={"a": False, "b": True},
    outcomes={"a": "completed", "b": "stillbirth"},
    requests={"a": Counter({"r1": 3})},
    benefits={"a": Counter({"b1": 1})},
)


def test_a_right_run_has_no_anomalies_even_with_repeated_records() -> None:
    assert anomalies(GOOD) == []


def test_each_way_to_go_wrong_is_named() -> None:
    lost = deepcopy(GOOD)
    del lost.outcomes["a"]
    assert anomalies(lost) == ["a: never ended"]
    doubled = deepcopy(GOOD)
    doubled.benefits["a"]["b2"] = 1
    assert anomalies(doubled) == ["a: 2 benefits"]
    unpaid = deepcopy(GOOD)
    del unpaid.benefits["a"]
    assert anomalies(unpaid) == ["a: 0 benefits"]
    wrong = deepcopy(GOOD)
    wrong.outcomes["b"] = "completed"
    assert anomalies(wrong) == ["b: ended as completed, expected stillbirth"]
    invented = deepcopy(GOOD)
    invented.outcomes["c"] = "completed"
    assert anomalies(invented) == ["c: nobody notified it"]
    refused = deepcopy(GOOD)
    refused.dead = 1
    assert anomalies(refused) == ["1 dead letters"]

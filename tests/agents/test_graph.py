"""The compiled form: plain, frozen values that say of a process what the machine and people need."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import pytest

from agents import graph
from agents.graph import Again, End, Fork, Graph, Join, Listen, Repeat, Stop, Switch, Wait
from tests.agents.process_support import ANSWER, END, compiled, listen, thing

NODES: list[type[Any]] = [Listen, graph.Emit, Switch, Fork, Join, Wait, Repeat, Again, End, Stop]


@pytest.fixture
def whole() -> Graph:
    """A process with every kind of node."""
    return compiled(
        [
            {"first": listen("b", deadline={"hours": 1, "late": {"emit": "bus.deadline.missed.v1"}})},
            {"which": {"switch": [{"when": "first.flag", "do": [{"no": {"end": "rejected"}}]}, {"else": []}]}},
            {"both": {"fork": {"x": [{"left": listen("c")}], "y": [{"right": listen("d")}]}}},
            {"rounds": {"repeat": {"until": "again.flag", "max": 3, "do": [{"again": listen("e")}]}}},
            {"pause": {"wait": {"for": {"hours": 1}}}},
            {"say": {"emit": ANSWER, "with": {"number": "first.number"}, "owner": "z"}},
            END,
        ]
    )


def test_every_node_is_a_frozen_value_without_a_dict() -> None:
    for node in NODES:
        assert is_dataclass(node)
        assert "__dict__" not in dir(node(*[None for _ in fields(node)]))
        if fields(node):
            with pytest.raises(FrozenInstanceError):
                setattr(node(*[None for _ in fields(node)]), fields(node)[0].name, 1)


def test_a_process_with_everything_uses_every_node(whole: Graph) -> None:
    assert {type(node) for node in whole.program} == set(NODES)


def test_every_address_is_a_node_of_the_program(whole: Graph) -> None:
    addresses = {whole.entry, *whole.at.values(), *(a for found in whole.waiters.values() for a in found)}
    for node in whole.program:
        if isinstance(node, Listen):
            addresses |= {node.next, node.late}
        if isinstance(node, Switch):
            addresses |= {entry for _, entry in node.arms} | {node.otherwise}
        if isinstance(node, Fork):
            addresses |= set(node.entries)
        if isinstance(node, Join | Wait | graph.Emit):
            addresses.add(node.next)
        if isinstance(node, Repeat | Again):
            addresses.add(node.entry)
    assert addresses <= {graph.NOWHERE, *range(len(whole.program))}


def test_waiters_point_at_the_listens_of_their_topic_and_at_at_the_steps_that_wait(whole: Graph) -> None:
    for topic, addresses in whole.waiters.items():
        for address in addresses:
            node = whole.program[address]
            assert isinstance(node, Listen)
            assert node.topic == topic
    assert set(whole.at) == {"first", "left", "right", "again", "pause"}
    for step, address in whole.at.items():
        waiting = whole.program[address]
        assert isinstance(waiting, Listen | Wait)
        assert waiting.step == step


def test_reach_tells_which_topics_may_still_be_taken(whole: Graph) -> None:
    assert {thing(agency) for agency in "cde"} <= whole.reach["first"]
    assert thing("b") not in whole.reach["first"]
    assert whole.reach["pause"] == frozenset()


def test_people_find_each_step_with_its_line_owner_and_outcome(whole: Graph) -> None:
    assert list(whole.steps)[:3] == ["first", "which", "no"]
    assert (whole.steps["first"].kind, whole.steps["first"].owner, whole.steps["first"].topic) == (
        "listen",
        "b",
        thing("b"),
    )
    assert all(step.line > 0 for step in whole.steps.values())
    assert {node.outcome for node in whole.program if isinstance(node, End)} == {"rejected", "completed"}

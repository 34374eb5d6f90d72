"""Plans: triplets of before, after and the expected actions under tests/bus/plans, and the rules behind them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import document, plan, topology
from bus.plan import Action, Change
from bus.ports import TopicState
from schemas.catalogue import standard

PLANS = Path(__file__).parent / "plans"
CATALOGUE = standard()
STANDARD = topology.load(topology.STANDARD, CATALOGUE)
ANY = "portal.request.created.v1"


def edited(edits: list[list[str]]) -> topology.Topology:
    """The standard topology after textual edits [old, new], each of which must apply."""
    text = topology.STANDARD.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    return topology.of(document.parse(text.encode(), topology.TopologyFile, file="t.yaml"), CATALOGUE)


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.json")), ids=lambda path: path.stem)
def test_the_plan_is_the_one_on_record(path: Path) -> None:
    triplet = json.loads(path.read_text(encoding="utf-8"))
    found = plan.diff(edited(triplet["before"]), edited(triplet["after"]), brokers=triplet.get("brokers", 3))
    told = [
        [a.kind, a.topic, a.destructive, [[c.setting, c.before, c.after] for c in a.changes if a.kind != "create"]]
        for a in found.actions
    ]
    assert told == triplet["actions"]
    assert all(action.reason for action in found.actions if action.destructive or action.kind == "blocked")


def test_a_cluster_as_it_should_be_needs_nothing() -> None:
    assert plan.plan(STANDARD, STANDARD.states(3), brokers=3).actions == ()


def test_an_empty_cluster_gets_the_schema_topic_first_and_schemas_after_topics() -> None:
    actions = plan.plan(STANDARD, {}, brokers=3, schemas={ANY: 7}, registered={}).actions
    assert (actions[0].kind, actions[0].topic) == ("create", "_schemas")
    assert [a.kind for a in actions[-2:]] == ["create", "schema"]
    assert actions[-1].changes == (Change("schema id", None, "7"),)


def test_a_registered_schema_is_left_alone() -> None:
    states = STANDARD.states(3)
    assert not plan.plan(STANDARD, states, brokers=3, schemas={ANY: 7}, registered={ANY: frozenset({7})}).actions
    assert plan.plan(STANDARD, states, brokers=3, schemas={ANY: 8}, registered={ANY: frozenset({7})}).actions


def test_foreign_topics_and_foreign_settings_are_left_alone() -> None:
    states = STANDARD.states(3)
    states[ANY] = replace(states[ANY], config={**states[ANY].config, "segment.ms": "1000"})
    found = plan.plan(STANDARD, {**states, "other": TopicState("other", 1, 1)}, brokers=3)
    assert (found.actions, found.unmanaged) == ((), ("other",))


def test_a_topic_declared_absent_is_deleted_only_when_it_is_there() -> None:
    gone = replace(STANDARD, absent=("old.thing.done.v1",))
    states = STANDARD.states(3)
    assert plan.plan(gone, states, brokers=3).actions == ()
    [action] = plan.plan(
        gone, {**states, "old.thing.done.v1": TopicState("old.thing.done.v1", 1, 1)}, brokers=3
    ).actions
    assert (action.kind, action.destructive) == ("delete", True)


def test_more_replicas_than_there_are_is_blocked_not_forgotten() -> None:
    [action] = [
        a for a in plan.plan(STANDARD, STANDARD.states(1), brokers=3).actions if a.topic == ANY and a.kind != "alter"
    ]
    assert action.kind == "blocked"
    assert "kafka-reassign-partitions" in action.reason


COUNTS = st.integers(1, 4)
STATES = st.builds(
    lambda p, r, ms, cleanup: TopicState(ANY, p, r, {"retention.ms": ms, "cleanup.policy": cleanup}),
    COUNTS,
    COUNTS,
    st.sampled_from(["-1", "1000", "2000"]),
    st.sampled_from(["delete", "compact"]),
)


def carried_out(action: Action, state: TopicState) -> TopicState:
    values = {change.setting: change.after or "" for change in action.changes}
    if action.kind == "alter":
        return replace(state, config={**state.config, **values})
    return replace(
        state,
        partitions=int(values.get("partitions", state.partitions)),
        replication=int(values.get("replication", state.replication)),
    )


@given(STATES, STATES)
def test_carrying_out_a_plan_leaves_no_plan(want: TopicState, have: TopicState) -> None:
    for action in plan.compare({ANY: want}, {ANY: have}, keyed={ANY}):
        have = carried_out(action, have)
    assert plan.compare({ANY: want}, {ANY: have}, keyed={ANY}) == []


@given(STATES, STATES)
def test_whatever_loses_or_moves_records_is_marked(want: TopicState, have: TopicState) -> None:
    actions = plan.compare({ANY: want}, {ANY: have}, keyed={ANY})
    kept = {"-1": float("inf")}
    shorter = kept.get(want.config["retention.ms"], 0) or float(want.config["retention.ms"])
    longer = kept.get(have.config["retention.ms"], 0) or float(have.config["retention.ms"])
    risky = (
        shorter < longer
        or want.config["cleanup.policy"] != have.config["cleanup.policy"]
        or want.partitions > have.partitions
    )
    assert any(action.destructive for action in actions) == risky

"""Applying a plan: in order, complete in its report, and empty when done twice."""

from __future__ import annotations

from dataclasses import replace

from bus import apply, plan, topology
from bus.errors import Refused, Unreachable
from bus.ports import TopicState
from bus.testing import memory_cluster
from bus.transport.memory import MemoryAdmin
from schemas.catalogue import standard

STANDARD = topology.load(topology.STANDARD, standard())
ANY = "portal.request.created.v1"
SCHEMAS = {ANY: 7}


class Faulty(MemoryAdmin):
    """An Admin that fails on one topic."""

    def __init__(self, admin: MemoryAdmin, topic: str, error: Exception) -> None:
        self.__dict__ = admin.__dict__
        self._topic, self._error = topic, error

    def create(self, topic: TopicState) -> None:
        if topic.name == self._topic:
            raise self._error
        super().create(topic)


def planned(admin: MemoryAdmin, wanted: topology.Topology = STANDARD, done: set[str] | None = None) -> plan.Plan:
    registered = {topic: frozenset({SCHEMAS[topic]}) for topic in done or ()}
    return plan.plan(wanted, admin.topics(), brokers=1, schemas=SCHEMAS, registered=registered)


def test_applying_twice_changes_nothing_the_second_time() -> None:
    admin = memory_cluster().admin()
    registered: set[str] = set()
    results = apply.apply(planned(admin), admin, register=registered.add)
    assert {result.outcome for result in results} == {"done"}
    assert apply.exit_code(results) == 0
    assert registered == set(SCHEMAS)
    assert planned(admin, done=registered).actions == ()


def test_destructive_steps_are_left_out_unless_allowed() -> None:
    admin = memory_cluster().admin()
    apply.apply(planned(admin), admin, register=lambda topic: None)
    gone = replace(
        STANDARD,
        absent=("workflow.birth.dead",),
        wanted={k: v for k, v in STANDARD.wanted.items() if k != "workflow.birth.dead"},
    )
    todo = planned(admin, gone, done=set(SCHEMAS))
    results = apply.apply(todo, admin, register=lambda topic: None)
    assert [result.outcome for result in results] == ["skipped"]
    assert "--allow-destructive" in results[0].message
    assert apply.exit_code(results) == 3
    assert "workflow.birth.dead" in admin.topics()
    assert apply.exit_code(apply.apply(todo, admin, register=lambda topic: None, allow_destructive=True)) == 0
    assert "workflow.birth.dead" not in admin.topics()


def test_one_refusal_does_not_stop_the_rest_and_the_next_run_has_only_it_left() -> None:
    admin = memory_cluster().admin()
    results = apply.apply(planned(admin), Faulty(admin, ANY, Refused("no rights")), register=lambda topic: None)
    assert {r.action.topic: r.message for r in results if r.outcome == "failed"} == {ANY: "no rights"}
    assert apply.exit_code(results) == 1
    assert [action.topic for action in planned(admin, done=set(SCHEMAS)).actions] == [ANY]


def test_a_broker_that_goes_away_ends_the_run_and_the_next_continues() -> None:
    admin = memory_cluster().admin()
    gone = Unreachable("gone")
    results = apply.apply(planned(admin), Faulty(admin, ANY, gone), register=lambda topic: None)
    outcomes = [result.outcome for result in results]
    at = outcomes.index("unreachable")
    assert results[at].action.topic == ANY
    assert set(outcomes[:at]) == {"done"}
    assert set(outcomes[at + 1 :]) == {"not tried"}
    assert apply.exit_code(results) == 4
    left = planned(admin).actions
    assert {a.topic for a in left} == {r.action.topic for r in results[at:]}
    assert apply.exit_code(apply.apply(planned(admin), admin, register=lambda topic: None)) == 0


def test_a_refused_schema_is_reported() -> None:
    admin = memory_cluster().admin()

    def register(topic: str) -> None:
        raise Refused(f"collision on {topic}")

    results = apply.apply(planned(admin), admin, register=register)
    assert [(r.action.kind, r.message) for r in results if r.outcome == "failed"] == [("schema", f"collision on {ANY}")]


def test_blocked_steps_are_told_and_exit_three() -> None:
    admin = memory_cluster().admin()
    seen: list[str] = []
    action = plan.Action("blocked", ANY, (plan.Change("partitions", "6", "3"),), "cannot")
    results = apply.apply(plan.Plan((action,)), admin, register=seen.append, report=lambda r: seen.append(r.outcome))
    assert (seen, apply.exit_code(results)) == (["blocked"], 3)
    assert results[0].as_json()["outcome"] == "blocked"

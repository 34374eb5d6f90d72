"""The topology file: the standard one is complete, and each broken rule is a finding with its line."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from bus import document, topology
from bus.errors import CheckFailed, Finding
from bus.ports import TopicState
from schemas.catalogue import standard

CATALOGUE = standard()
GOOD = topology.STANDARD.read_text(encoding="utf-8")


def read(text: str) -> topology.Topology:
    return topology.of(document.parse(text.encode(), topology.TopologyFile, file="t.yaml"), CATALOGUE)


def faults(text: str) -> list[Finding]:
    with pytest.raises(CheckFailed) as failed:
        read(text)
    return failed.value.findings


def test_the_standard_file_covers_the_catalogue_schemas_and_the_groups() -> None:
    found = topology.load(topology.STANDARD, CATALOGUE)
    events = {name for name, topic in found.wanted.items() if topic.role == "event"}
    assert events == {kind.topic for kind in CATALOGUE.types()}
    assert found.wanted["_schemas"].partitions == 1
    assert {f"workflow.birth.{role}" for role in ("cases", "archive", "dead", "parked")} <= set(found.wanted)
    assert all(found.wanted[kind.topic].owner == kind.agency for kind in CATALOGUE.types())


@pytest.mark.parametrize(
    ("brokers", "replication", "min_insync"), [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (12, 3, "2")]
)
def test_auto_replication_follows_the_number_of_brokers(brokers: int, replication: int, min_insync: str) -> None:
    for state in topology.load(topology.STANDARD, CATALOGUE).states(brokers).values():
        assert (state.replication, state.config["min.insync.replicas"]) == (replication, min_insync)


def test_internal_topics_have_the_partitions_of_the_inputs_and_keep_what_matters() -> None:
    states = read(GOOD.replace("partitions: 6", "partitions: 12")).states(1)
    cases, dead = states["workflow.birth.cases"], states["workflow.birth.dead"]
    assert cases.partitions == dead.partitions == 12
    assert cases.config["cleanup.policy"] == states["workflow.birth.archive"].config["cleanup.policy"] == "compact"
    assert states["workflow.birth.parked"] == replace(cases, name="workflow.birth.parked")
    assert (dead.config["cleanup.policy"], dead.config["retention.ms"]) == ("delete", "-1")


def test_a_group_made_at_run_time_gets_the_same_topics() -> None:
    found = read(GOOD)
    states = found.states(3)
    made = topology.group_states("workflow.birth", states["health.birth.notified.v1"])
    assert list(made) == [states[f"workflow.birth.{role}"] for role in ("archive", "cases", "dead", "parked")]
    assert all(isinstance(state, TopicState) for state in made)


@pytest.mark.parametrize(("text", "ms"), [("1m", 60_000), ("12h", 43_200_000), ("30d", 2_592_000_000), ("forever", -1)])
def test_retention_is_read_in_people_s_words(text: str, ms: int) -> None:
    assert topology.milliseconds(text) == ms


@pytest.mark.parametrize("text", ["", "0d", "-1d", "7 days", "7D", "1.5h", "99999999d", "٣d", "1d\n"])
def test_another_retention_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no retention"):
        topology.milliseconds(text)


def swap(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def notified(entry: str) -> Callable[[str], str]:
    return swap("  health.birth.notified.v1:\n", f"  health.birth.notified.v1: {entry}\n")


# name of the rule, how the good file is broken, what the line that is named holds
BROKEN: list[tuple[str, Callable[[str], str], str]] = [
    ("unknown-type", swap("  health.birth.notified.v1:\n", "  health.birth.notifed.v1:\n"), "notifed"),
    ("missing-type", swap("  portal.request.created.v1:\n", ""), "topics:"),
    ("name", swap("  portal.request.created.v1:\n", "  portal.request.created.v1:\n  Portal_x:\n"), "Portal_x"),
    ("owner", notified("{owner: justice}"), "owner: justice"),
    ("value_error", swap("retention: 30d", "retention: 30 days"), "30 days"),
    ("defaults", swap("  cleanup: delete\n", ""), "defaults:"),
    ("min-insync", notified("{replication: 1, min_insync: 2}"), "min_insync: 2"),
    ("partition-mismatch", notified("{partitions: 3}"), "workflow.birth"),
    ("input", swap("[replay.activity.recorded.v1]", "[replay.activity.record.v1]"), "activity.record.v1"),
    ("group", swap("  workflow.birth:", "  Workflow_Birth:"), "Workflow_Birth"),
    ("absent", swap("groups:", "absent: [portal.request.created.v1]\n\ngroups:"), "absent"),
    ("extra_forbidden", swap("  partitions: 6\n", "  partitions: 6\n  partition: 6\n"), "partition: 6"),
    ("int_type", swap("partitions: 6", "partitions: six"), "six"),
    ("less_than_equal", swap("partitions: 6", "partitions: 6000"), "6000"),
    ("literal_error", swap("cleanup: delete", "cleanup: shred"), "shred"),
]


@pytest.mark.parametrize(("rule", "broken", "line"), BROKEN, ids=[rule for rule, _, _ in BROKEN])
def test_a_broken_rule_is_a_finding_at_its_line(rule: str, broken: Callable[[str], str], line: str) -> None:
    text = broken(GOOD)
    found = {finding.rule: finding for finding in faults(text)}
    assert rule in found, list(found.values())
    assert line in text.splitlines()[found[rule].line - 1]


def test_a_near_match_is_offered() -> None:
    found = faults(swap("  health.birth.notified.v1:\n", "  health.birth.notifed.v1:\n")(GOOD))
    assert any(finding.fix == "Write health.birth.notified.v1." for finding in found)


def test_twenty_thousand_unknown_topics_are_told_quickly() -> None:
    last = "  social-fund.request.rejected.v1:\n"
    many = "".join(f"  a.b.c{number}.v1:\n" for number in range(20_000))
    before = time.process_time()
    assert len(faults(GOOD.replace(last, last + many))) == 20_000
    assert time.process_time() - before < 4

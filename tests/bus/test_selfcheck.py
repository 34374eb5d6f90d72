"""Rules of durability: each is broken alone, and a sound cluster has no finding."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bus import selfcheck, topology
from bus.errors import Refused
from bus.ports import TopicState
from bus.selfcheck import BrokerFacts
from schemas.catalogue import standard

STANDARD = topology.load(topology.STANDARD, standard())
FACTS = BrokerFacts(
    "id",
    "4.3",
    (1, 2, 3),
    {
        "unclean.leader.election.enable": "false",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "3",
        "transaction.state.log.replication.factor": "3",
        "group.min.session.timeout.ms": "6000",
        "group.max.session.timeout.ms": "1800000",
    },
)
TOPICS = STANDARD.states(3)
ANY = "portal.request.created.v1"
GROUP = "workflow.birth"
INPUTS = STANDARD.groups[GROUP]


def told(facts: BrokerFacts = FACTS, **change: object) -> list[tuple[str, str, str]]:
    """Findings after `change` of one topic: its fields, or configuration entries with dots written as underscores."""
    topic = TOPICS[ANY]
    config = {k.replace("_", "."): str(v) for k, v in change.items() if k not in {"partitions", "replication"}}
    fields = {k: v for k, v in change.items() if k in {"partitions", "replication"}}
    topic = replace(topic, config={**topic.config, **config}, **fields)  # type: ignore[arg-type]  # by name
    found = selfcheck.check_cluster(facts, {**TOPICS, ANY: topic})
    assert all(verdict.message and verdict.remedy for verdict in found)
    return [(verdict.level, verdict.rule, verdict.subject) for verdict in found]


def test_a_sound_cluster_has_no_finding() -> None:
    assert told() == []
    assert selfcheck.check_group(GROUP, inputs=INPUTS, topics=TOPICS) == []


def test_one_replica_although_there_are_three_brokers_is_an_error_f25() -> None:
    assert ("error", "replication", ANY) in told(replication=1, min_insync_replicas=1)


def test_an_acknowledgement_by_one_replica_of_three_is_an_error() -> None:
    assert told(min_insync_replicas=1) == [("error", "min-insync", ANY)]


def test_more_replicas_in_sync_than_there_are_is_an_error() -> None:
    assert told(min_insync_replicas=4) == [("error", "min-insync", ANY)]


def test_no_tolerance_for_one_lost_broker_is_a_warning() -> None:
    assert told(min_insync_replicas=3) == [("warning", "min-insync", ANY)]


def test_unclean_election_on_a_topic_or_everywhere_is_an_error() -> None:
    assert told(unclean_leader_election_enable="true") == [("error", "unclean-election", ANY)]
    everywhere = replace(FACTS, config={**FACTS.config, "unclean.leader.election.enable": "true"})
    assert told(everywhere) == [("error", "unclean-election", "brokers")]


def test_a_writer_s_clock_is_a_warning() -> None:
    assert told(message_timestamp_type="CreateTime") == [("warning", "timestamp", ANY)]


@pytest.mark.parametrize("key", ["offsets.topic.replication.factor", "transaction.state.log.replication.factor"])
def test_kafka_s_own_topics_on_one_replica_are_an_error_when_there_are_three_brokers(key: str) -> None:
    weak = replace(FACTS, config={**FACTS.config, key: "1"})
    assert told(weak) == [("error", "replication", "brokers")]
    alone = replace(weak, brokers=(1,))
    assert ("error", "replication", "brokers") not in told(alone)
    assert ("warning", "few-brokers", "brokers") in told(alone)


def test_topics_made_by_a_slip_and_replicas_out_of_sync_are_warnings() -> None:
    facts = replace(
        FACTS, config={**FACTS.config, "auto.create.topics.enable": "true"}, under_replicated=(f"{ANY}[0]",)
    )
    assert told(facts) == [("warning", "auto-create", "brokers"), ("warning", "under-replicated", f"{ANY}[0]")]


def test_a_session_timeout_the_brokers_refuse_is_an_error() -> None:
    assert selfcheck.check_session(10_000, FACTS) == []
    assert [v.rule for v in selfcheck.check_session(5_999, FACTS)] == ["session-timeout"]
    assert [v.rule for v in selfcheck.check_session(1_800_001, FACTS)] == ["session-timeout"]


def rules(topics: dict[str, TopicState], outputs: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    found = selfcheck.check_group(GROUP, inputs=INPUTS, outputs=outputs, topics=topics)
    return [(verdict.rule, verdict.subject) for verdict in found]


@pytest.mark.parametrize("name", [INPUTS[0], f"{GROUP}.cases", f"{GROUP}.dead", f"{GROUP}.parked", ANY])
def test_a_missing_topic_is_an_error_f27(name: str) -> None:
    left = {key: value for key, value in TOPICS.items() if key != name}
    assert rules(left, outputs=(ANY,)) == [("missing-topic", name)]


@pytest.mark.parametrize("name", [INPUTS[1], f"{GROUP}.cases", f"{GROUP}.archive", f"{GROUP}.parked"])
def test_another_partition_count_is_an_error_f26(name: str) -> None:
    assert rules({**TOPICS, name: replace(TOPICS[name], partitions=7)}) == [("partition-mismatch", GROUP)]


def test_the_partition_count_of_an_output_is_free() -> None:
    assert rules({**TOPICS, ANY: replace(TOPICS[ANY], partitions=7)}, outputs=(ANY,)) == []


@pytest.mark.parametrize("role", ["cases", "archive", "parked"])
def test_a_log_of_the_group_that_is_deleted_by_age_is_an_error(role: str) -> None:
    name = f"{GROUP}.{role}"
    loose = replace(TOPICS[name], config={**TOPICS[name].config, "cleanup.policy": "delete"})
    assert rules({**TOPICS, name: loose}) == [("not-compacted", name)]


@pytest.mark.parametrize(("kept", "warned"), [("2592000000", False), ("2592000001", True), ("-1", True)])
def test_an_input_kept_longer_than_closed_cases_are_remembered_is_a_warning(kept: str, warned: bool) -> None:
    name = INPUTS[0]
    changed = replace(TOPICS[name], config={**TOPICS[name].config, "retention.ms": kept})
    assert rules({**TOPICS, name: changed}) == ([("retention-horizon", name)] if warned else [])


def test_errors_refuse_the_start_and_warnings_do_not() -> None:
    missing = selfcheck.check_group(GROUP, inputs=INPUTS, topics={})
    with pytest.raises(Refused, match=r"needs the topic .* \(\d more") as refused:
        selfcheck.refuse(missing)
    assert "topics apply" in refused.value.remedy
    selfcheck.refuse([replace(missing[0], level="warning")])

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


def test_replicas_out_of_sync_are_a_warning() -> None:
    assert told(replace(FACTS, under_replicated=(f"{ANY}[0]",))) == [("warning", "under-replicated", f"{ANY}[0]")]


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("auto.create.topics.enable", "true", "auto-create"),
        ("offsets.retention.minutes", "1440", "commits-expire"),
        ("transaction.state.log.min.isr", "1", "replication"),
    ],
)
def test_a_weak_setting_of_the_brokers_is_an_error(key: str, value: str, rule: str) -> None:
    assert told(replace(FACTS, config={**FACTS.config, key: value})) == [("error", rule, "brokers")]


def test_two_replicas_of_which_one_suffices_are_an_error_when_there_are_three_brokers() -> None:
    assert told(replication=2, min_insync_replicas=1) == [("error", "replication", ANY)]


@pytest.mark.parametrize(
    ("kept", "rules"), [("259199999", ["retention-short"]), ("259200000", []), ("-1", []), ("0", ["retention-short"])]
)
def test_records_that_go_before_a_long_weekend_is_over_are_an_error(kept: str, rules: list[str]) -> None:
    assert [rule for _, rule, _ in told(retention_ms=kept)] == rules


def test_what_a_topic_does_not_say_holds_as_the_brokers_have_it() -> None:
    bare = replace(TOPICS[ANY], config={})
    config = {**FACTS.config, "log.retention.hours": "24", "min.insync.replicas": "1"}
    found = selfcheck.check_cluster(replace(FACTS, config=config), {ANY: bare})
    assert sorted(v.rule for v in found) == ["min-insync", "retention-short", "timestamp"]
    config |= {"log.retention.ms": "-1", "min.insync.replicas": "2", "log.message.timestamp.type": "LogAppendTime"}
    assert selfcheck.check_cluster(replace(FACTS, config=config), {ANY: bare}) == []


def test_one_broker_gets_warnings_only_so_that_a_laptop_works() -> None:
    facts = replace(FACTS, brokers=(1,), config={**FACTS.config, "offsets.topic.replication.factor": "1"})
    found = selfcheck.check_cluster(facts, STANDARD.states(1))
    assert [(v.level, v.rule) for v in found] == [("warning", "few-brokers")]


def test_a_session_timeout_the_brokers_refuse_is_an_error() -> None:
    assert selfcheck.check_session(10_000, FACTS) == []
    assert [v.rule for v in selfcheck.check_session(5_999, FACTS)] == ["session-timeout"]
    assert [v.rule for v in selfcheck.check_session(1_800_001, FACTS)] == ["session-timeout"]


@pytest.mark.parametrize(
    ("newest", "rules"), [(None, []), (5_000, []), (11_000, []), (11_001, ["clock"]), (99_000, ["clock"])]
)
def test_a_record_from_the_future_says_that_our_clock_is_behind(newest: int | None, rules: list[str]) -> None:
    assert [(v.level, v.rule) for v in selfcheck.check_clock(newest, 10_000)] == [("warning", rule) for rule in rules]


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


@pytest.mark.parametrize(
    ("role", "key", "value", "rule"),
    [
        ("archive", "cleanup.policy", "delete", "not-compacted"),
        ("parked", "cleanup.policy", "compact,delete", "not-compacted"),
        ("cases", "cleanup.policy", "compact,delete", "not-compacted"),
        ("dead", "retention.ms", "604800000", "letters-expire"),
        ("cases", "max.message.bytes", "999999", "batch-size"),
        ("dead", "max.message.bytes", "500000", "batch-size"),
    ],
)
def test_a_group_s_own_topic_that_loses_or_refuses_what_it_must_hold_is_an_error(
    role: str, key: str, value: str, rule: str
) -> None:
    name = f"{GROUP}.{role}"
    changed = replace(TOPICS[name], config={**TOPICS[name].config, key: value})
    found = selfcheck.check_group(GROUP, inputs=INPUTS, topics={**TOPICS, name: changed})
    assert [(v.level, v.rule, v.subject) for v in found] == [("error", rule, name)]


def test_an_input_stamped_by_its_writer_is_an_error_where_append_time_gives_the_order() -> None:
    name = INPUTS[0]
    config = {k: v for k, v in TOPICS[name].config.items() if k != "message.timestamp.type"}
    topics = {**TOPICS, name: replace(TOPICS[name], config=config)}
    assert rules(topics) == [("timestamp", name)]
    assert selfcheck.check_group(GROUP, inputs=INPUTS, topics=topics, by_append_time=False) == []
    by_broker = {"log.message.timestamp.type": "LogAppendTime"}
    assert selfcheck.check_group(GROUP, inputs=INPUTS, topics=topics, defaults=by_broker) == []


def test_the_largest_batch_is_the_one_our_producers_make() -> None:
    from bus.transport.rules import BATCH_BYTES

    assert selfcheck.LARGEST_BATCH == BATCH_BYTES


@pytest.mark.parametrize(("kept", "warned"), [("2592000000", False), ("2592000001", True), ("-1", True)])
def test_an_input_kept_longer_than_closed_cases_are_remembered_is_an_error(kept: str, warned: bool) -> None:
    name = INPUTS[0]
    changed = replace(TOPICS[name], config={**TOPICS[name].config, "retention.ms": kept})
    assert rules({**TOPICS, name: changed}) == ([("retention-horizon", name)] if warned else [])


def test_errors_refuse_the_start_and_warnings_do_not() -> None:
    missing = selfcheck.check_group(GROUP, inputs=INPUTS, topics={})
    with pytest.raises(Refused, match=r"needs the topic .* \(\d more") as refused:
        selfcheck.refuse(missing)
    assert "topics apply" in refused.value.remedy
    selfcheck.refuse([replace(missing[0], level="warning")])

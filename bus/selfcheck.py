"""Rules a cluster, its topics and our settings must keep, so that durability is never weak in silence.

`check_group` is called by every worker at start (an error refuses the start); `check_cluster` by `agencybus doctor`.
Pure: facts in, findings with a remedy out. The traps it avoids: F25 changelogs on one replica, F26 partition counts
that differ, F27 a missing topic that is only a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bus.errors import Refused
from bus.ports import TopicState

Level = Literal["error", "warning"]
LONGEST_INPUT_MS = 30 * 86_400_000  # a closed case is remembered 35 days (agents.runner), five of them for a redrive
_SAFE_REPLICAS = 3
_INTERNAL = ("cases", "archive", "dead", "parked")
# Kafka's own topics hold commits and producer epochs; with one replica they die with one disk (Kafka documentation).
_BROKER_REPLICATION = ("offsets.topic.replication.factor", "transaction.state.log.replication.factor")


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What the brokers say of themselves.

    Args:
        cluster_id: Kafka's id of the cluster.
        version: e.g. ``4.3``.
        brokers: ids that are up.
        config: settings of one broker, defaults included.
        under_replicated: ``topic[partition]`` with fewer replicas in sync than it has.
    """

    cluster_id: str
    version: str
    brokers: tuple[int, ...]
    config: Mapping[str, str] = field(default_factory=dict)
    under_replicated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One broken rule.

    Args:
        level: error: records can be lost or a worker must not start; warning: weak, slow or unclear.
        rule: its name.
        subject: the topic, group, setting or broker it is about.
        message: what is wrong, one sentence.
        remedy: what to do.
    """

    level: Level
    rule: str
    subject: str
    message: str
    remedy: str

    def as_json(self) -> dict[str, Any]:
        """The verdict as plain data for ``--json``."""
        return {
            "level": self.level,
            "rule": self.rule,
            "subject": self.subject,
            "message": self.message,
            "remedy": self.remedy,
        }


def check_cluster(facts: BrokerFacts, topics: Mapping[str, TopicState]) -> list[Verdict]:
    """Every rule over the brokers and the given topics (those of the topology), errors first."""
    found = [*_brokers(facts)]
    for topic in topics.values():
        found += _topic(topic, facts)
    return sorted(found, key=lambda v: (v.level, v.rule, v.subject))


def check_session(session_timeout_ms: int, facts: BrokerFacts) -> list[Verdict]:
    """Whether the brokers take members with this session timeout (milliseconds); else none could ever join."""
    least = int(facts.config.get("group.min.session.timeout.ms", session_timeout_ms))
    most = int(facts.config.get("group.max.session.timeout.ms", session_timeout_ms))
    if least <= session_timeout_ms <= most:
        return []
    message = f"The brokers take session timeouts of {least} to {most} ms, ours is {session_timeout_ms} ms."
    return [Verdict("error", "session-timeout", "settings", message, "Set AGENCYBUS__SESSION_TIMEOUT_MS within them.")]


def check_group(
    group: str, *, inputs: Sequence[str], outputs: Sequence[str] = (), topics: Mapping[str, TopicState]
) -> list[Verdict]:
    """What a workflow's worker needs of its topics, errors first.

    Args:
        group: its consumer group.
        inputs: topics it listens to.
        outputs: topics it publishes on.
        topics: all topics of the cluster.
    """
    own = [f"{group}.{role}" for role in _INTERNAL]
    found = [
        Verdict("error", "missing-topic", name, f"{group} needs the topic {name}.", "Run `agencybus topics apply`.")
        for name in sorted({*inputs, *outputs, *own} - set(topics))
    ]
    counts = {name: topics[name].partitions for name in [*sorted(inputs), *own] if name in topics}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        found.append(
            Verdict(
                "error",
                "partition-mismatch",
                group,
                f"The topics of {group} differ in partitions: {told}.",
                "Recreate those that differ; a case must stand on one partition number everywhere.",
            )
        )
    for role in ("cases", "archive", "parked"):
        topic = topics.get(f"{group}.{role}")
        if topic is not None and topic.config.get("cleanup.policy", "delete") != "compact":
            message = f"{topic.name} is not compacted: what still waits in it would be deleted by age."
            found.append(Verdict("error", "not-compacted", topic.name, message, "Run `agencybus topics apply`."))
    for name in inputs:
        if name in topics and _beyond_horizon(topics[name]):
            message = f"{name} keeps records longer than a worker remembers closed cases: one could open twice."
            found.append(Verdict("warning", "retention-horizon", name, message, "Set its retention to 30d or less."))
    return sorted(found, key=lambda v: (v.level, v.rule, v.subject))


def refuse(verdicts: Sequence[Verdict]) -> None:
    """Refuse to go on when a verdict is an error; warnings pass.

    Raises:
        Refused: a verdict is an error; names the first and the number of others.
    """
    errors = [verdict for verdict in verdicts if verdict.level == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: see `agencybus doctor`.)" if len(errors) > 1 else ""
        raise Refused(errors[0].message + more, field=errors[0].rule, remedy=errors[0].remedy)


def _beyond_horizon(topic: TopicState) -> bool:
    kept = int(topic.config.get("retention.ms", 7 * 86_400_000))  # Kafka's default is a week
    return kept < 0 or kept > LONGEST_INPUT_MS


def _brokers(facts: BrokerFacts) -> Iterator[Verdict]:
    if facts.config.get("unclean.leader.election.enable") == "true":
        message = "A replica that lags may become leader; acknowledged records would vanish."
        yield Verdict("error", "unclean-election", "brokers", message, "Set unclean.leader.election.enable=false.")
    if facts.config.get("auto.create.topics.enable") == "true":
        message = "A misspelt name makes a topic with default settings."
        yield Verdict("warning", "auto-create", "brokers", message, "Set auto.create.topics.enable=false.")
    if len(facts.brokers) >= _SAFE_REPLICAS:
        for key in _BROKER_REPLICATION:
            if int(facts.config.get(key, _SAFE_REPLICAS)) < _SAFE_REPLICAS:
                message = f"{key} is {facts.config[key]} although there are {len(facts.brokers)} brokers."
                yield Verdict("error", "replication", "brokers", message, f"Set {key}=3 and move the replicas.")
    else:
        message = f"{len(facts.brokers)} broker(s): a lost disk loses records."
        yield Verdict("warning", "few-brokers", "brokers", message, "Fine to try things out; run three for real.")
    for place in facts.under_replicated:
        message = f"{place} has replicas that are not in sync."
        yield Verdict("warning", "under-replicated", place, message, "See whether a broker is down.")


def _topic(topic: TopicState, facts: BrokerFacts) -> Iterator[Verdict]:
    brokers = len(facts.brokers)
    if topic.replication < _SAFE_REPLICAS <= brokers:
        message = f"{topic.name} has {topic.replication} replica(s) although there are {brokers} brokers."
        yield Verdict("error", "replication", topic.name, message, "Move its replicas with kafka-reassign-partitions.")
    insync = int(topic.config.get("min.insync.replicas", facts.config.get("min.insync.replicas", "1")))
    if insync > topic.replication:
        message = (
            f"{topic.name} asks for {insync} replicas in sync and has {topic.replication}: nothing can be written."
        )
        yield Verdict("error", "min-insync", topic.name, message, "Lower min_insync in the topology file.")
    elif topic.replication >= _SAFE_REPLICAS and insync < 2:
        message = f"{topic.name} acknowledges a record that stands on one replica."
        yield Verdict("error", "min-insync", topic.name, message, "Set min_insync to 2 in the topology file.")
    elif insync == topic.replication > 1:
        message = f"{topic.name} takes no records while one broker is down."
        yield Verdict("warning", "min-insync", topic.name, message, "Set min_insync one below replication.")
    if topic.config.get("unclean.leader.election.enable") == "true":
        message = f"A replica of {topic.name} that lags may become leader; acknowledged records would vanish."
        yield Verdict("error", "unclean-election", topic.name, message, "Remove the topic's setting.")
    if topic.config.get("message.timestamp.type", "CreateTime") != "LogAppendTime":
        message = f"{topic.name} is stamped by the writer's clock: ages of waiting records are wrong."
        yield Verdict("warning", "timestamp", topic.name, message, "Run `agencybus topics apply`.")

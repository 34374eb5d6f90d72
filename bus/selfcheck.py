"""Rules a cluster, its topics and our settings must keep, so that durability is never weak in silence.

Workers and subscriptions ask at start (an error refuses the start), `agencybus doctor` at any time; clients as they
were built are checked by `bus.transport.durability`. Pure: facts in, findings with a remedy out. The traps it avoids:
F25 changelogs on one replica, F26 partition counts that differ, F27 a missing topic that is only a warning; and that a
topic's own configuration hides the broker's default, or is hidden by it. A cluster of one or two brokers cannot be
safe against a lost disk; it gets warnings, so that a laptop works.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bus.errors import Refused
from bus.ports import TopicState

Level = Literal["error", "warning"]
_DAY_MS = 86_400_000
LONGEST_INPUT_MS = 30 * _DAY_MS  # a closed case is remembered 35 days (agents.runner), five of them for a redrive
SHORTEST_INPUT_MS = 3 * _DAY_MS  # a reader that failed on a Friday evening must find its records on Monday
LARGEST_BATCH = 1_000_000  # bytes; what our producers and the case log may send as one batch (bus.transport.rules)
_LEAST_COMMITS_MIN = 7 * 24 * 60  # Kafka's default; an idle group that lost its place would begin anew (F71)
CLOCK_MS = 1_000
_SAFE_REPLICAS, _SAFE_IN_SYNC = 3, 2
_INTERNAL = ("cases", "archive", "dead", "parked")
# Kafka's own topics hold commits and producer epochs; with one replica they die with one disk (Kafka documentation).
_BROKER_IN_SYNC = "transaction.state.log.min.isr"
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


def check_clock(newest_ms: int | None, now_ms: int) -> list[Verdict]:
    """Whether brokers have stamped a record later than it is here; milliseconds since 1970, None without a record.

    Only a clock of ours that is behind shows so. Deadlines and the order of a case's events bear a second.
    """
    ahead = 0 if newest_ms is None else newest_ms - now_ms
    if ahead <= CLOCK_MS:
        return []
    message = f"The brokers have stamped a record {ahead / 1000:.1f} s later than it is on this machine."
    return [Verdict("warning", "clock", "clock", message, "Let both keep time by NTP: deadlines here fire late.")]


def check_group(
    group: str,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str] = (),
    topics: Mapping[str, TopicState],
    defaults: Mapping[str, str] | None = None,
    by_append_time: bool = True,
) -> list[Verdict]:
    """What a workflow's worker needs of its topics, errors first.

    Args:
        group: its consumer group.
        inputs: topics it listens to.
        outputs: topics it publishes on.
        topics: all topics of the cluster.
        defaults: the brokers' settings, for what a topic does not say itself; None stands for Kafka's own.
        by_append_time: whether it takes records in the order of their append; then writers must not stamp them.
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
    known = _Defaults(defaults or {})
    for role in _INTERNAL:
        topic = topics.get(f"{group}.{role}")
        if topic is not None:
            found += _internal(topic, role, known)
    for name in sorted(inputs):
        if name in topics:
            found += _input(topics[name], known, by_append_time=by_append_time)
    return sorted(found, key=lambda v: (v.level, v.rule, v.subject))


def _internal(topic: TopicState, role: str, known: _Defaults) -> Iterator[Verdict]:
    """A group's own topic: nothing of it may go by age, and our batches must fit."""
    name, remedy = topic.name, "Run `agencybus topics apply`."
    policy = known.of(topic, "cleanup.policy")
    if role != "dead" and policy != "compact":
        message = f"{name} is not compacted alone ({policy}): what it holds would be deleted by age."
        yield Verdict("error", "not-compacted", name, message, remedy)
    if role == "dead" and "delete" in policy and int(known.of(topic, "retention.ms")) >= 0:
        message = f"{name} drops dead letters by age, whether or not anyone has seen them."
        yield Verdict("error", "letters-expire", name, message, remedy)
    largest = int(known.of(topic, "max.message.bytes"))
    if largest < LARGEST_BATCH:
        message = f"{name} takes batches of {largest:,} bytes, ours may have {LARGEST_BATCH:,}."
        yield Verdict("error", "batch-size", name, message, f"Set its max.message.bytes to {LARGEST_BATCH} or more.")


def _input(topic: TopicState, known: _Defaults, *, by_append_time: bool) -> Iterator[Verdict]:
    """A topic a workflow listens to: kept long enough to be read, not longer than what was done with it is known."""
    name = topic.name
    if "delete" in known.of(topic, "cleanup.policy"):
        kept = int(known.of(topic, "retention.ms"))
        if kept < 0 or kept > LONGEST_INPUT_MS:
            message = f"{name} keeps records longer than a worker remembers closed cases: one could open twice."
            yield Verdict("error", "retention-horizon", name, message, "Set its retention to 30d or less.")
    if by_append_time and known.of(topic, "message.timestamp.type") != "LogAppendTime":
        message = f"{name} is stamped by the writer's clock: events of a case would be taken in a wrong order."
        yield Verdict("error", "timestamp", name, message, "Set its message.timestamp.type to LogAppendTime.")


def refuse(verdicts: Sequence[Verdict]) -> None:
    """Refuse to go on when a verdict is an error; warnings pass.

    Raises:
        Refused: a verdict is an error; names the first and the number of others.
    """
    errors = [verdict for verdict in verdicts if verdict.level == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: see `agencybus doctor`.)" if len(errors) > 1 else ""
        raise Refused(errors[0].message + more, field=errors[0].rule, remedy=errors[0].remedy)


class _Defaults:
    """What holds for a topic: its own setting, else the broker's, else Kafka's.

    Args:
        brokers: settings of a broker, by name.
    """

    def __init__(self, brokers: Mapping[str, str]) -> None:
        self._brokers = brokers

    def of(self, topic: TopicState, key: str) -> str:
        """The value in force of one of the keys below."""
        if key in topic.config:
            return topic.config[key]
        if key == "retention.ms":
            return self._retention()
        broker_key, default = _KEYS[key]
        return self._brokers.get(broker_key, default)

    def _retention(self) -> str:
        for key, factor in (
            ("log.retention.ms", 1),
            ("log.retention.minutes", 60_000),
            ("log.retention.hours", 3_600_000),
        ):
            if key in self._brokers:
                value = int(self._brokers[key])
                return str(value * factor if value >= 0 else -1)
        return str(7 * _DAY_MS)


_KEYS = {  # of a topic: the broker's name for it, Kafka's default
    "cleanup.policy": ("log.cleanup.policy", "delete"),
    "max.message.bytes": ("message.max.bytes", "1048588"),
    "message.timestamp.type": ("log.message.timestamp.type", "CreateTime"),
    "min.insync.replicas": ("min.insync.replicas", "1"),
    "unclean.leader.election.enable": ("unclean.leader.election.enable", "false"),
}


def _brokers(facts: BrokerFacts) -> Iterator[Verdict]:
    if facts.config.get("unclean.leader.election.enable") == "true":
        message = "A replica that lags may become leader; acknowledged records would vanish."
        yield Verdict("error", "unclean-election", "brokers", message, "Set unclean.leader.election.enable=false.")
    if facts.config.get("auto.create.topics.enable") == "true":
        message = "A misspelt name makes a topic with default settings, and its records reach nobody."
        yield Verdict("error", "auto-create", "brokers", message, "Set auto.create.topics.enable=false.")
    kept = int(facts.config.get("offsets.retention.minutes", _LEAST_COMMITS_MIN))
    if kept < _LEAST_COMMITS_MIN:
        message = f"A group that is stopped for {kept} minutes loses its place and reads everything again."
        remedy = f"Set offsets.retention.minutes to {_LEAST_COMMITS_MIN} or more."
        yield Verdict("error", "commits-expire", "brokers", message, remedy)
    if len(facts.brokers) >= _SAFE_REPLICAS:
        for key, least in (*((key, _SAFE_REPLICAS) for key in _BROKER_REPLICATION), (_BROKER_IN_SYNC, _SAFE_IN_SYNC)):
            if int(facts.config.get(key, least)) < least:
                message = f"{key} is {facts.config[key]} although there are {len(facts.brokers)} brokers."
                yield Verdict("error", "replication", "brokers", message, f"Set {key}={least} and move the replicas.")
    else:
        message = f"{len(facts.brokers)} broker(s): a lost disk loses records."
        yield Verdict("warning", "few-brokers", "brokers", message, "Fine to try things out; run three for real.")
    for place in facts.under_replicated:
        message = f"{place} has replicas that are not in sync."
        yield Verdict("warning", "under-replicated", place, message, "See whether a broker is down.")


def _topic(topic: TopicState, facts: BrokerFacts) -> Iterator[Verdict]:
    brokers = len(facts.brokers)
    known = _Defaults(facts.config)
    if topic.replication < _SAFE_REPLICAS <= brokers:
        message = f"{topic.name} has {topic.replication} replica(s) although there are {brokers} brokers."
        yield Verdict("error", "replication", topic.name, message, "Move its replicas with kafka-reassign-partitions.")
    insync = int(known.of(topic, "min.insync.replicas"))
    if insync > topic.replication:
        message = (
            f"{topic.name} asks for {insync} replicas in sync and has {topic.replication}: nothing can be written."
        )
        yield Verdict("error", "min-insync", topic.name, message, "Lower min_insync in the topology file.")
    elif topic.replication >= _SAFE_REPLICAS and insync < _SAFE_IN_SYNC:
        message = f"{topic.name} acknowledges a record that stands on one replica."
        yield Verdict("error", "min-insync", topic.name, message, "Set min_insync to 2 in the topology file.")
    elif insync == topic.replication > 1:
        message = f"{topic.name} takes no records while one broker is down."
        yield Verdict("warning", "min-insync", topic.name, message, "Set min_insync one below replication.")
    if topic.config.get("unclean.leader.election.enable") == "true":
        message = f"A replica of {topic.name} that lags may become leader; acknowledged records would vanish."
        yield Verdict("error", "unclean-election", topic.name, message, "Remove the topic's setting.")
    if known.of(topic, "cleanup.policy") != "compact" and 0 <= int(known.of(topic, "retention.ms")) < SHORTEST_INPUT_MS:
        message = f"{topic.name} drops records after less than three days, whether or not they were read."
        yield Verdict("error", "retention-short", topic.name, message, "Set its retention to 3d or more.")
    if known.of(topic, "message.timestamp.type") != "LogAppendTime":
        message = f"{topic.name} is stamped by the writer's clock: ages of waiting records are wrong."
        yield Verdict("warning", "timestamp", topic.name, message, "Run `agencybus topics apply`.")

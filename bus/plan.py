"""What must be done so that a cluster has the topics it should: desired and actual state in, ordered actions out.

Called by `bus.provision`, for `topics plan|apply|diff` and `doctor`; `bus.apply` runs the result. Pure. The traps it
avoids: an apply that deletes or shortens on a slip of the pen (what can lose or move data is marked and needs a flag),
and one that touches what nobody declared (other topics and other configuration keys are left alone).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bus.ports import TopicState
from bus.topology import FOREVER, Topology

Kind = Literal["create", "schema", "alter", "grow", "delete", "blocked"]
# Creations first, so that a schema has its topic and a worker its inputs; what destroys comes last.
_ORDER: dict[Kind, int] = {"create": 0, "schema": 1, "alter": 2, "grow": 3, "delete": 4, "blocked": 5}


@dataclass(frozen=True, slots=True)
class Change:
    """One setting of a topic, before and after; None: not set."""

    setting: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Action:
    """One step.

    Args:
        kind: create, schema (register one), alter (configuration), grow (partitions), delete, or blocked (nobody
            can do it through the topic's own settings).
        topic: the topic it is about.
        changes: what differs.
        reason: for a destructive or blocked action, what it does to records and what to do instead.
        destructive: records may be lost, moved or less safe.
        state: the topic as it shall be, for create.
    """

    kind: Kind
    topic: str
    changes: tuple[Change, ...] = ()
    reason: str = ""
    destructive: bool = False
    state: TopicState | None = None

    def as_json(self) -> dict[str, Any]:
        """The action as plain data for ``--json``."""
        return {
            "action": self.kind,
            "topic": self.topic,
            "destructive": self.destructive,
            "changes": [{"setting": c.setting, "before": c.before, "after": c.after} for c in self.changes],
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in order, and the topics on the cluster that no file speaks of (left alone)."""

    actions: tuple[Action, ...]
    unmanaged: tuple[str, ...] = field(default=())


def plan(
    topology: Topology,
    actual: Mapping[str, TopicState],
    *,
    brokers: int,
    schemas: Mapping[str, int] | None = None,
    registered: Mapping[str, frozenset[int]] | None = None,
) -> Plan:
    """Compare what shall be with what is.

    Args:
        topology: from the file.
        actual: all topics of the cluster.
        brokers: how many there are; resolves ``auto``.
        schemas: id of the schema each event topic must have registered; None leaves schemas out.
        registered: ids registered per topic.
    """
    desired = topology.states(brokers)
    keyed = {name for name, topic in topology.wanted.items() if topic.keyed}
    actions = compare(desired, actual, keyed=keyed)
    actions += [_delete(name) for name in topology.absent if name in actual]
    for topic, schema_id in (schemas or {}).items():
        if topic in desired and schema_id not in (registered or {}).get(topic, frozenset()):
            actions.append(Action("schema", topic, (Change("schema id", None, str(schema_id)),)))
    unmanaged = sorted(set(actual) - set(desired) - set(topology.absent))
    return Plan(tuple(sorted(actions, key=_place)), tuple(unmanaged))


def diff(before: Topology, after: Topology, *, brokers: int = 3) -> Plan:
    """What applying `after` would do to a cluster on which `before` had been applied.

    Args:
        before: the file as applied.
        after: the file to come.
        brokers: how many the cluster has; the usual number of replicas follows from it.
    """
    old, new = before.states(brokers), after.states(brokers)
    keyed = {name for name, topic in after.wanted.items() if topic.keyed}
    actions = compare(new, old, keyed=keyed)
    actions += [_delete(name) for name in after.absent if name in old]
    dropped = sorted(set(old) - set(new) - set(after.absent))
    return Plan(tuple(sorted(actions, key=_place)), tuple(dropped))


def compare(desired: Mapping[str, TopicState], actual: Mapping[str, TopicState], *, keyed: set[str]) -> list[Action]:
    """The actions that make `actual` like `desired`; topics only in `actual` are left alone.

    Args:
        desired: topics as they should be, by name.
        actual: as they are.
        keyed: topics whose records are placed by key: more partitions would break their order.
    """
    actions: list[Action] = []
    for name, want in desired.items():
        have = actual.get(name)
        if have is None:
            actions.append(Action("create", name, _settings(want), state=want))
        else:
            actions += _partitions(want, have, keyed=name in keyed)
            actions += _replication(want, have)
            actions += _config(want, have)
    return actions


def _place(action: Action) -> tuple[int, str]:
    return _ORDER[action.kind], action.topic


def _settings(want: TopicState) -> tuple[Change, ...]:
    counts = (
        Change("partitions", None, str(want.partitions)),
        Change("replication", None, str(want.replication)),
    )
    return counts + tuple(Change(key, None, value) for key, value in sorted(want.config.items()))


def _delete(name: str) -> Action:
    return Action("delete", name, reason="Every record of the topic is lost.", destructive=True)


def _partitions(want: TopicState, have: TopicState, *, keyed: bool) -> Iterator[Action]:
    change = (Change("partitions", str(have.partitions), str(want.partitions)),)
    if want.partitions < have.partitions:
        reason = "Kafka cannot lower a partition count; correct the file, or publish to a new major version."
        yield Action("blocked", want.name, change, reason)
    elif want.partitions > have.partitions:
        reason = "Keys move to other partitions: open cases are split from their history." if keyed else ""
        yield Action("grow", want.name, change, reason, destructive=keyed)


def _replication(want: TopicState, have: TopicState) -> Iterator[Action]:
    if want.replication != have.replication:
        change = (Change("replication", str(have.replication), str(want.replication)),)
        reason = "Replicas are moved with Kafka's own kafka-reassign-partitions; then this line disappears."
        yield Action("blocked", want.name, change, reason)


def _config(want: TopicState, have: TopicState) -> Iterator[Action]:
    changes = tuple(
        Change(key, have.config.get(key), value)
        for key, value in sorted(want.config.items())
        if have.config.get(key) != value
    )
    if changes:
        reasons = [reason for change in changes if (reason := _danger(change))]
        yield Action("alter", want.name, changes, " ".join(reasons), destructive=bool(reasons))


def _danger(change: Change) -> str:
    """What a change of configuration does to records; empty when it is harmless. A value never set is not judged."""
    if change.before is None or change.after is None:
        return ""
    if change.setting == "retention.ms" and _lifetime(change.after) < _lifetime(change.before):
        return "Records older than the new retention are lost."
    if change.setting == "cleanup.policy":
        return "Records are removed by another rule."
    if change.setting == "min.insync.replicas" and int(change.after) < int(change.before):
        return "Acknowledged records stand on fewer replicas."
    return ""


def _lifetime(text: str) -> float:
    return float("inf") if int(text) == FOREVER else int(text)

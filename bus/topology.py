"""The topology file: which topics there shall be, with partitions, replicas, retention; checked against the catalogue.

Read by `topics plan|apply|diff` and `doctor` (a replay takes `group_states` for its own group), resolved for a number
of brokers, compared by `bus.plan`. Pure but for reading the file. The traps it avoids: a topic without an owner or a
contract, inputs of one workflow with different partition counts (a case must stand on one partition number everywhere,
F26), and internal topics made at run time with one replica (F25, F28).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bus import document
from bus.document import Document
from bus.errors import MAX_SHOWN, CheckFailed, Finding
from bus.ports import TopicState
from schemas import names
from schemas.catalogue import Catalogue
from schemas.errors import NameRefused

STANDARD = Path(__file__).parent / "topologies" / "standard.yaml"
SCHEMAS = "_schemas"
FOREVER = -1
_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_GROUP = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z0-9][a-z0-9-]*)*")
_TIMESTAMPS = {"append": "LogAppendTime", "create": "CreateTime"}
Role = Literal["event", "schemas", "cases", "archive", "dead", "parked"]
_COMPACT = {"cleanup.policy": "compact", "retention.ms": str(FOREVER)}
# A dead letter waits until someone has seen it, whatever its age.
_INTERNAL: dict[Role, dict[str, str]] = {
    "archive": _COMPACT,
    "cases": _COMPACT,
    "dead": {"cleanup.policy": "delete", "retention.ms": str(FOREVER)},
    "parked": _COMPACT,
}


def _duration(text: str) -> str:
    milliseconds(text)
    return text


def milliseconds(text: str) -> int:
    """A retention such as ``30d``, ``12h``, ``90m`` in milliseconds; ``forever`` is -1, as Kafka writes it.

    Raises:
        ValueError: for any other text.
    """
    if text == "forever":
        return FOREVER
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no retention; write 30d, 12h, 90m or forever")
    return int(found[1]) * _UNITS[found[2]]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Shape(_Part):
    """What can be said of a topic; what is left out comes from `defaults`."""

    partitions: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many; never lowered, and raised on a keyed topic only with --allow-destructive (cases move)."""
    replication: Annotated[int, Field(ge=1, le=9)] | Literal["auto"] | None = None
    """Replicas; auto is 3, or as many as there are brokers."""
    min_insync: Annotated[int, Field(ge=1, le=9)] | Literal["auto"] | None = None
    """Replicas that must have a record before it is acknowledged; auto is one less than replicas, at least 1."""
    retention: Annotated[str, AfterValidator(_duration)] | None = None
    """How long records are kept after their append: 30d, 12h, 90m, forever."""
    cleanup: Literal["delete", "compact"] | None = None
    """delete by age, or compact to the last record per key."""
    timestamp: Literal["append", "create"] | None = None
    """Whose clock stamps a record; append keeps lag ages exact and retention away from unread records."""
    max_message_bytes: Annotated[int, Field(ge=1024, le=64 << 20)] | None = None
    """Largest record batch, in bytes."""


class Topic(Shape):
    """A topic that carries one event type."""

    owner: str | None = None
    """The agency that writes it; must be the first word of the topic."""


class GroupEntry(_Part):
    """A workflow's consumer group; it gets the topics <group>.cases, .archive, .dead and .parked."""

    inputs: Annotated[tuple[str, ...], Field(min_length=1, max_length=200)]
    """Topics the workflow listens to; their partition counts must be equal."""


class TopologyFile(_Part):
    """The whole file."""

    defaults: Shape
    topics: Annotated[dict[str, Topic | None], Field(min_length=1)]
    groups: dict[str, GroupEntry] = {}
    absent: tuple[str, ...] = ()
    """Topics to be deleted; applied only with --allow-destructive."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One topic of a topology, complete but for what depends on the number of brokers (None: auto)."""

    name: str
    role: Role
    owner: str
    partitions: int
    replication: int | None
    min_insync: int | None
    config: Mapping[str, str]

    @property
    def keyed(self) -> bool:
        """Whether records of a key must stay on their partition, so that raising the count moves cases."""
        return self.role != "dead"

    def state(self, brokers: int) -> TopicState:
        """The topic as it shall be on a cluster of `brokers`."""
        replication = self.replication or max(1, min(3, brokers))
        min_insync = self.min_insync or max(1, replication - 1)
        config = {**self.config, "min.insync.replicas": str(min_insync)}
        return TopicState(self.name, self.partitions, replication, dict(sorted(config.items())))


@dataclass(frozen=True, slots=True)
class Topology:
    """The topics that shall be, by name, those that shall not, and the inputs of each group."""

    wanted: Mapping[str, Wanted]
    absent: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def states(self, brokers: int) -> dict[str, TopicState]:
        """Every topic as it shall be on a cluster of `brokers`."""
        return {name: topic.state(brokers) for name, topic in self.wanted.items()}


def load(path: Path, catalogue: Catalogue) -> Topology:
    """Read and check a topology file.

    Raises:
        CheckFailed: with every fault: not YAML, wrong keys or values, or a rule of `check`.
    """
    return of(document.load(path, TopologyFile), catalogue)


def of(found: Document[TopologyFile], catalogue: Catalogue) -> Topology:
    """The topology of a file that was read. Raises CheckFailed when a rule of `check` is broken."""
    findings = sorted(set(check(found, catalogue)))
    if findings:
        raise CheckFailed(findings)
    file = found.value
    wanted = {name: _wanted(name, _merged(file.defaults, entry), "event") for name, entry in file.topics.items()}
    compact = Shape(cleanup="compact", partitions=1)
    wanted[SCHEMAS] = _wanted(SCHEMAS, _merged(file.defaults, compact), "schemas")
    for group, entry in file.groups.items():
        wanted |= {topic.name: topic for topic in group_topics(group, wanted[entry.inputs[0]])}
    inputs = {group: entry.inputs for group, entry in file.groups.items()}
    return Topology(dict(sorted(wanted.items())), tuple(sorted(file.absent)), inputs)


def group_topics(group: str, like: Wanted) -> tuple[Wanted, ...]:
    """The internal topics of a workflow's group: its case log, closed cases, dead letters, what is parked.

    Args:
        group: the consumer group.
        like: one of its inputs; gives partitions, replicas and sizes.
    """
    return tuple(
        replace(like, name=f"{group}.{role}", role=role, owner="bus", config={**like.config, **config})
        for role, config in _INTERNAL.items()
    )


def group_states(group: str, like: TopicState) -> tuple[TopicState, ...]:
    """As `group_topics`, from an input as it is on a cluster; for a group made at run time (a replay's).

    Args:
        group: the consumer group.
        like: one of its inputs.
    """
    return tuple(
        replace(like, name=f"{group}.{role}", config=dict(sorted({**like.config, **config}.items())))
        for role, config in _INTERNAL.items()
    )


def _merged(defaults: Shape, entry: Shape | None) -> Shape:
    said = {} if entry is None else entry.model_dump(exclude_none=True, include=set(Shape.model_fields))
    return defaults.model_copy(update=said)


def _wanted(name: str, shape: Shape, role: Role) -> Wanted:
    assert shape.partitions is not None
    assert shape.retention is not None
    compact = shape.cleanup == "compact"
    config = {
        "cleanup.policy": "compact" if compact else "delete",
        "max.message.bytes": str(shape.max_message_bytes),
        "message.timestamp.type": _TIMESTAMPS[shape.timestamp or "append"],
        # A compacted topic is cleaned by key; the default retention would be shown but mean nothing.
        "retention.ms": str(FOREVER if compact else milliseconds(shape.retention)),
    }
    return Wanted(
        name=name,
        role=role,
        owner=name.split(".", 1)[0] if role == "event" else "bus",
        partitions=shape.partitions,
        replication=shape.replication if isinstance(shape.replication, int) else None,
        min_insync=shape.min_insync if isinstance(shape.min_insync, int) else None,
        config=config,
    )


def check(found: Document[TopologyFile], catalogue: Catalogue) -> Iterator[Finding]:
    """The rules a topology keeps beyond its form; each broken one as a Finding with its line."""
    yield from _check_defaults(found)
    yield from _check_topics(found, catalogue)
    yield from _check_groups(found)
    for name, count in Counter(found.value.absent).items():
        if count > 1 or name in found.value.topics:
            yield found.finding("absent", f"{name} is wanted and unwanted, or unwanted twice.", "absent")


def _check_defaults(found: Document[TopologyFile]) -> Iterator[Finding]:
    for key, value in found.value.defaults:
        if value is None:
            yield found.finding("defaults", f"defaults: {key} is missing.", "defaults", fix=f"Add `{key}:`.")
    for name, entry in found.value.topics.items():
        shape = _merged(found.value.defaults, entry)
        if (
            isinstance(shape.replication, int)
            and isinstance(shape.min_insync, int)
            and shape.min_insync > shape.replication
        ):
            yield found.finding(
                "min-insync",
                f"{name}: min_insync {shape.min_insync} exceeds replication {shape.replication}.",
                "topics",
                name,
                fix="Lower min_insync, or nothing can be written.",
            )


def _check_topics(found: Document[TopologyFile], catalogue: Catalogue) -> Iterator[Finding]:
    known = {kind.topic: kind for kind in catalogue.types()}
    unknown = 0
    for name, entry in found.value.topics.items():
        try:
            owner = names.topic(name).agency
        except NameRefused as refused:
            yield found.finding("name", f"{refused}.", "topics", name)
            continue
        if name not in known:
            unknown += 1
            near = get_close_matches(name, known, n=1) if unknown <= MAX_SHOWN else []  # 0.1 ms each
            fix = f"Write {near[0]}." if near else "Add its contract to the catalogue first."
            yield found.finding("unknown-type", f"{name} is no event type of the catalogue.", "topics", name, fix=fix)
        if entry is not None and entry.owner not in {None, owner}:
            message = f"{name} belongs to {owner}, not to {entry.owner}."
            yield found.finding("owner", message, "topics", name, "owner", fix=f"Write owner: {owner}.")
    for name in sorted(set(known) - set(found.value.topics)):
        yield found.finding("missing-type", f"event type {name} has no topic.", "topics", fix=f"Add `{name}:`.")


def _check_groups(found: Document[TopologyFile]) -> Iterator[Finding]:
    file = found.value
    for group, entry in file.groups.items():
        place = ("groups", group)
        if not _GROUP.fullmatch(group) or len(group) > 200:
            yield found.finding("group", f"{group!r} is no group name.", *place, fix="Write, e.g., workflow.birth.")
        counts: dict[int | None, str] = {}
        for index, name in enumerate(entry.inputs):
            if name not in file.topics:
                near = get_close_matches(name, file.topics, n=1)
                fix = f"Write {near[0]}." if near else "Declare it under topics."
                yield found.finding(
                    "input", f"{group} reads {name}, which is not declared.", *place, "inputs", index, fix=fix
                )
                continue
            counts.setdefault(_merged(file.defaults, file.topics[name]).partitions, name)
        if len(counts) > 1:
            told = ", ".join(f"{name} has {count}" for count, name in counts.items())
            yield found.finding(
                "partition-mismatch",
                f"{group}: its inputs differ in partitions: {told}.",
                *place,
                fix="Give them one count: a case must stand on one partition number everywhere.",
            )

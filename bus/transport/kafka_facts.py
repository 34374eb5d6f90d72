"""Asks the brokers about themselves: how many, which version, settings, replicas out of sync, members of a group.

Called by `topics` (``auto`` replication), `doctor`, and workers at start. The trap it avoids: kafka-python lists only
settings that were changed at run time unless told otherwise, so a default that is unsafe would look like one that is
not set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from bus.errors import Unreachable
from bus.message import Partition
from bus.selfcheck import BrokerFacts
from bus.transport.kafka_client import asked, options, translated, unreachable


def read(bootstrap: str) -> BrokerFacts:
    """What the brokers at `bootstrap` say. Raises Unreachable; Refused when they will not tell."""
    import kafka

    doing = "ask the brokers about themselves"
    with translated(bootstrap, doing):
        client = kafka.KafkaAdminClient(**options(bootstrap, "agencybus-facts"))
    try:
        cluster = asked(bootstrap, doing, client.describe_cluster)
        ids = tuple(sorted(broker["broker_id"] for broker in cluster["brokers"] if not broker["is_fenced"]))
        if not ids:  # a broker that has just started is fenced until its controller has heard of it
            raise unreachable(bootstrap, "no broker of the cluster is up")
        turn = cycle(ids)  # one that died a moment ago is still listed: then the next is asked
        config, version = asked(bootstrap, doing, lambda: _one(client, next(turn)))
        topics = asked(bootstrap, doing, client.describe_topics)
    finally:
        client.close()
    behind = sorted(
        f"{topic['name']}[{p['partition_index']}]"
        for topic in topics
        for p in topic["partitions"]
        if len(p["isr_nodes"]) < len(p["replica_nodes"])
    )
    return BrokerFacts(cluster["cluster_id"], version, ids, config, tuple(behind))


def _one(client: Any, broker: int) -> tuple[dict[str, str], str]:
    """Settings and version of one broker, as itself says."""
    from kafka.admin import ConfigResource, ConfigResourceType

    wanted = [ConfigResource(ConfigResourceType.BROKER, str(broker))]
    entries = client.describe_configs(wanted, config_filter="all")["broker"][str(broker)]
    version = str(client.get_broker_version_data(broker)).strip("<>").removeprefix("BrokerVersionData ")
    return {key: entry["value"] for key, entry in entries.items() if entry["value"] is not None}, version


def newest(bootstrap: str, places: Sequence[Partition]) -> int | None:
    """The latest append time (ms since 1970) of these partitions, None of empty ones. Raises Unreachable, Refused."""
    import kafka
    from kafka.admin import OffsetSpec

    with translated(bootstrap, "ask for the newest records"):
        client = kafka.KafkaAdminClient(**options(bootstrap, "agencybus-facts"))
        try:
            asked_for = {kafka.TopicPartition(p.topic, p.number): OffsetSpec.MAX_TIMESTAMP for p in places}
            found = client.list_partition_offsets(asked_for)
        finally:
            client.close()
    return max((place.timestamp for place in found.values() if place.timestamp > 0), default=None)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group: its static name (None without one), how its client calls itself, and from where."""

    instance: str | None
    client_id: str
    host: str


def members(bootstrap: str, group: str) -> tuple[Member, ...]:
    """Who is in a consumer group now, dead ones included until their session ends. Raises Unreachable, Refused."""
    import kafka
    from kafka.errors import CoordinatorNotAvailableError

    doing = f"ask who is in group {group}"
    with translated(bootstrap, doing):
        client = kafka.KafkaAdminClient(**options(bootstrap, "agencybus-facts"))
    try:
        found = asked(bootstrap, doing, lambda: client.describe_groups([group]))
    except Unreachable as error:
        if isinstance(error.__cause__, CoordinatorNotAvailableError):  # the first group of a new cluster has nobody
            return ()
        raise
    finally:
        client.close()
    return tuple(
        Member(member["group_instance_id"], member["client_id"], member["client_host"].lstrip("/"))
        for member in found.get(group, {}).get("members", ())
    )

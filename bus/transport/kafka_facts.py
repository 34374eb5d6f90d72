"""Asks the brokers about themselves: how many, which version, settings, replicas out of sync, members of a group.

Called by `topics` (``auto`` replication), `doctor`, and workers at start. The trap it avoids: kafka-python lists only
settings that were changed at run time unless told otherwise, so a default that is unsafe would look like one that is
not set.
"""

from __future__ import annotations

from dataclasses import dataclass

from bus.errors import Unreachable
from bus.selfcheck import BrokerFacts
from bus.transport.kafka_client import asked, options, translated, unreachable


def read(bootstrap: str) -> BrokerFacts:
    """What the brokers at `bootstrap` say. Raises Unreachable; Refused when they will not tell."""
    import kafka
    from kafka.admin import ConfigResource, ConfigResourceType

    with translated(bootstrap, "ask the brokers about themselves"):
        client = kafka.KafkaAdminClient(**options(bootstrap, "agencybus-facts"))
        try:
            cluster = client.describe_cluster()
            ids = tuple(sorted(broker["broker_id"] for broker in cluster["brokers"] if not broker["is_fenced"]))
            if not ids:  # a broker that has just started is fenced until its controller has heard of it
                raise unreachable(bootstrap, "no broker of the cluster is up")
            some = str(ids[0])
            answer = client.describe_configs([ConfigResource(ConfigResourceType.BROKER, some)], config_filter="all")
            version = str(client.get_broker_version_data(ids[0])).strip("<>").removeprefix("BrokerVersionData ")
            topics = client.describe_topics()
        finally:
            client.close()
    config = {key: entry["value"] for key, entry in answer["broker"][some].items() if entry["value"] is not None}
    behind = sorted(
        f"{topic['name']}[{p['partition_index']}]"
        for topic in topics
        for p in topic["partitions"]
        if len(p["isr_nodes"]) < len(p["replica_nodes"])
    )
    return BrokerFacts(cluster["cluster_id"], version, ids, config, tuple(behind))


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

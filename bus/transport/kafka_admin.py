"""Topics and group offsets on Kafka, through kafka-python's admin client.

Called through the `Admin` port, and by `agents` for workers, traces and the demo. The traps it avoids: one bad group
fails a whole offset listing, so groups that vanish are asked one by one; the coordinator cache is never evicted, so
after a coordinator moved the client is made anew; and its "modified" filter also lists broker defaults as if set on the
topic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from bus.errors import Refused, Unreachable
from bus.message import Partition
from bus.ports import TopicState
from bus.transport.kafka_client import asked, options, translated, unreachable

_COORDINATOR_S = 20.0  # a new cluster makes its offsets topic when the first group asks for it
_PAUSE_S = 0.2
_GONE_S = 10.0  # a deleted topic leaves the metadata of all brokers within about a second
T = TypeVar("T")


class KafkaAdmin:
    """The `Admin` port on Kafka.

    Args:
        bootstrap: ``host:port``, several joined by commas.
        client_id: shown in the broker's logs and quotas.

    Raises:
        Unreachable: no broker answers.
    """

    def __init__(self, bootstrap: str, *, client_id: str = "agencybus") -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._client: Any = self._connect()

    def _connect(self) -> Any:
        import kafka

        with translated(self._bootstrap, "connect"):
            return kafka.KafkaAdminClient(**options(self._bootstrap, self._client_id))

    def topics(self) -> dict[str, TopicState]:
        """All topics but Kafka's internal ones, with the configuration set on the topic itself."""
        every = asked(self._bootstrap, "list topics", self._client.describe_topics)
        found = [t for t in every if not t["is_internal"] and not t["error_code"]]
        configs = self._configs([t["name"] for t in found])
        return {
            t["name"]: TopicState(
                name=t["name"],
                partitions=len(t["partitions"]),
                replication=min((len(p["replica_nodes"]) for p in t["partitions"]), default=0),
                config=configs.get(t["name"], {}),
            )
            for t in found
        }

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        from kafka.admin import ConfigResource, ConfigResourceType

        if not names:
            return {}
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        answer = asked(self._bootstrap, "describe topics", lambda: self._client.describe_configs(wanted))
        return {
            topic: {
                key: entry["value"]
                for key, entry in sorted(entries.items())
                if entry["config_source"] == "DYNAMIC_TOPIC_CONFIG"
            }
            for topic, entries in answer.get("topic", {}).items()
        }

    def create(self, topic: TopicState) -> None:
        """Create `topic` and wait until every partition has a leader; one that exists alike is no error.

        Raises:
            Refused: it exists with other partitions, replication or configuration, or the broker says no.
        """
        import kafka.errors as ke

        wanted = {
            topic.name: {
                "num_partitions": topic.partitions,
                "replication_factor": topic.replication,
                "configs": dict(topic.config),
            }
        }
        with translated(self._bootstrap, f"create topic {topic.name}"):
            try:
                self._client.create_topics(wanted, wait_for_metadata=True)
            except ke.TopicAlreadyExistsError:
                there = self.topics().get(topic.name)
                if there is None or (there.partitions, there.replication, dict(there.config)) != (
                    topic.partitions,
                    topic.replication,
                    dict(topic.config),
                ):
                    raise Refused(
                        f"Topic {topic.name} exists with other settings.",
                        field="topic",
                        remedy="See the difference with `agencybus topics plan`.",
                    ) from None

    def alter(self, topic: str, config: Mapping[str, str | None]) -> None:
        """Set configuration entries of `topic`; None unsets one. Raises Refused."""
        from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType

        changes = {
            key: (AlterConfigOp.DELETE, None) if value is None else (AlterConfigOp.SET, value)
            for key, value in config.items()
        }
        with translated(self._bootstrap, f"alter topic {topic}"):
            try:
                answer = self._client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, changes)])
            except ValueError as error:
                raise Refused(f"Kafka knows no such topic setting: {error}.", field="config") from None
        outcome = answer.get("topic", {}).get(topic)
        if outcome != "OK":
            raise Refused(f"Kafka refused to alter {topic}: {outcome}", field="config")

    def add_partitions(self, topic: str, total: int) -> None:
        """Grow `topic` to `total` partitions and wait until they are visible. Raises Refused when that is no growth."""
        with translated(self._bootstrap, f"grow topic {topic}"):
            self._client.create_partitions({topic: total})
            self._client.wait_for_topics([topic])

    def delete(self, topic: str) -> None:
        """Delete `topic` and wait until it is gone; one that is not there is no error.

        Raises:
            Unreachable: the broker does not answer, or still lists it after its deletion.
        """
        import kafka.errors as ke

        with translated(self._bootstrap, f"delete topic {topic}"):
            try:
                self._client.delete_topics([topic])
            except ke.UnknownTopicOrPartitionError:
                return
            give_up = time.monotonic() + _GONE_S
            while any(t["name"] == topic and not t["error_code"] for t in self._client.describe_topics()):
                if time.monotonic() > give_up:
                    raise unreachable(self._bootstrap, f"{topic} is still listed after its deletion")
                time.sleep(0.05)

    def groups(self) -> list[str]:
        """Ids of the consumer groups that have commits or members, sorted."""
        found = asked(self._bootstrap, "list groups", self._client.list_groups)
        return sorted({g["group_id"] for g in found})

    def committed(self, groups: Sequence[str]) -> dict[str, dict[Partition, int]]:
        """Committed offsets per group; a partition without a commit and a group that is gone are absent or empty."""
        import kafka.errors as ke

        if not groups:
            return {}
        try:
            found = self._offsets(list(groups))
        except Refused as error:
            if not isinstance(error.__cause__, ke.BrokerResponseError):
                raise
            found = {}
            for group in groups:  # one bad group spoils the joint answer: find the good ones
                try:
                    found.update(self._offsets([group]))
                except Refused:
                    found[group] = {}
        return {
            group: {
                Partition(tp.topic, tp.partition): place.offset for tp, place in places.items() if place.offset >= 0
            }
            for group, places in found.items()
        }

    def _offsets(self, groups: list[str]) -> dict[str, dict[Any, Any]]:
        return self._coordinated("read commits", lambda: self._client.list_group_offsets(groups))

    def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """Set the committed offsets of a group that has no members.

        Raises:
            Refused: the group has members (stop them first), or the broker says no.
        """
        import kafka
        import kafka.errors as ke
        from kafka.structs import OffsetAndMetadata

        offsets = {
            kafka.TopicPartition(p.topic, p.number): OffsetAndMetadata(offset, "", -1)
            for p, offset in positions.items()
        }

        def alter() -> dict[Any, Any]:
            found: dict[Any, Any] = self._client.alter_group_offsets(group, offsets)
            for error in found.values():
                if issubclass(error, _moving()):  # told per partition here, not as an exception
                    raise error
            return found

        answer = self._coordinated(f"set offsets of {group}", alter)
        for tp, error in answer.items():
            if error is ke.UnknownMemberIdError:
                raise Refused(
                    f"Group {group} has running members.", field="group", remedy="Stop them, then set its offsets."
                )
            if error is not ke.NoError:
                raise Refused(
                    f"Kafka refused the offset of {tp.topic}[{tp.partition}]: {error.__name__}", field="group"
                )

    def _coordinated(self, doing: str, call: Callable[[], T]) -> T:
        """Run `call`; while the coordinator moves or is being made, again with a new client.

        Its coordinator cache is never evicted.
        """
        give_up = time.monotonic() + _COORDINATOR_S
        while True:
            try:
                with translated(self._bootstrap, doing):
                    return call()
            except Unreachable as error:
                if not isinstance(error.__cause__, _moving()) or time.monotonic() > give_up:
                    raise
            time.sleep(_PAUSE_S)
            self._client.close()
            self._client = self._connect()

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def _moving() -> tuple[type[Exception], ...]:
    """The errors of a coordinator that is being made or moves."""
    import kafka.errors as ke

    return (ke.NotCoordinatorError, ke.CoordinatorNotAvailableError, ke.CoordinatorLoadInProgressError)

"""A group member on Kafka through kafka-python, committing only what it is told.

Made by `bus.transport.kafka`, polled by `bus.consume` and `connectors.office`. The traps it avoids: kafka-python
commits by timer and on close unless told not to; a broker accepts a commit for a partition this member no longer owns
as long as its generation is current, so ownership is checked here; without an explicit reset policy a new group would
silently start at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bus.errors import Fenced
from bus.message import Partition, Record
from bus.transport.kafka_client import options, translated
from bus.transport.kafka_reader import to_record
from bus.transport.rules import no_topic


class KafkaConsumer:
    """The `Consumer` port on Kafka; one thread.

    Args:
        bootstrap: ``host:port``, several joined by commas.
        topics: what to read.
        group: the consumer group.
        session_timeout_ms: how long the broker waits for a heartbeat before it gives the partitions away.
        max_poll_interval_ms: how long a handler may take between two polls before this member leaves by itself.
        client_id: shown in the broker's logs and quotas.

    Raises:
        Unreachable: no broker answers. Refused: a topic is not there.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        *,
        group: str,
        session_timeout_ms: int = 10_000,
        max_poll_interval_ms: int = 300_000,
        client_id: str = "agencybus",
    ) -> None:
        import kafka
        from kafka.coordinator.assignors.range import RangePartitionAssignor

        self._bootstrap = bootstrap
        self._group = group
        self._tp = kafka.TopicPartition
        with translated(bootstrap, f"join group {group}"):
            self._consumer = kafka.KafkaConsumer(
                **options(bootstrap, client_id),
                group_id=group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                partition_assignment_strategy=(RangePartitionAssignor,),  # A/n and B/n on one member (F63)
                session_timeout_ms=session_timeout_ms,
                heartbeat_interval_ms=max(500, session_timeout_ms // 5),
                max_poll_interval_ms=max_poll_interval_ms,
            )
            for topic in topics:
                if not self._consumer.partitions_for_topic(topic):
                    self._consumer.close(autocommit=False)
                    raise no_topic(topic)
            self._consumer.subscribe(list(topics))

    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        """Up to `max_records` records, waiting at most `timeout` seconds for the first."""
        with translated(self._bootstrap, f"read as {self._group}"):
            found = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=max_records)
        return [to_record(record) for records in found.values() for record in records]

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Store the next offset to read per partition.

        Raises:
            Fenced: a partition has moved to another member, or this one was put out of its group.
            Unreachable: the coordinator does not answer.
        """
        import kafka.errors as ke
        from kafka.structs import OffsetAndMetadata

        if not positions:
            return
        lost = sorted(set(positions) - self.assignment())
        if lost:
            raise Fenced(f"{lost[0].topic}[{lost[0].number}] belongs to another member of {self._group} now.")
        offsets = {self._tp(p.topic, p.number): OffsetAndMetadata(at, "", -1) for p, at in positions.items()}
        with translated(self._bootstrap, f"commit for {self._group}"):
            try:
                self._consumer.commit(offsets, timeout_ms=10_000)
            except (
                ke.CommitFailedError,
                ke.RebalanceInProgressError,
                ke.IllegalGenerationError,
                ke.UnknownMemberIdError,
                ke.FencedInstanceIdError,
            ) as error:
                raise Fenced(f"Group {self._group} has given this member's partitions away.") from error

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Continue from these offsets; a partition that is not owned is passed over."""
        owned = self.assignment()
        for p, at in positions.items():
            if p in owned:
                self._consumer.seek(self._tp(p.topic, p.number), at)

    def assignment(self) -> frozenset[Partition]:
        """The partitions this member owns now."""
        return frozenset(Partition(tp.topic, tp.partition) for tp in self._consumer.assignment())

    def close(self) -> None:
        """Leave the group; commits nothing."""
        with translated(self._bootstrap, f"leave group {self._group}"):
            self._consumer.close(autocommit=False, timeout_ms=5_000)

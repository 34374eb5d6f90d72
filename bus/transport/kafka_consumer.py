"""A group member on Kafka through kafka-python, committing only what it is told.

Made by `bus.transport.kafka`, polled by `bus.consume` and `connectors.office`. The traps it avoids: kafka-python
commits by timer and on close unless told not to; a broker accepts a commit for a partition this member no longer owns
as long as its generation is current, so ownership is checked here; without an explicit reset policy a new group would
silently start at the end; a partition that is kept through a rebalance goes on behind what was polled, so what the
reader has thrown away with the old assignment would be skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from bus.errors import Fenced, Refused
from bus.message import Partition, Record
from bus.transport.durability import refuse_weak_consumer
from bus.transport.kafka_client import asked, options, translated, unreachable
from bus.transport.kafka_reader import to_record
from bus.transport.rules import no_topic

_ANSWER_MS = 10_000  # for the coordinator or a leader to answer


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
        self._deals = _Deals()
        self._rewound = 0  # the rebalance after which every partition was last set back to its commit
        kafka.ConsumerRebalanceListener.register(_Deals)  # a base class would load the client with this module
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
            try:
                refuse_weak_consumer(self._consumer)
            except Refused:
                self._consumer.close(autocommit=False)
                raise
            for topic in topics:
                if not asked(bootstrap, f"join group {group}", partial(self._consumer.partitions_for_topic, topic)):
                    self._consumer.close(autocommit=False)
                    raise no_topic(topic)
            self._consumer.subscribe(list(topics), listener=self._deals)

    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        """Up to `max_records` records, waiting at most `timeout` seconds for the first."""
        with translated(self._bootstrap, f"read as {self._group}"):
            found = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=max_records)
            if (deal := self._deals.count) != self._rewound:
                self._rewind()
                self._rewound = deal  # only now: what has failed half-way is done again
                return []
        return [to_record(record) for records in found.values() for record in records]

    def _rewind(self) -> None:
        """Read every partition from its committed offset: the client goes on behind what it has handed out before."""
        for tp in self._consumer.assignment():
            committed = self._consumer.committed(tp)
            if committed is None:
                self._consumer.seek_to_beginning(tp)
            else:
                self._consumer.seek(tp, committed)

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
        self._check_owned(*positions)
        offsets = {self._tp(p.topic, p.number): OffsetAndMetadata(at, "", -1) for p, at in positions.items()}
        with translated(self._bootstrap, f"commit for {self._group}"):
            try:
                self._consumer.commit(offsets, timeout_ms=_ANSWER_MS)
            except (
                ke.CommitFailedError,
                ke.RebalanceInProgressError,
                ke.IllegalGenerationError,
                ke.UnknownMemberIdError,
                ke.FencedInstanceIdError,
            ) as error:
                raise Fenced(f"Group {self._group} has given this member's partitions away.") from error

    def _check_owned(self, *partitions: Partition) -> None:
        lost = sorted(set(partitions) - self.assignment())
        if lost:
            raise Fenced(f"{lost[0].topic}[{lost[0].number}] belongs to another member of {self._group} now.")

    def position(self, partition: Partition) -> int:
        """The offset of the next record of `partition` to be given.

        Raises:
            Fenced: the partition is not this member's.
            Unreachable: where it begins is not known yet, and the cluster does not say.
        """
        self._check_owned(partition)
        doing = f"find where {self._group} reads {partition.topic}[{partition.number}]"
        with translated(self._bootstrap, doing):
            found: int | None = self._consumer.position(
                self._tp(partition.topic, partition.number), timeout_ms=_ANSWER_MS
            )
        if found is None:
            raise unreachable(self._bootstrap, doing)
        return found

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Continue from these offsets; a partition that is not owned is passed over."""
        owned = self.assignment()
        for p, at in positions.items():
            if p in owned:
                self._consumer.seek(self._tp(p.topic, p.number), at)

    def pause(self, partitions: frozenset[Partition]) -> None:
        """Give no records of exactly these partitions until told otherwise."""
        wanted = {self._tp(p.topic, p.number) for p in partitions} & self._consumer.assignment()
        paused = self._consumer.paused()
        self._consumer.resume(*(paused - wanted))
        self._consumer.pause(*(wanted - paused))

    def generation(self) -> int:
        """Grows whenever partitions were dealt out anew."""
        return self._deals.count

    def assignment(self) -> frozenset[Partition]:
        """The partitions this member owned when it polled last."""
        return frozenset(Partition(tp.topic, tp.partition) for tp in self._consumer.assignment())

    def close(self) -> None:
        """Leave the group; commits nothing."""
        with translated(self._bootstrap, f"leave group {self._group}"):
            self._consumer.close(autocommit=False, timeout_ms=5_000)


class _Deals:
    """Counts the rebalances that gave this member its partitions, the same ones again included."""

    def __init__(self) -> None:
        self.count = 0

    def on_partitions_revoked(self, _: object) -> None:
        """Nothing: what is not committed is read again."""

    def on_partitions_lost(self, _: object) -> None:
        """Nothing, as above."""

    def on_partitions_assigned(self, _: object) -> None:
        """Partitions were dealt out."""
        self.count += 1

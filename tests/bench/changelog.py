"""Where the bare confluent-kafka loops keep their state: a compacted topic, as wide as the one they follow.

Imported by `confluent_loop` and `confluent_fenced`. The trap it avoids: rows of a transaction that was aborted, or is
still open, read back as state.
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

_AT_ONCE = 500
_FILL_S = 0.1  # how long an unfilled batch waits for more
_PATIENCE_S = 30.0
_EOF: int = KafkaError._PARTITION_EOF


class Changelog:
    """The topic ``<group>.changelog``.

    Args:
        bootstrap: the broker. group: whose state it is.
    """

    def __init__(self, bootstrap: str, group: str) -> None:
        self.topic = f"{group}.changelog"
        self._broker = {"bootstrap.servers": bootstrap}
        self._group = group

    def create(self, source: str) -> None:
        """Create it, unless there is one, with as many partitions as `source`."""
        admin = AdminClient(self._broker)
        partitions = len(admin.list_topics(source, _PATIENCE_S).topics[source].partitions)
        topic = NewTopic(self.topic, partitions, -1, config={"cleanup.policy": "compact"})
        try:
            admin.create_topics([topic])[self.topic].result(_PATIENCE_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    def rows(self, numbers: Sequence[int]) -> dict[int, list[tuple[bytes, bytes]]]:
        """(key, value) of some partitions, from the beginning to the end: the last row of a key is the one that holds.

        Raises:
            KafkaException: the broker refused something.
        """
        found: dict[int, list[tuple[bytes, bytes]]] = {number: [] for number in numbers}
        settings = {"group.id": self._group, "enable.auto.commit": False, "enable.partition.eof": True}
        reader = Consumer({**self._broker, **settings, "isolation.level": "read_committed"})
        reader.assign([TopicPartition(self.topic, number, OFFSET_BEGINNING) for number in numbers])
        open_ends = len(numbers)
        while open_ends:
            for message in reader.consume(_AT_ONCE, _FILL_S):
                if message.error() is None:
                    found[message.partition()].append((message.key(), message.value()))
                elif message.error().code() == _EOF:
                    open_ends -= 1
                else:
                    raise KafkaException(message.error())
        reader.close()
        return found

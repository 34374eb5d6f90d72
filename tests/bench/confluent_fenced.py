"""The yardstick with a fence: the loop of `confluent_loop`, one Kafka transaction per batch.

Started by `tests.bench.sides`. The same work: batches of at most 1,000 records; per case a count, a field of
the last event and the ids already applied; one changelog record per touched case and batch; one typed follow-up per
event. Here the answers, the changelog rows and the input offsets of a batch are stored together or not at all.

What holds, also over kill -9 and for a member that was paused and replaced: no event is lost, none counts twice, each
is answered, and a reader that reads committed sees the answer once (our worker may send it again under the same id).
The trap it avoids: the group alone is no fence, since it guards the offsets and nothing else. Who starts under the
transactional id ends its predecessor's open transaction before it reads the changelog, and the broker refuses whatever
the predecessor sends from then on. Without a successor, an open transaction ends after a minute; until then readers of
its topics stand still.

The id is the group's, so this is for one member. Several need an id each: the group then refuses what a former owner of
a partition sends, but not the commit of offsets it took before. So they must also wait, before they read a changelog,
for the transactions that are open in it.

What it does not have: timers, dead letters, memory of finite size, as the other.

Usage: python -m tests.bench.confluent_fenced BOOTSTRAP GROUP WORK HEARD_ID SAID_ID
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.bench.by_hand import ByHand
from tests.bench.changelog import Changelog
from tests.bench.confluent_loop import BATCH, FILL_S, Case

_PATIENCE_S = 60.0


class Cases:
    """The cases of the partitions this process owns."""

    def __init__(self) -> None:
        self._cases: dict[int, dict[bytes, Case]] = {}
        self._changed: set[tuple[int, bytes]] = set()

    def install(self, number: int, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the state of a partition from its changelog."""
        cases = self._cases[number] = {}
        for key, value in rows:
            row = json.loads(value)
            cases[key] = Case(row["events"], row["noted"], set(row["ids"]))

    def drop(self, number: int) -> None:
        """Forget a partition that another member takes over."""
        del self._cases[number]

    def apply(self, number: int, key: bytes, event_id: str, noted: str) -> bool:
        """Apply an event; whether it is new, and so to be answered."""
        case = self._cases[number].setdefault(key, Case())
        if event_id in case.ids:
            return False
        case.events += 1
        case.noted = noted
        case.ids.add(event_id)
        self._changed.add((number, key))
        return True

    def rows(self) -> list[tuple[int, bytes, bytes]]:
        """(partition, key, value) of each case changed since the last call."""
        found = []
        for number, key in self._changed:
            case = self._cases[number][key]
            row = {"events": case.events, "noted": case.noted, "ids": list(case.ids)}
            found.append((number, key, json.dumps(row).encode()))
        self._changed = set()
        return found


class Loop:
    """The consumer, the producer and the cases between them.

    Args:
        bootstrap: the broker. group: its consumer group, and its transactional id.
        by_hand: reads and answers an event.
    """

    def __init__(self, bootstrap: str, group: str, by_hand: ByHand) -> None:
        self._changelog = Changelog(bootstrap, group)
        self._by_hand = by_hand
        self._cases = Cases()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": group,
                "partitioner": "murmur2_random",  # the Java client's, as on every topic of the bus
                "delivery.report.only.error": True,
            }
        )

    def run(self) -> None:
        """Follow the topic until the process is told to end.

        Raises:
            KafkaException: the broker refused something, or this process was replaced; nothing of the batch is
                stored. Start again.
        """
        self._changelog.create(self._by_hand.work.topic)
        self._producer.init_transactions(_PATIENCE_S)  # from here on the predecessor is fenced
        self._consumer.subscribe([self._by_hand.work.topic], on_assign=self._assigned, on_revoke=self._revoked)
        try:
            while True:
                messages = self._consumer.consume(BATCH, FILL_S)
                if messages:
                    self._handle(messages)
        finally:
            self._consumer.close()

    def _handle(self, messages: list[Any]) -> None:
        """One batch, one transaction. Partitions come and go while records are awaited only, so never within one."""
        self._producer.begin_transaction()
        reached: dict[int, int] = {}
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            reached[message.partition()] = message.offset() + 1
            told = self._by_hand.read(message.key(), message.value(), message.headers())
            if self._cases.apply(message.partition(), told.case, told.id, told.noted):
                value, headers = self._by_hand.answer(told)
                self._producer.produce(self._by_hand.work.answers, value, told.case, headers=headers)
        for number, key, row in self._cases.rows():
            self._producer.produce(self._changelog.topic, row, key, number)
        self._producer.flush(_PATIENCE_S)  # now: the commit would do it, after the wait for the offsets
        places = [TopicPartition(self._by_hand.work.topic, number, offset) for number, offset in reached.items()]
        self._producer.send_offsets_to_transaction(places, self._consumer.consumer_group_metadata(), _PATIENCE_S)
        self._producer.commit_transaction(_PATIENCE_S)

    def _assigned(self, _consumer: Any, places: list[Any]) -> None:
        for number, rows in self._changelog.rows([place.partition for place in places]).items():
            self._cases.install(number, rows)

    def _revoked(self, _consumer: Any, places: list[Any]) -> None:
        for place in places:
            self._cases.drop(place.partition)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    bootstrap, group, work, heard, said = sys.argv[1:]
    Loop(bootstrap, group, ByHand(work, int(heard), int(said))).run()

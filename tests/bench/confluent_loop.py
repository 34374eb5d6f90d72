"""The yardstick without a fence: a bare confluent-kafka loop that keeps state and output over any crash.

Started by `tests.bench.sides`. Batches of at most 1,000 records; per case a count, a field of the last event and
the ids already applied; one changelog record per touched case and batch; one typed follow-up per event. Offsets are
committed when the outputs and the changelog of the batch are delivered (acks=all, idempotent), and a restart reads the
state back.

What holds, also over kill -9: no event is lost, none counts twice, each is answered, and an answer that is sent twice
carries one id. The trap it avoids: outputs and changelog leave together, so a crash may keep the row "applied" and
lose the answer; each row therefore names the ids of its own batch, and these are answered again after a restart.

What it does not have: a fence (a member that was paused and replaced may still write the changelog, and state loses an
effect: see `confluent_fenced`), timers, dead letters (a record it cannot read ends it), memory of finite size (it keeps
every case and every id for good).

Usage: python -m tests.bench.confluent_loop BOOTSTRAP GROUP WORK HEARD_ID SAID_ID
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

from tests.bench.by_hand import ByHand
from tests.bench.changelog import Changelog

BATCH = 1_000  # as our worker's fetches
FILL_S = 0.01  # how long an unfilled batch waits for more
_DELIVERY_S = 60.0


@dataclass(slots=True)
class Case:
    """What is kept of a case."""

    events: int = 0
    noted: str = ""
    ids: set[str] = field(default_factory=set)


class Cases:
    """The cases of the partitions this process owns."""

    def __init__(self) -> None:
        self._cases: dict[int, dict[bytes, Case]] = {}
        self._unsure: dict[int, set[str]] = {}  # applied before a restart, perhaps never answered
        self._touched: dict[tuple[int, bytes], list[str]] = {}  # ids answered in this batch
        self._changed: set[tuple[int, bytes]] = set()

    def install(self, number: int, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the state of a partition from its changelog."""
        cases, unsure = {}, {}
        for key, value in rows:
            row = json.loads(value)
            cases[key] = Case(row["events"], row["noted"], set(row["ids"]))
            unsure[key] = row["batch"]
        self._cases[number] = cases
        self._unsure[number] = {event_id for ids in unsure.values() for event_id in ids}

    def drop(self, number: int) -> None:
        """Forget a partition that another member takes over."""
        del self._cases[number], self._unsure[number]

    def apply(self, number: int, key: bytes, event_id: str, noted: str) -> bool:
        """Apply an event; whether it is to be answered."""
        case = self._cases[number].setdefault(key, Case())
        if event_id not in case.ids:
            case.events += 1
            case.noted = noted
            case.ids.add(event_id)
            self._changed.add((number, key))
        elif event_id not in self._unsure[number]:
            return False
        self._touched.setdefault((number, key), []).append(event_id)
        return True

    def rows(self) -> list[tuple[int, bytes, bytes]]:
        """(partition, key, value) of each case changed since the last call."""
        found = []
        for number, key in self._changed:
            case = self._cases[number][key]
            batch = self._touched[number, key]
            row = {"events": case.events, "noted": case.noted, "ids": list(case.ids), "batch": batch}
            found.append((number, key, json.dumps(row).encode()))
        self._touched, self._changed = {}, set()
        return found


class Loop:
    """The consumer, the producer and the cases between them.

    Args:
        bootstrap: the broker. group: its consumer group; the changelog is ``<group>.changelog``.
        by_hand: reads and answers an event.
    """

    def __init__(self, bootstrap: str, group: str, by_hand: ByHand) -> None:
        self._changelog = Changelog(bootstrap, group)
        self._by_hand = by_hand
        self._cases = Cases()
        self._undelivered: list[Any] = []
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
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",  # the Java client's, as on every topic of the bus
                "delivery.report.only.error": True,
                "on_delivery": lambda error, _message: self._undelivered.append(error),
            }
        )

    def run(self) -> None:
        """Follow the topic until the process is told to end.

        Raises:
            KafkaException: the broker refused something; start again.
            RuntimeError: something was not delivered; start again.
        """
        topic = self._by_hand.work.topic
        self._changelog.create(topic)
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked)
        try:
            while True:
                messages = self._consumer.consume(BATCH, FILL_S)
                if messages:
                    self._handle(messages)
        finally:
            self._consumer.close()

    def _handle(self, messages: list[Any]) -> None:
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            told = self._by_hand.read(message.key(), message.value(), message.headers())
            if self._cases.apply(message.partition(), told.case, told.id, told.noted):
                value, headers = self._by_hand.answer(told)
                self._producer.produce(self._by_hand.work.answers, value, told.case, headers=headers)
        for number, key, row in self._cases.rows():
            self._producer.produce(self._changelog.topic, row, key, number)
        left = self._producer.flush(_DELIVERY_S)
        if left or self._undelivered:
            raise RuntimeError(f"{left} records without an answer, not delivered: {self._undelivered[:3]}")
        for place in self._consumer.commit(asynchronous=False):
            if place.error:
                raise KafkaException(place.error)

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

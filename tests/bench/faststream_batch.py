"""The peer: FastStream with its aiokafka broker, a batch subscriber, one follow-up per event, no state at all.

Started by `tests.bench.sides`. Batches of at most 1,000 records; each follow-up has its own key and headers, so each is
published by itself (a `publish_batch` has one set of headers) without waiting, and all are awaited before the batch is
acknowledged. It keeps nothing of a case and knows no event again, so it does less than our worker: to be ahead of it is
to be ahead although more is done.

Usage: python -m tests.bench.faststream_batch BOOTSTRAP GROUP WORK HEARD_ID SAID_ID
"""

from __future__ import annotations

import asyncio
import logging
import sys

import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage

from tests.bench.by_hand import ByHand

BATCH = 1_000  # as our worker's fetches


def build(bootstrap: str, group: str, by_hand: ByHand) -> FastStream:
    """The application, as its documentation shows a batch subscriber."""
    broker = KafkaBroker(bootstrap, acks="all", enable_idempotence=True, log_level=logging.DEBUG)

    @broker.subscriber(  # type: ignore[untyped-decorator]  # not installed where types are checked
        by_hand.work.topic,
        batch=True,
        max_records=BATCH,
        group_id=group,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.ACK,
    )
    async def follow(events: list[bytes], message: KafkaMessage) -> None:
        confirmations = []
        for value, record in zip(events, message.raw_message, strict=True):
            told = by_hand.read(record.key, value, record.headers)
            answer, headers = by_hand.answer(told)
            confirmations.append(
                await broker.publish(
                    answer,
                    by_hand.work.answers,
                    key=told.case,
                    headers={name: said.decode() for name, said in headers},
                    no_confirm=True,
                )
            )
        await asyncio.gather(*confirmations)

    return FastStream(broker)


if __name__ == "__main__":
    bootstrap, group, work, heard, said = sys.argv[1:]
    uvloop.run(build(bootstrap, group, ByHand(work, int(heard), int(said))).run(logging.WARNING))

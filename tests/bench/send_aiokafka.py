"""The yardstick: bare aiokafka, `send` of ready bytes, all acknowledged.

Usage: python -m tests.bench.send_aiokafka BOOTSTRAP EVENTS RUN
"""

from __future__ import annotations

import asyncio
import sys

import aiokafka
import uvloop

from tests.bench.meter import metered
from tests.bench.ready import records
from tests.bench.recorded import TOPIC


async def main(bootstrap: str, events: int, run: str) -> None:
    ready = records(events, run)
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait(TOPIC, key=ready[0].key, value=ready[0].value, headers=list(ready[0].headers))
    with metered():
        sent = [await producer.send(TOPIC, key=r.key, value=r.value, headers=list(r.headers)) for r in ready[1:]]
        await asyncio.gather(*sent)
    await producer.stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))

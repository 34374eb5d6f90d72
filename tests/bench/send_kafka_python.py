"""The yardstick: bare kafka-python, `send` of ready bytes, all acknowledged.

Usage: python -m tests.bench.send_kafka_python BOOTSTRAP EVENTS RUN
"""

from __future__ import annotations

import sys

import kafka

from tests.bench.meter import metered
from tests.bench.ready import records
from tests.bench.recorded import TOPIC


def main(bootstrap: str, events: int, run: str) -> None:
    ready = records(events, run)
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    first = ready[0]
    producer.send(TOPIC, key=first.key, value=first.value, headers=list(first.headers)).get(30)
    with metered():
        sent = [producer.send(TOPIC, key=r.key, value=r.value, headers=list(r.headers)) for r in ready[1:]]
        for future in sent:
            future.get(60)
    producer.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])

"""Appends batches to a real broker byte for byte, as no client library would."""

from __future__ import annotations

from aiokafka import TopicPartition, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest


async def produce(bootstrap: str, topic: str, batches: list[bytes], *, partition: int = 0) -> None:
    """Append one batch after the other. Raises what the broker answers."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        await client.set_topics([topic])
        for data in batches:
            node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
            await client.ready(node)
            response = await client.send(node, ProduceRequest(None, -1, 10_000, [(topic, [(partition, data)])]))
            for _topic, answers in response.topics:
                for _partition, code, *_ in answers:
                    if code:
                        raise errors.for_code(code)()
    finally:
        await client.close()

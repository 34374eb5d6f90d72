"""Puts the splitter into the clients; called wherever one of our consumers is built.

Both clients read fetched bytes through names in their modules; rebinding them is enough and needs no subclass of a
consumer (F68, research/poison.md 2 and 3). The trap it avoids: a release of a client that no longer asks by these names
would read unguarded in silence, so a missing name is refused.
"""

from __future__ import annotations

from typing import Any

from bus.errors import Refused
from bus.transport.splitter import codecs

_installed: set[str] = set()


def into_aiokafka() -> None:
    """Guard every aiokafka consumer of this process from now on; a second call changes nothing.

    Raises:
        Refused: a codec is missing, or this aiokafka reads records in another way.
    """
    if "aiokafka" in _installed:
        return
    codecs.require()
    from aiokafka.consumer import fetcher

    _check(fetcher, "MemoryRecords", "PartitionRecords", "FetchResult")
    from bus.transport.splitter import aiokafka_records, split

    fetcher.MemoryRecords = split.Batches
    fetcher.PartitionRecords = aiokafka_records.SplitPartitionRecords
    fetcher.FetchResult = aiokafka_records.SplitFetchResult
    _installed.add("aiokafka")


def into_kafka_python() -> None:
    """Guard every kafka-python consumer of this process from now on; a second call changes nothing.

    Raises:
        Refused: a codec is missing, or this kafka-python reads records in another way.
    """
    if "kafka" in _installed:
        return
    codecs.require()
    from kafka.consumer import fetcher, group

    _check(fetcher, "MemoryRecords")
    _check(group, "Fetcher")
    _check(fetcher.Fetcher, "PartitionRecords", "_parse_fetched_data")
    from bus.transport.splitter import kafka_python_records

    fetcher.MemoryRecords = kafka_python_records.SizedBatches
    group.Fetcher = kafka_python_records.SplitFetcher
    _installed.add("kafka")


def _check(owner: Any, *names: str) -> None:
    for name in names:
        if not hasattr(owner, name):
            raise Refused(
                f"This Kafka client reads records without {owner.__name__}.{name}; they could not be guarded.",
                field="client",
                remedy="Install the versions that agencybus pins.",
            )

"""What a replay's workflow did, read back from the topics it wrote.

Called by `replay` once the workflow has followed everything. The trap it avoids: a report that repeats what the
reader counted. It reads only `replay.activity.followed.v1` and `bus.deadline.missed.v1`, each event once by source
and id, of this run's cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bus.message import Partition, Record
from bus.ports import Reader
from connectors.replay_events import Tally
from schemas.codec import Codec
from schemas.envelope import Envelope, fingerprint, format_time, from_headers
from schemas.recorded import ActivityFollowed

FOLLOWED = "replay.activity.followed.v1"
MISSED = "bus.deadline.missed.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The closing report of a replay.

    Args:
        followed: what the workflow took note of.
        deadline_breaches: cases whose deadline it found missed.
        host: faust or aiokafka. seconds: from the first event published to the last followed.
    """

    run: str
    followed: Tally
    deadline_breaches: int
    host: str
    seconds: float

    def document(self) -> dict[str, Any]:
        """The report as one JSON document; times in UTC."""
        tally = self.followed
        return {
            "run": self.run,
            "cases": tally.cases,
            "events": tally.events,
            "activities": dict(sorted(tally.activities.items())),
            "outcomes": dict(sorted(tally.outcomes.items())),
            "deadline_breaches": self.deadline_breaches,
            "first": format_time(tally.first) if tally.first else None,
            "last": format_time(tally.last) if tally.last else None,
            "host": self.host,
            "seconds": round(self.seconds, 3),
        }


def places(reader: Reader, topic: str) -> dict[Partition, int]:
    """Where each partition of `topic` ends now. Raises Refused when there is no such topic."""
    found = [Partition(topic, number) for number in range(reader.partitions(topic))]
    return {partition: end for partition, (_, end) in reader.bounds(found).items()}


def count(reader: Reader, codec: Codec, *, run: str, starts: Mapping[Partition, int]) -> tuple[Tally, int]:
    """Count followed activities and missed deadlines of `run` from `starts` to the ends of both topics.

    Args:
        reader: reads both topics.
        codec: decodes them.
        run: id of the run.
        starts: by partition, the offset to begin at; 0 where none is given.

    Raises:
        Poison, EnvelopeRefused: a record of this run cannot be read.
        Unreachable: the broker does not answer.
    """
    tally = Tally()
    for record, envelope in _own(reader, FOLLOWED, run, starts):
        followed = codec.decode(record.value or b"", ActivityFollowed, record.headers)
        opens = followed.sequence == 1
        tally.add(followed.activity, time=envelope.time, opens=opens, closes=followed.last)
    late = {envelope.correlationid for _, envelope in _own(reader, MISSED, run, starts)}
    return tally, len(late)


def _own(reader: Reader, topic: str, run: str, starts: Mapping[Partition, int]) -> Iterator[tuple[Record, Envelope]]:
    """The records of this run, each event once."""
    prefix, seen = f"{run}/".encode(), set[str]()
    for partition, end in places(reader, topic).items():
        for record in reader.read(partition, starts.get(partition, 0), end):
            if not (record.key or b"").startswith(prefix):
                continue
            envelope = from_headers(record.headers)
            mark = fingerprint(envelope.source, envelope.id)
            if mark not in seen:
                seen.add(mark)
                yield record, envelope

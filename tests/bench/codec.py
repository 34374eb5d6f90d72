"""The codec alone: our generated writer and reader against the obvious way with pydantic and fastavro.

Called by `tests.bench.__main__`, run as a program per round. The traps it avoids: two ways that do not make the same
bytes (asserted first), and one side measured while the other's garbage is collected (taken in turns, best of several).

Usage: python -m tests.bench.codec EVENTS
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from io import BytesIO

import fastavro

from schemas.avro import schema_of
from schemas.catalogue import standard
from schemas.codec import Codec
from schemas.event import Event
from schemas.recorded import ActivityRecorded
from tests.bench import recorded
from tests.bench.child import result_of
from tests.bench.cluster import Cluster
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.statistics import ratios, spread

NAME = "codec"
BARS = {"encode": 0.5, "decode": 0.7}
_TURNS = 7
_FRAME = 5


def measure(cluster: Cluster | None, *, rounds: int, events: int, say: Say) -> Report:
    """Microseconds per event of each way, `rounds` fresh processes. No broker is used."""
    del cluster
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, us in json.loads(result_of("tests.bench.codec", [str(min(events, 2_000))])).items():
            found.setdefault(name, []).append(us)
        say(f"codec {number + 1}/{rounds}: " + ", ".join(f"{name} {runs[-1]:.1f} us" for name, runs in found.items()))
    rows, bars = [], []
    for work, target in BARS.items():
        ours, obvious = found[f"{work}, ours"], found[f"{work}, obvious"]
        against = spread(ratios(ours, obvious))
        rows.append(Row(f"{work}, ours", "us", spread(ours), against))
        rows.append(Row(f"{work}, pydantic and fastavro", "us", spread(obvious)))
        bars.append(Bar(f"{work}, ours over the obvious way", against.median, target, at_least=False))
    return Report(NAME, "one recorded event with its attributes", rows, bars)


def main(events: int) -> None:
    codec = Codec(standard())
    schema = fastavro.parse_schema(schema_of(ActivityRecorded))
    made = [event for *_, event in recorded.events(events, run="codec")]
    frames = [codec.encode(event) for event in made]

    def obvious_write(event: Event) -> bytes:
        out = BytesIO()
        fastavro.schemaless_writer(out, schema, event.model_dump())
        return out.getvalue()

    def obvious_read(frame: bytes) -> ActivityRecorded:
        body: dict[str, datetime] = fastavro.schemaless_reader(BytesIO(frame[_FRAME:]), schema)
        return ActivityRecorded.model_validate(body)

    assert [obvious_write(event) for event in made] == [frame[_FRAME:] for frame in frames]
    assert [obvious_read(frame) for frame in frames] == made == [codec.decode(f, ActivityRecorded) for f in frames]
    ways: dict[str, Callable[[], object]] = {
        "encode, ours": lambda: [codec.encode(event) for event in made],
        "encode, obvious": lambda: [obvious_write(event) for event in made],
        "decode, ours": lambda: [codec.decode(frame, ActivityRecorded) for frame in frames],
        "decode, obvious": lambda: [obvious_read(frame) for frame in frames],
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(_TURNS):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            best[name] = min(best[name], (time.perf_counter() - begin) / events * 1e6)
    json.dump(best, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""The codec alone: our generated writer and reader against the obvious way with pydantic and fastavro.

Called by `tests.bench.__main__`, run as a program per round. The traps it avoids: ways that do not make the same bytes
and the same event (asserted first), and one way measured while a neighbour works (taken in turns, median of them).

Usage: python -m tests.bench.codec
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from statistics import median

import fastavro

from schemas.avro import schema_of
from schemas.catalogue import Catalogue
from schemas.codec import Codec
from schemas.event import Event
from tests.bench.child import result_of
from tests.bench.cluster import Cluster
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.samples import samples
from tests.bench.statistics import Spread, ratios, spread
from tests.bench.wide import Wide

NAME = "codec"
WRITE, READ = "encode", "decode"
OBVIOUS_WRITE, OBVIOUS_READ = "model_dump + fastavro", "fastavro + model_validate"
_TURNS, _CALLS = 9, 2_000
_FRAME = 5


def measure(cluster: Cluster | None, *, rounds: int, events: int, say: Say) -> Report:
    """Microseconds per event of each way, `rounds` fresh processes. No broker is used, `events` does not matter."""
    del cluster, events
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for contract, told in json.loads(result_of("tests.bench.codec", [])).items():
            for way, us in told.items():
                found.setdefault(contract, {}).setdefault(way, []).append(us)
        say(f"codec {number + 1}/{rounds}")
    rows: list[Row] = []
    against: dict[tuple[str, str], Spread] = {}
    for contract, ways in found.items():
        for ours, obvious in ((WRITE, OBVIOUS_WRITE), (READ, OBVIOUS_READ)):
            against[contract, ours] = spread(ratios(ways[ours], ways[obvious]))
            rows.append(Row(f"{contract}: {ours}", "us", spread(ways[ours]), against[contract, ours]))
            rows.append(Row(f"{contract}: {obvious}", "us", spread(ways[obvious])))
    wide = Wide.__name__
    bars = [
        Bar(f"{wide}: {WRITE} over {OBVIOUS_WRITE}", against[wide, WRITE].median, 0.5, at_least=False),
        Bar(f"{wide}: {READ} over {OBVIOUS_READ}", against[wide, READ].median, 0.7, at_least=False),
    ]
    return Report(NAME, "one event, in process; ratio to the obvious way", rows, bars)


def main() -> None:
    """Measure every sample and print the microseconds by contract and way."""
    json.dump({type(event).__name__: times(_ways(event)) for event in samples()}, sys.stdout)


def _ways(event: Event) -> dict[str, Callable[[], object]]:
    model = type(event)
    codec = Codec(Catalogue([model]))
    schema = fastavro.parse_schema(schema_of(model))
    frame = codec.encode(event)
    body = frame[_FRAME:]

    def obvious_write() -> bytes:
        out = BytesIO()
        fastavro.schemaless_writer(out, schema, event.model_dump())
        return out.getvalue()

    def obvious_read() -> Event:
        return model.model_validate(fastavro.schemaless_reader(BytesIO(body), schema, None), strict=False)

    assert obvious_write() == body
    assert obvious_read() == event == codec.decode(frame, model)
    return {
        WRITE: lambda: codec.encode(event),
        OBVIOUS_WRITE: obvious_write,
        READ: lambda: codec.decode(frame, model),
        OBVIOUS_READ: obvious_read,
    }


def times(ways: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds of a call of each way, taken in turns: the median of them."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_TURNS):
        for name, way in ways.items():
            begin = time.thread_time()
            for _ in range(_CALLS):
                way()
            taken[name].append((time.thread_time() - begin) / _CALLS * 1e6)
    return {name: median(found) for name, found in taken.items()}


if __name__ == "__main__":
    main()

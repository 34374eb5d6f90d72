"""What the splitter costs on clean traffic: both clients' record readers, stock and guarded, on the same fetched bytes.

Called by `tests.bench.__main__`, run as a program per round. The traps it avoids: one side measured while a neighbour
works (the sides take turns, median of them), sides that read different records (asserted first), and a stock
kafka-python without the compiled checksum, which would flatter the guarded one.

Usage: python -m tests.bench.splitting
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median

from aiokafka.record._crecords import cutil
from kafka.record import default_records

from tests.bench.child import result_of
from tests.bench.cluster import Cluster
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.statistics import Spread, ratios, spread
from tests.bus.transport.splitter.encoder import batch, record
from tests.bus.transport.splitter.readers import GUARDED, STOCK, Reader

NAME = "splitter"
_BARRED = ("100 a batch", "100 a batch, zstd")
_CASES = {_BARRED[0]: (100, "none"), _BARRED[1]: (100, "zstd"), "10 a batch": (10, "none"), "1 a batch": (1, "none")}
_MOST = 1.2
_TURNS, _RECORDS = 15, 2_000
_HEADERS = [
    (b"ce_specversion", b"1.0"),
    (b"ce_id", b"0f8fad5b-d9cb-469f-a165-70867728950e"),
    (b"ce_source", b"/agencies/health"),
    (b"ce_type", b"health.birth.notified.v1"),
    (b"ce_time", b"2026-01-05T08:00:00.000000Z"),
    (b"ce_correlationid", b"birth-000001"),
    (b"ce_dataschema", b"urn:agencybus:schema:123456789"),
    (b"content-type", b"application/avro"),
]


def measure(cluster: Cluster | None, *, rounds: int, events: int, say: Say) -> Report:
    """Microseconds per record of each side, `rounds` fresh processes. No broker is used, `events` does not matter."""
    del cluster, events
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for case, times in json.loads(result_of("tests.bench.splitting", [])).items():
            for side, us in times.items():
                found.setdefault(case, {}).setdefault(side, []).append(us)
        say(f"splitter {number + 1}/{rounds}")
    rows: list[Row] = []
    against: dict[str, Spread] = {}
    for case, sides in found.items():
        against[case] = spread(ratios(sides["guarded"], sides["stock"]))
        rows.append(Row(f"{case}: guarded", "us", spread(sides["guarded"]), against[case]))
        rows.append(Row(f"{case}: stock", "us", spread(sides["stock"])))
    bars = [
        Bar(f"{case}: guarded over stock", against[case].median, _MOST, at_least=False)
        for case in found
        if case.endswith(_BARRED)
    ]
    return Report(NAME, "one record out of fetched bytes, in process; ratio to the stock client", rows, bars)


def main() -> None:
    """Measure both clients at every size and print the microseconds by case and side."""
    default_records.calc_crc32c = cutil.crc32c_cython
    found = {
        f"{client}, {case}": _times(client, _fetched(size, codec))
        for client in STOCK
        for case, (size, codec) in _CASES.items()
    }
    json.dump(found, sys.stdout)


def _fetched(size: int, codec: str) -> bytes:
    records = [record(i, key=b"birth-000001", value=bytes(120), headers=_HEADERS) for i in range(size)]
    return b"".join(batch(records, base=base, codec=codec) for base in range(0, _RECORDS, size))


def _times(client: str, data: bytes) -> dict[str, float]:
    sides: dict[str, Reader] = {"stock": STOCK[client], "guarded": GUARDED[client]}
    ours, theirs = (
        [(row.offset, row.timestamp, row.key, row.value, list(row.headers)) for row in reader(data, 0).records]
        for reader in sides.values()
    )
    assert ours == theirs
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(_TURNS if client == "aiokafka" else _TURNS // 3):
        for side, reader in sides.items():
            begin = time.thread_time()
            found = reader(data, 0)
            times[side].append((time.thread_time() - begin) / _RECORDS * 1e6)
            assert len(found.records) == _RECORDS
    return {side: median(figures) for side, figures in times.items()}


if __name__ == "__main__":
    main()

"""Batches changed at random, and what must hold of a log with one of them; used by the tests and by the torture."""

from __future__ import annotations

import random
import struct
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from aiokafka.record._crecords.cutil import crc32c_cython

from bus.message import Unreadable
from tests.bus.transport.splitter.encoder import CODECS, Log, batch, good, record
from tests.bus.transport.splitter.readers import GUARDED, read_all

_BASE = 3
_EDGES = (0, 1, 0x7F, 0x80, 0xFF)


def originals(chance: random.Random) -> list[bytes]:
    """Good batches of every codec, a transaction marker, and what compaction leaves."""
    found = []
    for codec in (*CODECS, "xerial"):
        for count in (1, 3, 8):
            records = [
                record(
                    i,
                    key=b"key%d" % i,
                    value=b"v%d" % i * chance.randrange(1, 20),
                    headers=[(b"ce_id", b"%d" % i), (b"x", None)][: chance.randrange(3)],
                )
                for i in range(count)
            ]
            found.append(batch(records, base=_BASE, codec=codec))
    many = [record(i, value=b"v%d" % i) for i in range(130)]  # read in several chunks
    found += [batch(many, base=_BASE), batch(many, base=_BASE, codec="zstd")]
    found.append(batch([record(0, key=b"\0\0\0\1", value=b"")], base=_BASE, attributes=0x30, producer=(7, 0, 0)))
    found.append(batch([record(2), record(5)], base=_BASE, last_delta=7, count=2))
    found.append(batch([], base=_BASE, last_delta=7, count=0))
    return found


def mutated(chance: random.Random, original: bytes) -> bytes:
    """A change or several; length and checksum are mostly made right again, so that the records are looked at."""
    data = bytearray(original)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        _change(chance, data)
    if chance.random() < 0.85 and len(data) >= 12:
        data[8:12] = struct.pack(">i", len(data) - 12)
    if chance.random() < 0.8 and len(data) >= 61:
        data[17:21] = struct.pack(">I", crc32c_cython(bytes(data[21:])))
    return bytes(data)


def _change(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(8, max(9, len(data)))
    if chance.random() < 0.3:
        at = chance.randrange(12, 61)  # the header, less what a broker goes by
    at = min(at, len(data) - 1)
    match chance.randrange(6):
        case 0:
            data[at] = chance.randrange(256)
        case 1:
            data[at] ^= 1 << chance.randrange(8)
        case 2:
            data[at:at] = chance.randbytes(chance.randrange(1, 5))
        case 3:
            del data[at : at + chance.randrange(1, 5)]
        case 4:
            data[at : at + 1] = bytes([chance.choice(_EDGES)]) * chance.randrange(1, 11)
        case _:
            data[at] = chance.choice(_EDGES)


@dataclass
class Tally:
    """What a run of the fuzzer saw."""

    reasons: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def run(count: int, seed: int) -> Tally:
    """Read `count` logs, each with one changed batch between good ones, through both clients in turn."""
    chance = random.Random(seed)
    batches = originals(chance)
    tally = Tally()
    for number in range(count):
        name = list(GUARDED)[number % len(GUARDED)]
        original = chance.choice(batches)
        last = _BASE + struct.unpack_from(">i", original, 23)[0]
        log = Log()
        log.add(good(_BASE), last=_BASE - 1)
        log.batches.append((_BASE, last, data := mutated(chance, original)))
        log.add(good(2, base=last + 1), last=last + 2)
        fault = _fault(name, log, last, tally)
        if fault:
            tally.faults.append(f"{fault}: {name}, seed {seed}, number {number}: {data.hex()}")
    return tally


def _fault(name: str, log: Log, last: int, tally: Tally) -> str | None:
    try:
        found = read_all(GUARDED[name], log)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what this looks for
        return f"{type(error).__name__}: {error}"
    values = [row.value for row in found]
    offsets = [row.offset for row in found]
    tally.reasons.update(str(value.reason) for value in values if isinstance(value, Unreadable))
    if values[:3] != [b"g0", b"g1", b"g2"] or values[-2:] != [b"g%d" % (last + 1), b"g%d" % (last + 2)]:
        return "a good neighbour is lost"
    if any(one >= other for one, other in pairwise(offsets)):
        return "the offsets do not rise"
    return "the splitter failed" if tally.reasons["internal"] else None

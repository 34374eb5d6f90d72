"""Batches that no broker stores; the suite puts them into fetch answers, as a broken disk or a broken broker would.

Each is made of a batch of three honest records, and has the length of what it replaces (`proxy.Swap`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from tests.torture.poison.corpus_batches import raw_records
from tests.torture.poison.kit import FINE, WIRE, Evil, Kit
from tests.torture.poison.wire import CODECS, GZIP, LZ4, SNAPPY, ZSTD, Batch, Item, squeeze

_JUNK = random.Random(4).randbytes(256)


def _packed(codec: int, change: Callable[[bytes], bytes]) -> Callable[[Batch], Batch]:
    return lambda batch: replace(batch, payload=change(squeeze(raw_records(batch), codec)), codec_bits=codec)


def _evils() -> list[Evil]:
    lost: dict[str, Callable[[Batch], Batch]] = {
        "a wrong checksum": lambda batch: replace(batch, crc=lambda honest: honest ^ 1),
        "codec 5": lambda batch: replace(batch, codec_bits=5),
        "codec 7": lambda batch: replace(batch, codec_bits=7),
        "the control flag": lambda batch: replace(batch, attributes=0x20),
        "the control and the transaction flag": lambda batch: replace(batch, attributes=0x30, producer=(7, 1, 0)),
        "junk for records": lambda batch: replace(batch, payload=_JUNK),
    }
    lost |= {
        f"{what}, {CODECS[codec]}": _packed(codec, change)
        for codec in (GZIP, SNAPPY, LZ4, ZSTD)
        for what, change in {
            "cut short": lambda raw: raw[: len(raw) // 2],
            "junk": lambda raw: _JUNK,
            "a byte turned": lambda raw: raw[:40] + bytes([raw[40] ^ 0xFF]) + raw[41:],
        }.items()
        if codec in (GZIP, ZSTD) or what != "a byte turned"  # the others may not notice, and nor do brokers
    }
    endless: dict[str, Callable[[Batch], Batch]] = {
        "2^31-1 records": lambda batch: replace(batch, count=2**31 - 1),
        **{f"format {number}": _format(number) for number in (-1, 0, 1, 3)},
    }
    told_wrong: dict[str, Callable[[Batch], Batch]] = {
        "two records more than there are": lambda batch: replace(batch, count=5),
        "a negative count": lambda batch: replace(batch, count=-3),
        "a last offset a million away": lambda batch: replace(batch, last_delta=1_000_000),
        "a last offset before its first": lambda batch: replace(batch, last_delta=-5),
        "the transaction flag": lambda batch: replace(batch, attributes=0x10, producer=(7, 1, 0)),
        "bytes after its records": lambda batch: replace(batch, tail=bytes(40)),
    }
    records: dict[str, Callable[[Item], Item]] = {
        "a header name of length -1": lambda item: replace(item, name_length=-1),
        "a header name of length 2^31-1": lambda item: replace(item, name_length=2**31 - 1),
        "5 headers more than there are": lambda item: replace(item, header_count=len(item.headers) + 5),
        "-1 headers": lambda item: replace(item, header_count=-1),
        "2^31-1 headers": lambda item: replace(item, header_count=2**31 - 1),
        "a key of length 2^31-1": lambda item: replace(item, key_length=2**31 - 1),
        "a value of length 2^31-1": lambda item: replace(item, value_length=2**31 - 1),
        "a record 3 too long": lambda item: replace(item, length=lambda honest: honest + 3),
        "a record 3 too short": lambda item: replace(item, length=lambda honest: honest - 3),
    }
    return [
        *(Evil(name, WIRE, batch=change, whole=True, refused=True) for name, change in lost.items()),
        *(Evil(name, WIRE, batch=change, whole=True, loose=True, refused=True) for name, change in endless.items()),
        *(Evil(name, FINE, batch=change, refused=True) for name, change in told_wrong.items()),
        *(Evil(name, WIRE, _bend(change), refused=True) for name, change in records.items()),
        Evil("zeros for records", WIRE, batch=lambda batch: replace(batch, payload=bytes(200)), refused=True),
    ]


def _format(number: int) -> Callable[[Batch], Batch]:
    return lambda batch: replace(batch, magic=number)


def _bend(change: Callable[[Item], Item]) -> Callable[[Kit, Item], Item]:
    return lambda kit, item: change(item)


REFUSED = _evils()

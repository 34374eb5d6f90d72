"""Hostile batches that brokers store (research/poison.md, table 1): what the stock clients wedge on, lose or die of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import chain

from tests.torture.poison.kit import FINE, WIRE, Evil, Kit
from tests.torture.poison.wire import (
    CODECS,
    GZIP,
    HEAD_SIZE,
    LZ4,
    NONE,
    SNAPPY,
    ZSTD,
    Batch,
    Item,
    encode,
    squeeze,
    squeeze_stream,
    varint,
    zeros,
)

MB, GB = 1 << 20, 1 << 30
_NAMES = {
    "FF FE": b"\xff\xfe",
    "half a surrogate pair": b"\xed\xa0\x80",
    "an overlong NUL": b"\xc0\x80",
    "a character cut short": b"x\xe2\x82",
}
_LENGTHS: dict[str, Callable[[int], int]] = {
    "3 too long": lambda honest: honest + 3,
    "3 too short": lambda honest: honest - 3,
    "negative": lambda honest: -honest,
    "0": lambda honest: 0,
    "2^31-1": lambda honest: 2**31 - 1,
}


def _named(raw: bytes) -> Callable[[Kit, Item], Item]:
    return lambda kit, item: replace(item, headers=(*item.headers, (raw, b"x")))


def _header_names() -> list[Evil]:
    return [
        Evil(f"a header name with {what}, {CODECS[codec]}", WIRE, _named(raw), codec=codec)
        for codec in CODECS
        for what, raw in _NAMES.items()
        if codec in (NONE, GZIP) or what == "FF FE"
    ]


def _lengths() -> list[Evil]:
    def bend(lie: Callable[[int], int]) -> Callable[[Kit, Item], Item]:
        return lambda kit, item: replace(item, length=lie)

    return [
        Evil(f"a record length {what}, {CODECS[codec]}", WIRE, bend(lie), codec=codec)
        for codec in (GZIP, SNAPPY, LZ4, ZSTD)
        for what, lie in _LENGTHS.items()
    ]


def _offsets() -> list[Evil]:
    def bend(delta: int) -> Callable[[Kit, Item], Item]:
        return lambda kit, item: replace(item, delta=delta)

    single = [
        Evil(f"an offset {delta:+,} away, {CODECS[codec]}", WIRE, bend(delta), codec=codec, refused=codec != NONE)
        for delta in (1_000_000, -1_000, 7, 2**31 - 1)
        for codec in (NONE, GZIP)
    ]
    same = Evil(
        "three records at one offset", WIRE, batch=lambda batch: replace(batch, items=_at_zero(batch)), spared=(0,)
    )
    back = Evil("offsets in reverse", WIRE, batch=lambda batch: replace(batch, items=_reversed(batch)), spared=(1,))
    return [*single, same, back]


def _at_zero(batch: Batch) -> list[Item]:
    return [replace(item, delta=0) for item in batch.items]


def _reversed(batch: Batch) -> list[Item]:
    return [replace(item, delta=len(batch.items) - 1 - place) for place, item in enumerate(batch.items)]


def _framed(inside: int, before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """What stands before and after `inside` bytes so that they become a part of one record."""
    size = len(before) + inside + len(after)
    return varint(size) + before, after


@cache
def inflated(codec: int, size: int) -> bytes:
    """A batch's payload: one record whose value is `size` zero bytes."""
    before, after = _framed(size, b"\0" + varint(0) + varint(0) + varint(-1) + varint(size), varint(0))
    if codec == SNAPPY:
        return squeeze(b"".join([before, *zeros(size), after]), codec)
    return squeeze_stream(chain([before], zeros(size), [after]), codec)


@cache
def crowd(count: int) -> bytes:
    """A payload of `count` records of nothing."""
    return squeeze_stream((_tiny(i) for i in range(count)), ZSTD)


def _tiny(place: int) -> bytes:
    body = b"\0" + varint(0) + varint(place) + varint(-1) + varint(-1) + varint(0)
    return varint(len(body)) + body


@cache
def headed(count: int) -> bytes:
    """A payload of one record with `count` headers of nothing."""
    one = varint(0) + varint(-1)
    head = b"\0" + varint(0) + varint(0) + varint(-1) + varint(-1) + varint(count)
    before, _ = _framed(count * len(one), head, b"")
    pieces = [one * 100_000] * (count // 100_000)
    return squeeze_stream([before, *pieces], ZSTD)


def _payload(make: Callable[[], bytes], codec: int, count: int = 1) -> Callable[[Batch], Batch]:
    return lambda batch: Batch(payload=make(), codec=codec, codec_bits=codec, count=count, last_delta=count - 1)


def bomb(codec: int, size: int) -> Evil:
    """A batch that unpacks to `size` bytes."""
    name = f"{size // MB:,} MB of zeros, {CODECS[codec]}"
    batch = _payload(lambda: inflated(codec, size), codec)
    return Evil(name, WIRE, batch=batch, whole=True, heavy=size == GB and codec != ZSTD)


def _bombs() -> list[Evil]:
    sizes = [(GZIP, 64 * MB), (SNAPPY, 64 * MB), (LZ4, 64 * MB), (ZSTD, 64 * MB), (ZSTD, GB), (GZIP, GB), (LZ4, GB)]
    bombs = [bomb(codec, size) for codec, size in sizes]
    crowds = [
        Evil("600,000 records of nothing", WIRE, batch=_payload(lambda: crowd(600_000), ZSTD, 600_000), whole=True),
        Evil("8 million headers of nothing", WIRE, batch=_payload(lambda: headed(8_000_000), ZSTD), whole=True),
        Evil("200,000 headers of nothing", WIRE, batch=_payload(lambda: headed(200_000), ZSTD), whole=True),
        Evil("a record of 3 MB, lz4", WIRE, batch=_payload(lambda: inflated(LZ4, 3 * MB), LZ4), whole=True),
    ]
    return bombs + crowds


def _harmless() -> list[Evil]:
    """Odd, stored, and no reason to stop."""
    bends: dict[str, Callable[[Kit, Item], Item]] = {
        "a header without a value": lambda kit, item: replace(item, headers=(*item.headers, (b"x", None))),
        "an empty header name": lambda kit, item: replace(item, headers=(*item.headers, (b"", b""))),
        "a time before 1970": lambda kit, item: replace(item, time_delta=-(2**44)),
        "unused attribute bits": lambda kit, item: replace(item, attributes=0x7F),
        "200 headers": lambda kit, item: replace(item, headers=(*item.headers, *[(b"h", b"v")] * 200)),
    }
    odd = [Evil(name, FINE, bend, codec=codec) for name, bend in bends.items() for codec in (NONE, ZSTD)]
    crowded = [
        Evil(
            "a thousand headers", WIRE, lambda kit, item: replace(item, headers=item.headers + ((b"h", b""),) * 1_000)
        ),
        Evil("headers of 100 KB", WIRE, lambda kit, item: replace(item, headers=(*item.headers, (b"h", bytes(10**5))))),
    ]
    return [
        *odd,
        *crowded,
        Evil("an unknown producer", FINE, batch=lambda batch: replace(batch, producer=(987_654, 3, 0))),
        Evil("a time of the year 3000", FINE, batch=lambda batch: replace(batch, max_time=32_503_680_000_000)),
    ]


def raw_records(batch: Batch) -> bytes:
    """The uncompressed records of a batch."""
    return encode(replace(batch, codec=NONE, payload=None))[HEAD_SIZE:]


BATCHES = [*_header_names(), *_lengths(), *_offsets(), *_bombs(), *_harmless()]

"""Writes record batches as Kafka stores them, right or wrong in one place, and a log that answers fetches with them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import cramjam
import lz4.frame
import zstandard
from aiokafka.record._crecords.cutil import crc32c_cython

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
HeaderList = Sequence[tuple[bytes | None, bytes | None]]


def varint(number: int) -> bytes:
    raw = ((number << 1) ^ (number >> 63)) & (2**64 - 1)
    out = bytearray()
    while raw >= 0x80:
        out.append((raw & 0x7F) | 0x80)
        raw >>= 7
    out.append(raw)
    return bytes(out)


def sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def record(
    delta: int,
    *,
    key: bytes | None = b"k",
    value: bytes | None = b"v",
    headers: HeaderList = (),
    time_delta: int = 0,
    length: int = 0,
    header_count: int | None = None,
    exact_length: int | None = None,
) -> bytes:
    """A record; `length` is added to its true length, `exact_length` stands instead."""
    count = len(headers) if header_count is None else header_count
    body = b"".join(
        (
            b"\0",
            varint(time_delta),
            varint(delta),
            sized(key),
            sized(value),
            varint(count),
            *(sized(name) + sized(content) for name, content in headers),
        )
    )
    return varint(len(body) + length if exact_length is None else exact_length) + body


def packed(codec: str, data: bytes) -> bytes:
    match codec:
        case "none":
            return data
        case "gzip":
            return gzip.compress(data)
        case "snappy":
            return bytes(cramjam.snappy.compress_raw(data))
        case "xerial":
            block = bytes(cramjam.snappy.compress_raw(data))
            return b"\x82SNAPPY\0" + struct.pack(">iii", 1, 1, len(block)) + block
        case "lz4":
            return bytes(lz4.frame.compress(data, block_linked=False))
        case _:
            return zstandard.ZstdCompressor().compress(data)


def batch(
    records: Sequence[bytes],
    *,
    base: int = 0,
    codec: str = "none",
    count: int | None = None,
    last_delta: int | None = None,
    attributes: int = 0,
    codec_id: int | None = None,
    magic: int = 2,
    producer: tuple[int, int, int] = (-1, -1, -1),
    body: bytes | None = None,
    tail: bytes = b"",
    first_time: int = 1_700_000_000_000,
    max_time: int = 1_700_000_000_999,
    flip_checksum: bool = False,
) -> bytes:
    """A batch; what is not given is right."""
    payload = packed(codec, b"".join(records) + tail) if body is None else body
    number = CODECS["snappy" if codec == "xerial" else codec] if codec_id is None else codec_id
    checked = struct.pack(
        ">hiqqqhii",
        attributes | number,
        len(records) - 1 if last_delta is None else last_delta,
        first_time,
        max_time,
        *producer,
        len(records) if count is None else count,
    )
    checked += payload
    checksum = crc32c_cython(checked) ^ (1 if flip_checksum else 0)
    return struct.pack(">qiibI", base, len(checked) + 9, 5, magic, checksum) + checked


def good(n: int, *, base: int = 0, codec: str = "none", prefix: str = "g") -> bytes:
    """A batch of `n` good records, each value its offset."""
    return batch(
        [
            record(i, key=b"key", value=f"{prefix}{base + i}".encode(), headers=[(b"ce_id", b"%d" % i)])
            for i in range(n)
        ],
        base=base,
        codec=codec,
    )


@dataclass
class Log:
    """Batches at their true places, which a broker knows by its index and not by what they say.

    Args:
        window: how many batches a fetch brings.
    """

    window: int = 100
    batches: list[tuple[int, int, bytes]] = field(default_factory=list)
    fetches: int = 0

    def add(self, data: bytes, *, last: int) -> None:
        """Append a batch whose true last offset is `last`."""
        self.batches.append((struct.unpack_from(">q", data)[0], last, data))

    @property
    def end(self) -> int:
        return self.batches[-1][1] + 1

    def fetch(self, position: int) -> bytes:
        self.fetches += 1
        found = [data for _, last, data in self.batches if last >= position]
        return b"".join(found[: self.window])

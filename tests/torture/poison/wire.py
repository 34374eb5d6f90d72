"""Record batches (v2) with any lie in them, and the raw Produce request that offers them to a broker.

Used by `corpus`. Written from the format's description and not through a client's encoder, because clients refuse to
lie; `test_wire` holds what is honest here to what both clients read. The trap it avoids: a bomb built in memory costs
the test as much as its victim, so bombs are compressed as a stream.
"""

from __future__ import annotations

import gzip
import socket
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import cramjam
import lz4.frame
import zstandard
from aiokafka.record._crecords import cutil

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODECS = {NONE: "none", GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}
NOW_MS = 1_790_000_000_000
_HEAD = struct.Struct(">qiibIhiqqqhii")
HEAD_SIZE = _HEAD.size  # 61
_CHUNK = bytes(1 << 20)
Header = tuple[bytes, bytes | None]


def varint(number: int) -> bytes:
    """Zigzag, as Kafka writes every number inside a record."""
    rest = (number << 1) ^ (number >> 63)
    rest &= (1 << 64) - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _field(raw: bytes | None, length: int | None = None) -> bytes:
    """Bytes behind their length; `length` is the lie."""
    honest = -1 if raw is None else len(raw)
    return varint(honest if length is None else length) + (raw or b"")


@dataclass(frozen=True, slots=True)
class Item:
    """One record and its lies.

    Args:
        key, value, headers: what it carries; header names are bytes, so they need not be UTF-8.
        delta: its offset less the batch's; None for its place in the batch.
        time_delta: milliseconds. attributes: unused bits.
        length: stands for the record's length; a function of the honest one.
        key_length, value_length, name_length: stand for these lengths. header_count: for how many headers there are.
    """

    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[Header, ...] = ()
    delta: int | None = None
    time_delta: int = 0
    attributes: int = 0
    length: Callable[[int], int] = field(default=lambda honest: honest)
    key_length: int | None = None
    value_length: int | None = None
    name_length: int | None = None
    header_count: int | None = None


def record(item: Item, place: int) -> bytes:
    """The bytes of `item` at its `place` in the batch."""
    delta = place if item.delta is None else item.delta
    body = bytearray([item.attributes])
    body += varint(item.time_delta) + varint(delta)
    body += _field(item.key, item.key_length) + _field(item.value, item.value_length)
    body += varint(len(item.headers) if item.header_count is None else item.header_count)
    for name, value in item.headers:
        body += _field(name, item.name_length) + _field(value)
    return varint(item.length(len(body))) + bytes(body)


def squeeze(raw: bytes, codec: int) -> bytes:
    """`raw` compressed as Kafka's producers do."""
    match codec:
        case 1:
            return gzip.compress(raw, mtime=0)
        case 2:
            return bytes(cramjam.snappy.compress_raw(raw))
        case 3:
            return bytes(lz4.frame.compress(raw, block_linked=False))
        case 4:
            return zstandard.ZstdCompressor().compress(raw)
        case _:
            return raw


def squeeze_stream(parts: Iterable[bytes], codec: int) -> bytes:
    """As `squeeze`, without ever holding what it will become; gzip, lz4 and zstd."""
    out = bytearray()
    if codec == GZIP:
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        for part in parts:
            out += packer.compress(part)
        return bytes(out + packer.flush())
    if codec == LZ4:
        with lz4.frame.LZ4FrameCompressor(block_linked=False) as frame:
            out += frame.begin()
            for part in parts:
                out += frame.compress(part)
            return bytes(out + frame.flush())
    stream = zstandard.ZstdCompressor().compressobj()
    for part in parts:
        out += stream.compress(part)
    return bytes(out + stream.flush())


def zeros(size: int) -> Iterator[bytes]:
    """`size` zero bytes in pieces."""
    for _ in range(size >> 20):
        yield _CHUNK
    yield bytes(size & ((1 << 20) - 1))


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch and its lies.

    Args:
        items: its records. payload: stands for all of their bytes, compressed; then `items` only count.
        codec: what compresses the records. codec_bits: what the head says of it, when that is another.
        attributes: further bits (0x10 transactional, 0x20 control).
        count, last_delta: what the head says of how many records there are.
        magic: the format. crc: a function of the honest checksum. base: base offset, which brokers replace.
        producer: id, epoch and first sequence number. time, max_time: milliseconds.
        tail: bytes after the records. length: a function of the honest length.
    """

    items: Sequence[Item] = ()
    payload: bytes | None = None
    codec: int = NONE
    codec_bits: int | None = None
    attributes: int = 0
    count: int | None = None
    last_delta: int | None = None
    magic: int = 2
    crc: Callable[[int], int] = field(default=lambda honest: honest)
    base: int = 0
    producer: tuple[int, int, int] = (-1, -1, -1)
    time: int = NOW_MS
    max_time: int = NOW_MS
    tail: bytes = b""
    length: Callable[[int], int] = field(default=lambda honest: honest)


def encode(batch: Batch) -> bytes:
    """The bytes of a batch."""
    raw = b"".join(record(item, place) for place, item in enumerate(batch.items)) + batch.tail
    body = squeeze(raw, batch.codec) if batch.payload is None else batch.payload
    count = len(batch.items) if batch.count is None else batch.count
    last = len(batch.items) - 1 if batch.last_delta is None else batch.last_delta
    bits = (batch.codec if batch.codec_bits is None else batch.codec_bits) | batch.attributes
    sealed = struct.pack(">hiqqqhii", bits, last, batch.time, batch.max_time, *batch.producer, count) + body
    crc = batch.crc(cutil.crc32c_cython(sealed)) & 0xFFFFFFFF
    size = batch.length(len(sealed) + 9)
    return struct.pack(">qiibI", batch.base, size, 0, batch.magic, crc) + sealed


class RawProducer:
    """Offers batches to a broker as they are: Produce version 8, acks=all, one connection.

    Args:
        bootstrap: ``host:port`` of the leader of everything (one broker).
    """

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._correlation = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def send(self, topic: str, partition: int, batch: bytes) -> tuple[int, int]:
        """Kafka's error code (0: stored) and the base offset the broker gave."""
        self._correlation += 1
        name = topic.encode()
        request = (
            struct.pack(">hhih", 0, 8, self._correlation, 6)
            + b"poison"
            + struct.pack(">hhiih", -1, -1, 60_000, 1, len(name))
            + name
            + struct.pack(">iii", 1, partition, len(batch))
            + batch
        )
        self._socket.sendall(len(request).to_bytes(4, "big") + request)
        answer = self._read(int.from_bytes(self._read(4), "big"))
        at = 4 + 4 + 2 + len(name) + 4 + 4  # correlation, topics, name, partitions, partition
        code, base = struct.unpack_from(">hq", answer, at)
        return code, base

    def _read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            piece = self._socket.recv(size - len(found))
            if not piece:
                raise ConnectionError("the broker closed the connection: it could not read the request")
            found += piece
        return bytes(found)

"""Unpacks a batch under a cap, for each of Kafka's codecs.

Called by the splitter before the client's reader sees a compressed batch, and by `install`, which refuses to work
without all four. The trap it avoids: the clients' decoders take any size; 33 kB became 2.9 GB, and under a memory limit
the codec library aborts the process (research/poison.md 1).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from struct import unpack_from
from typing import Any

from bus.errors import Refused
from bus.transport.splitter.structure import Malformed, Reason

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
NAMES = {GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}
_XERIAL = b"\x82SNAPPY\x00"  # Java's snappy stream: 16 bytes of head, then blocks with their lengths
_XERIAL_HEAD = 16
_CHUNK = 1 << 18
_MOST_STREAMS = 100  # in one batch; clients write one. A megabyte of empty ones took 2 to 4 s of copying
# the word `codecs`, packed by each codec: a decoder counts as installed when it gives it back
_SAMPLES = {
    GZIP: bytes.fromhex("1f8b08000000000002034bce4f494d2e0600b64d445906000000"),
    SNAPPY: bytes.fromhex("0614636f64656373"),
    LZ4: bytes.fromhex("04224d1860408206000080636f6465637300000000"),
    ZSTD: bytes.fromhex("28b52ffd2006310000636f64656373"),
}


def decompress(codec: int, data: bytes, cap: int) -> bytes:
    """What `data` unpacks to.

    Args:
        codec: its number in the batch's attributes.
        data: the packed records.
        cap: bytes.

    Raises:
        Malformed: with `Reason.CODEC`, `Reason.COMPRESSION`, or `Reason.BOMB` when it is more than `cap`.
    """
    decoder = _DECODERS.get(codec)
    if decoder is None:
        raise Malformed(Reason.CODEC)
    try:
        found = decoder(data, cap)
    except Malformed:
        raise
    except Exception:  # noqa: BLE001  # five libraries, each with errors of its own
        raise Malformed(Reason.COMPRESSION) from None
    if len(found) > cap:
        raise Malformed(Reason.BOMB)
    return found


def require() -> None:
    """Make sure that every codec decodes: any producer may use any, and a batch is lost without.

    Raises:
        Refused: naming those that do not.
    """
    missing = [NAMES[codec] for codec, sample in _SAMPLES.items() if not _decodes(codec, sample)]
    if missing:
        raise Refused(
            f"Compressed records cannot be read: {', '.join(missing)} does not decode on this machine.",
            field="codec",
            remedy="Install agencybus again with all its dependencies (lz4, zstandard, cramjam).",
        )


def _decodes(codec: int, sample: bytes) -> bool:
    try:
        return decompress(codec, sample, 64) == b"codecs"
    except Malformed:
        return False


def _gzip(data: bytes, cap: int) -> bytes:
    # zero bytes may pad a member, as Python's own reader has it
    return _streams(lambda: zlib.decompressobj(31), data, cap, padding=b"\0")


def _streams(decoder: Callable[[], Any], data: bytes, cap: int, *, padding: bytes = b"") -> bytes:
    """What streams one after the other unpack to; each but the last is followed by a copy of the rest."""
    found, streams = b"", 0
    while data and len(found) <= cap:
        one, streams = decoder(), streams + 1
        found += one.decompress(data, cap + 1 - len(found))
        if streams > _MOST_STREAMS or not (one.eof or len(found) > cap):
            raise Malformed(Reason.COMPRESSION)
        data = (one.unused_data or b"").lstrip(padding)
    return found


def _snappy(data: bytes, cap: int) -> bytes:
    if not data.startswith(_XERIAL):
        return _snappy_block(data, cap)
    if len(data) < _XERIAL_HEAD:
        raise Malformed(Reason.COMPRESSION)
    found: list[bytes] = []
    at, size = _XERIAL_HEAD, 0
    while at < len(data):
        (length,) = unpack_from(">i", data, at)
        at += 4
        if not 0 <= length <= len(data) - at:
            raise Malformed(Reason.COMPRESSION)
        block = _snappy_block(data[at : at + length], cap - size)
        size += len(block)
        found.append(block)
        at += length
    return b"".join(found)


def _snappy_block(data: bytes, cap: int) -> bytes:
    import cramjam

    size = shift = at = 0
    while True:  # a block begins with the size it unpacks to
        byte = data[at]
        size |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
        if shift > 28:
            raise Malformed(Reason.COMPRESSION)
    if size > cap:
        raise Malformed(Reason.BOMB)
    return bytes(cramjam.snappy.decompress_raw(data))


def _lz4(data: bytes, cap: int) -> bytes:
    import lz4.frame

    return _streams(lz4.frame.LZ4FrameDecompressor, data, cap)


def _zstd(data: bytes, cap: int) -> bytes:
    import zstandard

    _zstd_is_whole(data)
    found: list[bytes] = []
    size = 0
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
        while size <= cap and (chunk := reader.read(min(_CHUNK, cap + 1 - size))):
            found.append(chunk)
            size += len(chunk)
    return b"".join(found)


def _zstd_is_whole(data: bytes) -> None:
    """Refuse a cut stream, of which the library hands out the beginning without a word (RFC 8878, 3.1.1)."""
    import zstandard

    at = 0
    while at < len(data):
        frame = zstandard.get_frame_parameters(data[at : at + 18])
        at += zstandard.frame_header_size(data[at : at + 18])
        last = 0
        while not last:
            head = int.from_bytes(data[at : at + 3], "little") if at + 3 <= len(data) else 0
            last, kind, size = head & 1, (head >> 1) & 3, head >> 3
            at += 3 + (1 if kind == 1 else size)  # a run stores one byte for all
            if at > len(data):
                raise Malformed(Reason.COMPRESSION)
        at += 4 * frame.has_checksum
    if at != len(data):
        raise Malformed(Reason.COMPRESSION)


_DECODERS: dict[int, Callable[[bytes, int], bytes]] = {GZIP: _gzip, SNAPPY: _snappy, LZ4: _lz4, ZSTD: _zstd}

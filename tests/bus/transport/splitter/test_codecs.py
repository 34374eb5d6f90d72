"""Each codec unpacks what the clients pack, nothing beyond the cap, and raises one error on anything else."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from contextlib import suppress

import cramjam
import lz4.frame
import pytest
import zstandard
from aiokafka import codec as stock
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import Refused
from bus.transport.splitter import codecs
from bus.transport.splitter.structure import Malformed, Reason

MIB = 1 << 20
PACK: dict[int, Callable[[bytes], bytes]] = {
    codecs.GZIP: stock.gzip_encode,
    codecs.SNAPPY: stock.snappy_encode,
    codecs.LZ4: stock.lz4_encode,
    codecs.ZSTD: stock.zstd_encode,
}


@given(codec=st.sampled_from(sorted(PACK)), data=st.binary(max_size=2000), times=st.integers(1, 50))
def test_what_a_client_packs_is_unpacked_at_any_cap_that_holds_it(codec: int, data: bytes, times: int) -> None:
    packed = PACK[codec](data * times)
    assert codecs.decompress(codec, packed, len(data) * times) == data * times
    assert codecs.decompress(codec, packed, MIB) == data * times


@pytest.mark.parametrize("codec", sorted(PACK))
@pytest.mark.parametrize("over", [1, 1000, 16 * MIB])
def test_what_is_larger_than_the_cap_is_named_a_bomb(codec: int, over: int) -> None:
    with pytest.raises(Malformed) as refused:
        codecs.decompress(codec, PACK[codec](bytes(MIB + over)), MIB)
    assert refused.value.reason is Reason.BOMB


def test_a_raw_snappy_block_s_size_is_believed_before_it_is_unpacked() -> None:
    bomb = bytes(cramjam.snappy.compress_raw(bytes(4 * MIB)))
    assert codecs.decompress(codecs.SNAPPY, bomb, 4 * MIB) == bytes(4 * MIB)
    with pytest.raises(Malformed, match="bomb"):
        codecs.decompress(codecs.SNAPPY, bomb, 4 * MIB - 1)


def test_several_frames_or_members_in_a_row_are_one_payload_under_one_cap() -> None:
    rows = {
        codecs.GZIP: gzip.compress(b"a" * 1000) + gzip.compress(b"b" * 1000),
        codecs.LZ4: bytes(lz4.frame.compress(b"a" * 1000)) + bytes(lz4.frame.compress(b"b" * 1000)),
        codecs.ZSTD: zstandard.compress(b"a" * 1000) + zstandard.compress(b"b" * 1000),
    }
    for codec, packed in rows.items():
        assert codecs.decompress(codec, packed, 2000) == b"a" * 1000 + b"b" * 1000
        with pytest.raises(Malformed, match="bomb"):
            codecs.decompress(codec, packed, 1999)


@pytest.mark.parametrize("codec", [codecs.GZIP, codecs.LZ4])
def test_so_many_streams_in_a_row_that_copying_their_rest_would_take_seconds_are_refused(codec: int) -> None:
    packed = PACK[codec](b"a")
    assert codecs.decompress(codec, packed * 100, MIB) == b"a" * 100
    with pytest.raises(Malformed, match="compression"):
        codecs.decompress(codec, packed * 101, MIB)


@pytest.mark.parametrize("codec", sorted(PACK))
def test_every_cut_of_a_payload_is_refused_and_none_unpacks_to_its_beginning(codec: int) -> None:
    packed = PACK[codec](b"".join(b"%d" % i for i in range(20_000)))
    for end in {1, 2, 5, 9, 17, len(packed) // 3, len(packed) // 2, len(packed) - 5, len(packed) - 1}:
        if codec == codecs.SNAPPY and end < 9:
            continue  # too short to be told from a raw block
        with pytest.raises(Malformed):
            codecs.decompress(codec, packed[:end], MIB)


@given(codec=st.integers(0, 7), data=st.binary(max_size=300))
def test_junk_is_refused_with_one_error_or_is_a_payload_by_chance(codec: int, data: bytes) -> None:
    with suppress(Malformed):
        codecs.decompress(codec, data, 1000)
        assert codec in PACK


@given(codec=st.sampled_from(sorted(PACK)), at=st.integers(0, 200), to=st.integers(0, 255))
def test_a_changed_byte_is_refused_with_one_error_or_changes_what_is_unpacked(codec: int, at: int, to: int) -> None:
    packed = bytearray(PACK[codec](b"".join(b"%d," % i for i in range(100))))
    packed[at % len(packed)] = to
    with suppress(Malformed):
        assert len(codecs.decompress(codec, bytes(packed), 10_000)) <= 10_000


@pytest.mark.parametrize("length", [-1, -(2**31), 2**31 - 1, 100])
def test_a_snappy_stream_whose_blocks_lie_about_their_length_is_refused(length: int) -> None:
    packed = b"\x82SNAPPY\0" + struct.pack(">iii", 1, 1, length) + b"\x01\0a"
    with pytest.raises(Malformed, match="compression"):
        codecs.decompress(codecs.SNAPPY, packed, 1000)


def test_a_number_without_codec_is_refused() -> None:
    for number in (0, 5, 6, 7):
        with pytest.raises(Malformed, match="codec"):
            codecs.decompress(number, b"x", 10)


def test_all_four_decode_here() -> None:
    codecs.require()


def test_a_missing_codec_is_refused_by_name_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(data: bytes, cap: int) -> bytes:
        raise ImportError("No module named 'lz4'")

    monkeypatch.setitem(codecs._DECODERS, codecs.LZ4, absent)
    with pytest.raises(Refused, match="lz4 does not decode") as refused:
        codecs.require()
    assert "lz4" in refused.value.remedy

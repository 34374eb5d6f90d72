"""The encoder of hostile batches tells the truth unless asked to lie: both clients read what it wrote."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords as Aiokafka
from hypothesis import given
from hypothesis import strategies as st
from kafka.record import MemoryRecords as KafkaPython

from tests.torture.poison.wire import (
    CODECS,
    HEAD_SIZE,
    ZSTD,
    Batch,
    Item,
    encode,
    squeeze,
    squeeze_stream,
    varint,
    zeros,
)

BYTES = st.none() | st.binary(max_size=40)
NAMES = st.text(max_size=8).map(str.encode)
ITEMS = st.builds(
    Item,
    key=BYTES,
    value=BYTES,
    headers=st.lists(st.tuples(NAMES, BYTES), max_size=3).map(tuple),
    time_delta=st.integers(-1000, 1000),
)


def read(client: Any, data: bytes) -> list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]]:
    found = []
    records = client(data)
    while records.has_next():
        batch = records.next_batch()
        assert batch.validate_crc()
        found += [(r.offset, r.key, r.value, list(r.headers)) for r in batch]
    return found


@pytest.mark.parametrize("client", [Aiokafka, KafkaPython])
@given(items=st.lists(ITEMS, min_size=1, max_size=5), codec=st.sampled_from(sorted(CODECS)), base=st.integers(0, 2**40))
def test_an_honest_batch_is_read_by_both_clients_as_it_was_meant(
    client: Any, items: list[Item], codec: int, base: int
) -> None:
    expected = [(base + i, x.key, x.value, [(n.decode(), v) for n, v in x.headers]) for i, x in enumerate(items)]
    assert read(client, encode(Batch(items, codec=codec, base=base))) == expected


@given(st.integers(-(2**31), 2**31 - 1))
def test_a_varint_is_kafkas_zigzag(number: int) -> None:
    raw, value = varint(number), 0
    for i, byte in enumerate(raw):
        value |= (byte & 0x7F) << (7 * i)
    assert (value >> 1) ^ -(value & 1) == number
    assert all(byte & 0x80 for byte in raw[:-1])
    assert not raw[-1] & 0x80


@pytest.mark.parametrize("codec", [1, 3, 4])
def test_a_bomb_packed_as_a_stream_opens_to_its_zeros(codec: int) -> None:
    size = 3_000_001
    value = b"".join(zeros(size))
    assert len(value) == size
    packed = squeeze_stream(zeros(size), codec)
    assert len(packed) < 20_000
    items = [Item(value=b"x")]
    whole = encode(Batch(items, codec=codec))
    assert whole[HEAD_SIZE:] == squeeze(encode(Batch(items))[HEAD_SIZE:], codec)
    assert read(
        Aiokafka,
        encode(Batch([Item(value=b"x")], payload=squeeze_stream([encode(Batch(items))[61:]], ZSTD), codec=ZSTD)),
    )


def test_a_lie_changes_the_bytes_it_is_told_of_and_keeps_the_checksum_right() -> None:
    honest, lying = Item(value=b"x"), Item(value=b"x", length=lambda n: n + 3)
    assert encode(Batch([honest])) != encode(Batch([lying]))
    records = Aiokafka(encode(Batch([lying])))
    assert records.next_batch().validate_crc()

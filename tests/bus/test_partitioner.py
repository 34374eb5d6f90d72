from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import murmur2 as reference

from bus.partitioner import murmur2, partition_for


@given(st.binary(max_size=64))
def test_the_hash_is_the_one_of_kafka_python_for_any_key(key: bytes) -> None:
    assert murmur2(key) == reference(key) & 0xFFFFFFFF


@given(st.binary(max_size=64), st.integers(1, 200))
def test_a_partition_is_within_the_topic_and_as_aiokafka_says(key: bytes, count: int) -> None:
    number = partition_for(key, count)
    assert 0 <= number < count
    assert number == DefaultPartitioner()(key, list(range(count)), list(range(count)))

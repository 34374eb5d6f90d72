"""Which partition a key belongs to: the Java client's murmur2, so that all clients agree.

Called wherever a record batch is built by hand (publisher, workflow outputs, dead letters) or a case is looked up. The
trap it avoids: Python's own `hash` or another hash function would put one case on two partitions as soon as a second
client writes to the topic.
"""

from __future__ import annotations

from functools import lru_cache

_SEED = 0x9747B28C  # org.apache.kafka.common.utils.Utils.murmur2
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """The 32-bit murmur2 hash of `key` as Kafka's Java client computes it, unsigned.

    Source: org.apache.kafka.common.utils.Utils.murmur2; test vectors in UtilsTest of the same project.
    """
    length = len(key)
    h = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        k = (int.from_bytes(key[at : at + 4], "little") * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if length & 3:
        h = ((h ^ int.from_bytes(key[whole:], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=16_384)  # 4 MB; a case has several events; hashing in Python costs about 5 us, a look-up 0.1 us
def partition_for(key: bytes, count: int) -> int:
    """The partition, from 0, of `key` on a topic with `count` partitions.

    Args:
        key: the record key; keyless records are spread by the caller.
        count: number of partitions, at least 1.
    """
    return (murmur2(key) & 0x7FFFFFFF) % count

"""Remembers which bytes were fetched before, so that a fault is believed only when it comes again.

Asked by `split` about batches that cannot be parsed at all. What is read of such a batch is not proven, its last offset
included; a fault on the wire or in a cache is gone the next time. The trap it avoids: moving past good records because
of a number in bytes that were broken on their way.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from threading import Lock

from bus.transport.splitter import limits

_MOST = 1024  # places remembered; far more than partitions that can be stuck at once

Place = tuple[str, int, int]  # topic, partition, offset


class Sightings:
    """How often the same bytes were fetched at a place. Safe for several threads."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Place, tuple[int, int]] = OrderedDict()
        self._lock = Lock()

    def believed(self, place: Place, raw: bytes) -> bool:
        """Note one fetch of `raw` at `place`; True from the third one on that brings the same bytes."""
        return self.count(place, raw) >= limits.FETCHES

    def count(self, place: Place, raw: bytes) -> int:
        """Note one fetch of `raw` at `place`; how many in a row brought the same bytes."""
        mark = zlib.crc32(raw)
        with self._lock:
            before, times = self._seen.pop(place, (mark, 0))
            times = times + 1 if before == mark else 1
            self._seen[place] = mark, times
            if len(self._seen) > _MOST:
                self._seen.popitem(last=False)
        return times

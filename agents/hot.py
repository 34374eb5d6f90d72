"""The cases a worker touched last, as objects: to step one takes 15 to 20 us less than to read its bytes.

Held by the runner, one for the shelves of all its partitions: with one for each, a worker of many partitions would keep
every case twice. It is bounded in bytes, since a case may weigh a kilobyte or a megabyte. The trap it avoids: to find
the first key of a plain dict Python looks past all that have left it, 9 us each time one of 8,192 has to go.
"""

from __future__ import annotations

from collections import OrderedDict

from agents.case_log import Stored

ROOM = 14 * 2**20
"""Bytes of rows, which as objects weigh four times that: 100,000 cases just worked on then take 1.8 kB each of memory,
where 2 kB are asked (`python -m tests.bench --only growth`); with 64 MiB it was 3.7."""

_CHAPTER = 150  # what a closed chapter weighs, as bytes of a row: its fingerprints, twice; its marks stay bytes


class Hot:
    """Cases by id, up to so many bytes; the one touched longest ago leaves first.

    Args:
        room: how many bytes.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._taken = 0
        self._cases: OrderedDict[str, tuple[Stored, int]] = OrderedDict()

    def get(self, case_id: str) -> Stored | None:
        """The case, None when it is not at hand."""
        found = self._cases.get(case_id)
        return None if found is None else found[0]

    def keep(self, case_id: str, entry: Stored, size: int) -> None:
        """Keep a case as the one touched last.

        Args:
            case_id: of the case.
            entry: it.
            size: bytes of its row.
        """
        self.drop(case_id)
        size += _CHAPTER * len(entry.case.chapters)
        self._cases[case_id] = entry, size
        self._taken += size
        while self._taken > self._room:
            _, (_, left) = self._cases.popitem(last=False)
            self._taken -= left

    def drop(self, case_id: str) -> None:
        """Keep a case no longer; one that is not kept is no error."""
        found = self._cases.pop(case_id, None)
        if found is not None:
            self._taken -= found[1]

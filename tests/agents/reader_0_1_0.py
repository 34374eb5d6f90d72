"""How version 0.1.0 reads a case log: its own code, kept as it was, for the tests of a rolling upgrade.

Used by `test_upgrade`. The trap it avoids: a new kind of row that an older worker beside us takes for a case, or for
nothing, while it moves the positions past the event in it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from bus.errors import BusError

BARRIER = b"!barrier"
POSITIONS = b"!positions"
PROCESS = b"!process/"
FORMAT = 1
_HEAD = struct.Struct(">BBq")
_NEVER = -1
_STRICT = ConfigDict(strict=True)
_POSITIONS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, int | dict[str, int]], config=_STRICT)


class Damaged(BusError):
    """A row of the case log cannot be read."""


@dataclass(slots=True)
class Shelf:
    """What 0.1.0 holds of a partition, as far as reading it goes."""

    entries: dict[str, bytes] = field(default_factory=dict)
    timers: list[tuple[int, str]] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    unconfirmed: list[str] = field(default_factory=list)
    processes: set[str] = field(default_factory=set)


def recover(rows: Iterable[tuple[int, bytes, bytes | None]]) -> Shelf:
    """Rebuild a partition from its log."""
    latest: dict[bytes, tuple[int, bytes]] = {}
    for offset, key, value in rows:
        if value is None:
            latest.pop(key, None)
        else:
            latest[key] = (offset, value)
    latest.pop(BARRIER, None)
    at, raw = latest.pop(POSITIONS, (0, None))
    shelf = Shelf()
    inputs, count = ({}, 0) if raw is None else _unpack_positions(raw)
    shelf.positions = dict(inputs)
    for key, (offset, value) in latest.items():
        if key.startswith(PROCESS):
            shelf.processes.add(key.removeprefix(PROCESS).decode())
            continue
        case_id = key.decode()
        shelf.entries[case_id] = value
        due = _due_of(value)
        if due is not None:
            shelf.timers.append((due, case_id))
        if offset >= at - count:
            shelf.unconfirmed.append(case_id)
    return shelf


def _due_of(value: bytes) -> int | None:
    due = _head(value)[1]
    return None if due == _NEVER else due


def _head(value: bytes) -> tuple[int, int]:
    try:
        version, kind, due = _HEAD.unpack_from(value)
    except struct.error:
        raise Damaged("unreadable", remedy="Restore the topic; do not skip.") from None
    if version != FORMAT:
        raise Damaged(f"case log record of format {version}.", remedy="Run the newer worker that wrote it.")
    return kind, due


def _unpack_positions(value: bytes) -> tuple[dict[str, int], int]:
    try:
        data = _POSITIONS.validate_json(value)
    except ValueError:
        data = {}
    inputs, rows = data.get("inputs"), data.get("rows")
    if data.get("v") != FORMAT or not isinstance(inputs, dict) or not isinstance(rows, int):
        raise Damaged("positions record cannot be read.", remedy="Restore the topic; do not skip.")
    return inputs, rows

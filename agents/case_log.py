"""The durable log of cases: its port, its records' bytes, and an in-memory twin for tests and simulation.

Called by `agents.runner`; `agents.kafka_case_log` is the port on Kafka. One compacted topic ``<group>.cases``, one
partition per case partition. Keys are case ids, or ``!barrier``, ``!positions``, ``!process/<hash>``,
``!chapter/<case>`` with a number, and ``!parked/<case>`` with the key of an entry (`agents.parked`): no case id starts
with ``!``. A key of ours that a reader does not know says nothing to it. A case's value is ``>BBq`` (format version,
kind, due in microseconds or -1) and JSON text, so timers are known without decoding a case. Format version 1, 3 with
chapters; a reader refuses a version it does not know, so a rollback cannot misread.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from msgspec import Raw, Struct

from agents import case as cases
from agents import case_bytes
from agents.case import Case
from agents.case_bytes import Damaged
from agents.machine import Emit
from bus.errors import Fenced

OURS = b"!"
BARRIER = b"!barrier"
POSITIONS = b"!positions"
PROCESS = b"!process/"  # followed by a graph's hash: what people want to know of its steps, for `case trace`
CHAPTER = b"!chapter/"  # followed by a case id, a zero byte and a number: a part of a long case's past
FORMAT = 1
CHAPTERED = 3  # of a case with chapters, which 0.1.0 must not read without them; 2 is that of parked rows
_HEAD = struct.Struct(">BBq")
_DUE = slice(2, 10)
_CASE, _MARKER = 0, 1
_GRAPH, _FINGERPRINT = 64, 16  # letters of a hash, of a fingerprint
_LENGTH = struct.Struct(">I")
_NEVER = -1
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Row = tuple[bytes, bytes | None]


_MARKED = msgspec.json.Decoder(tuple[str, list[str]])
_PENDING = msgspec.json.Decoder(list[tuple[str, str, str, str, dict[str, Any], int, str | None]])
_POSITIONS: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, int | dict[str, int]])


class CaseLog(Protocol):
    """The log as the fence: one owner per partition, a batch is appended whole or not at all."""

    async def claim(self, numbers: Sequence[int], owner: str) -> None:
        """Become the owner of these partitions; every batch of a former owner is refused from now on."""
        ...

    async def load(self, number: int) -> list[tuple[int, bytes, bytes | None]]:
        """All rows (offset, key, value) of a claimed partition up to its claim, in order."""
        ...

    async def append(self, batches: Mapping[int, Sequence[Row]]) -> None:
        """Append one batch per partition; returns when all are replicated.

        Raises:
            Fenced: another owner has claimed one of the partitions.
            TooLarge: a batch is over the topic's limit; nothing of that partition was written.
        """
        ...

    @property
    def batch_bytes(self) -> int:
        """The largest batch the log takes, in bytes."""
        ...


class Stored(Struct, frozen=True, gc=False):
    """A case with the outputs decided by its last transitions, not yet known to be sent."""

    case: Case
    pending: tuple[Emit, ...] = ()


@dataclass(frozen=True, slots=True)
class Marker:
    """What is left of an archived case, so that late and repeated events are recognised.

    Args:
        applied: fingerprints of the events it took.
        expires: microseconds since 1970; then a tombstone follows.
    """

    graph: str
    applied: tuple[str, ...]
    expires: int


class AtRest(bytes):
    """A marker as memory keeps it; of a type of its own, so that no row of the log is taken for one."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Positions:
    """What a batch covers: next input offset per topic, how many rows of the batch stand before this one.

    Every append waits for the outputs of the batch before it, so only the last batch can hold unconfirmed outputs.
    `settled` are keys of rows of ``<group>.parked`` that the batch has taken in; tombstones follow as its outputs do.
    """

    inputs: Mapping[str, int]
    rows: int
    settled: tuple[bytes, ...] = ()


def pack(entry: Stored | Marker) -> bytes:
    """The value bytes of a case or marker."""
    if isinstance(entry, Marker):
        return _HEAD.pack(FORMAT, _MARKER, entry.expires) + msgspec.json.encode((entry.graph, entry.applied))
    due = cases.next_due(entry.case)
    body = case_bytes.to_bytes(entry.case)
    version = CHAPTERED if entry.case.chapters else FORMAT
    return b"".join(
        (
            _HEAD.pack(version, _CASE, _NEVER if due is None else due),
            _LENGTH.pack(len(body)),
            body,
            msgspec.json.encode(entry.pending),
        )
    )


def unpack(value: bytes, chapters: Sequence[bytes] | None = ()) -> Stored | Marker:
    """Read the bytes of `pack`, or of `at_rest`.

    Args:
        value: the bytes.
        chapters: values of the case's chapters, oldest first; None where its past is not wanted.

    Raises:
        Damaged: when they are not of a known format; never quotes them, they hold personal data.
    """
    kind, due = _head(value)
    if kind not in {_CASE, _MARKER}:
        raise _unreadable(value)
    if isinstance(value, AtRest):
        letters = value[_HEAD.size :].hex()
        starts = range(_GRAPH, len(letters), _FINGERPRINT)
        return Marker(letters[:_GRAPH], tuple(letters[at : at + _FINGERPRINT] for at in starts), due)
    try:
        if kind == _MARKER:
            graph, applied = _MARKED.decode(value[_HEAD.size :])
            return Marker(graph, tuple(applied), due)
        (length,) = _LENGTH.unpack_from(value, _HEAD.size)
        start = _HEAD.size + _LENGTH.size
        past = None if chapters is None else [case_bytes.chapter_from_bytes(chapter) for chapter in chapters]
        case = case_bytes.from_bytes(value[start : start + length], past)
        emits = _PENDING.decode(value[start + length :])
    except (*_UNREADABLE, struct.error):
        raise _unreadable(value) from None
    pending = tuple(
        Emit(event_id, topic, step, agency, Raw(msgspec.json.encode(data)), at, cause)  # read strictly, kept as bytes
        for event_id, topic, step, agency, data, at, cause in emits
    )
    return Stored(case, pending)


def at_rest(marker: Marker, value: bytes) -> bytes:
    """What memory keeps of a marker, which lives for 35 days: its hash and fingerprints as bytes instead of letters.

    Args:
        marker: it.
        value: as it is packed.

    Returns:
        What `unpack` and `due_of` read as well; the value itself where letters are not those of bytes.
    """
    letters = "".join((marker.graph, *marker.applied))
    try:
        raw = bytes.fromhex(letters)
    except ValueError:
        return value
    if len(marker.graph) != _GRAPH or {*map(len, marker.applied)} - {_FINGERPRINT} or raw.hex() != letters:
        return value
    return AtRest(value[: _HEAD.size] + raw)


def continues(value: bytes | None) -> bool:
    """Whether a packed value is of a case that has chapters."""
    return value is not None and value[:1] == bytes([CHAPTERED])


def chapters_of(case_id: str) -> bytes:
    """What the keys of a case's chapters begin with."""
    return CHAPTER + case_id.encode() + b"\0"


def chapter_key(case_id: str, number: int) -> bytes:
    """The key of a chapter.

    Args:
        case_id: of the case.
        number: of the chapter, from 0.
    """
    return chapters_of(case_id) + str(number).encode()


def chapters(rows: Iterable[tuple[bytes, bytes]]) -> dict[str, list[bytes]]:
    """The chapters among the latest rows of a case log, by case id, oldest first. Raises Damaged."""
    found: dict[str, dict[int, bytes]] = {}
    for key, value in rows:
        if key.startswith(CHAPTER):
            case_id, _, number = key.removeprefix(CHAPTER).partition(b"\0")
            try:
                found.setdefault(case_id.decode(), {})[int(number)] = value
            except ValueError:
                raise Damaged("a chapter's key cannot be read.", remedy="Restore the topic; do not skip.") from None
    return {case_id: [value for _, value in sorted(parts.items())] for case_id, parts in found.items()}


def due_of(value: bytes) -> int | None:
    """The due moment in the head of a packed value, microseconds; None when no timer runs. Raises Damaged."""
    due = _head(value)[1]
    return None if due == _NEVER else due


def same_due(one: bytes, other: bytes) -> bool:
    """Whether two packed values fall due at one moment, without reading it."""
    return one[_DUE] == other[_DUE]


def _head(value: bytes) -> tuple[int, int]:
    """Kind and due moment. Raises Damaged."""
    try:
        version, kind, due = _HEAD.unpack_from(value)
    except struct.error:
        raise _unreadable(value) from None
    if version not in {FORMAT, CHAPTERED}:
        raise Damaged(f"case log record of format {version}.", remedy="Run the newer worker that wrote it.")
    return kind, due


def _unreadable(value: bytes) -> Damaged:
    return Damaged(f"case log record of {len(value)} bytes cannot be read.", remedy="Restore the topic; do not skip.")


def pack_positions(positions: Positions) -> bytes:
    """The value bytes of a positions row. Version 0.1.0 reads it too, and passes over what is settled."""
    said: dict[str, object] = {"v": FORMAT, "inputs": positions.inputs, "rows": positions.rows}
    if positions.settled:
        said["settled"] = {key.hex(): 1 for key in positions.settled}
    return msgspec.json.encode(said)


def positions_row(inputs: Mapping[str, int], rows: int, settled: Sequence[bytes]) -> Row:
    """The row of what a batch covers; see `Positions`."""
    return POSITIONS, pack_positions(Positions(inputs, rows, tuple(settled)))


def size_of(rows: Sequence[Row]) -> int:
    """An upper bound of the bytes rows take in a batch."""
    return sum(len(key) + len(value or b"") + 16 for key, value in rows)


def unpack_positions(value: bytes) -> Positions:
    """Read `pack_positions`' bytes. Raises Damaged."""
    try:
        data = _POSITIONS.decode(value)
    except _UNREADABLE:
        data = {}
    inputs, rows, settled = data.get("inputs"), data.get("rows"), data.get("settled", {})
    damaged = Damaged("positions record cannot be read.", remedy="Restore the topic; do not skip.")
    if data.get("v") != FORMAT or not isinstance(inputs, dict) or not isinstance(rows, int):
        raise damaged
    try:
        return Positions(inputs, rows, tuple(map(bytes.fromhex, settled)))
    except (ValueError, TypeError):
        raise damaged from None


class MemoryCaseLog:
    """The port in memory. Several instances over one `rows` are several workers on one log.

    Args:
        rows: the stored log by partition; shared between instances.
        owners: the current owner instance by partition; shared as well.
    """

    batch_bytes = 900_000

    def __init__(
        self,
        rows: dict[int, list[tuple[bytes, bytes | None]]] | None = None,
        owners: dict[int, object] | None = None,
    ) -> None:
        self.rows = {} if rows is None else rows
        self.owners = {} if owners is None else owners

    async def claim(self, numbers: Sequence[int], owner: str) -> None:
        """Become the owner of these partitions."""
        for number in numbers:
            self.owners[number] = self
            self.rows.setdefault(number, []).append((BARRIER, owner.encode()))

    async def load(self, number: int) -> list[tuple[int, bytes, bytes | None]]:
        """All rows of a partition."""
        return [(offset, key, value) for offset, (key, value) in enumerate(self.rows[number])]

    async def append(self, batches: Mapping[int, Sequence[Row]]) -> None:
        """Append one batch per partition. Raises Fenced."""
        await asyncio.sleep(0)  # as on a network: a worker may die before or after the batch is stored
        for number in batches:
            if self.owners.get(number) is not self:
                raise Fenced(f"case partition {number} has another owner.")
        for number, batch in batches.items():
            self.rows[number].extend(batch)
        await asyncio.sleep(0)

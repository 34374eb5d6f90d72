"""What a damaged partition of a case log must be told so that its cases come back from the input topics. Pure.

Called by `agents.rebuild`. Rows that can be read stay: a case knows the fingerprints of what it took, so events that
come again change nothing, and a case older than its inputs' retention is not lost. What cannot be read gets a
tombstone, or, when the case was archived, a new marker; positions go back to the first stored offsets. The traps it
avoids: a closed case that opens twice because its marker is gone; outputs of the last batch that nobody sends because
the new positions no longer call them unconfirmed; a worker that starts between two of the batches (they are in an order
in which each prefix is safe).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agents import case_bytes, case_log, parked
from agents.case import whole_trail
from agents.case_bytes import Damaged
from agents.case_log import Marker, Positions, Row, Stored
from bus.errors import BusError
from bus.message import Record

_PARKED_FORMAT = 2  # of the rows of `bus.middleware.parking`; those of cases are format 1
_NEWEST = 9  # a first byte up to this is taken for a format to come, not for damage


@dataclass(frozen=True, slots=True)
class Damage:
    """A row that cannot be read.

    Args:
        key: of the row. offset: where it stands.
        archived: the case had ended, so that a marker replaces the row.
    """

    key: bytes
    offset: int
    archived: bool = False

    @property
    def case(self) -> str:
        """The case it is about, as far as its key can be read."""
        return case_of(self.key).decode(errors="replace")


def case_of(key: bytes) -> bytes:
    """The id of the case that a row is about."""
    for prefix in (parked.PREFIX, case_log.CHAPTER):
        if key.startswith(prefix):
            return key.removeprefix(prefix).split(b"\0", 1)[0]
    return key


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to one case partition.

    Args:
        number: of the partition.
        damaged: rows that cannot be read.
        kept: cases and markers that stay as they are.
        markers: rows to append first: markers of archived cases that have no row that can be read.
        again: rows of the last batch, so that its outputs are sent; the positions row ends them.
        tombstones: rows to append last.
        positions: where reading begins, by topic.
        unreadable: archived cases whose record cannot be read.
    """

    number: int
    damaged: tuple[Damage, ...]
    kept: int
    markers: tuple[Row, ...]
    again: tuple[Row, ...]
    tombstones: tuple[Row, ...]
    positions: Mapping[str, int]
    unreadable: int

    def batches(self, limit: int) -> list[list[Row]]:
        """The rows in batches of at most `limit` bytes, to be appended in this order."""
        return [*_chunks(self.markers, limit), list(self.again), *_chunks(self.tombstones, limit)]


def plan(
    number: int,
    rows: Sequence[tuple[int, bytes, bytes | None]],
    archive: Iterable[Record],
    *,
    first: Mapping[str, int],
    listens: frozenset[str],
    now: int,
    marker_life: int,
    limit: int,
) -> Plan:
    """The plan of one partition.

    Args:
        number: of the partition.
        rows: (offset, key, value) of its case log, in offset order.
        archive: the records of the same partition of the archive.
        first: first stored offset by input topic; one of another kind (commands) keeps its position.
        listens: topics whose events are read again.
        now: microseconds since 1970.
        marker_life: microseconds a marker lives from the end of its case.
        limit: largest batch, in bytes.

    Raises:
        BusError: rows are of a format that only a newer worker reads; they are no damage.
    """
    latest, batch_before = _latest(rows)
    at, raw = latest.pop(case_log.POSITIONS, (-1, None))
    before, damaged = _positions(at, raw)
    begins = batch_before + 1 if before is None else at - before.rows
    again: list[tuple[int, Row]] = []
    readable: set[bytes] = set()
    continued: set[bytes] = set()
    parts = {k: v for k, (_, v) in latest.items() if k.startswith(case_log.CHAPTER) and _read(k, v) is not None}
    chapters = case_log.chapters(parts.items())
    for key, (offset, value) in latest.items():
        entry = _read(key, value, chapters.get(key.decode(errors="replace"), ()))
        if entry is None:
            damaged.append(Damage(key, offset))
            continue
        readable.add(key)
        if isinstance(entry, Stored) and entry.case.chapters:
            continued.add(key)
        if isinstance(entry, Stored) and begins <= offset < at and (entry.pending or entry.case.closed):
            again.append((offset, (key, value)))
    markers, unreadable = _markers(archive, readable, now=now, life=marker_life)
    damaged = [Damage(d.key, d.offset, archived=d.key in markers) for d in damaged]
    inputs = {topic: offset if topic in listens else _kept(before, topic, offset) for topic, offset in first.items()}
    rows_again = _last_that_fit([row for _, row in sorted(again)], limit - 10_000 - 100 * len(inputs))
    end = case_log.pack_positions(Positions(inputs, len(rows_again), () if before is None else before.settled))
    gone = [key for key in parts if case_of(key) not in continued]  # first: a case must not open beside old chapters
    gone += [d.key for d in damaged if not d.archived and d.key != case_log.POSITIONS]
    return Plan(
        number,
        tuple(damaged),
        sum(not key.startswith(case_log.OURS) for key in readable),
        tuple(markers.items()),
        (*rows_again, (case_log.POSITIONS, end)),
        tuple((key, None) for key in gone),
        inputs,
        unreadable,
    )


def _latest(rows: Sequence[tuple[int, bytes, bytes | None]]) -> tuple[dict[bytes, tuple[int, bytes]], int]:
    """The last value of each key with its offset, and the offset of the positions row before the last (-1: none)."""
    latest: dict[bytes, tuple[int, bytes]] = {}
    batch_before = -1
    for offset, key, value in rows:
        if key == case_log.POSITIONS and key in latest:
            batch_before = latest[key][0]
        if value is None:
            latest.pop(key, None)
        else:
            latest[key] = (offset, value)
    latest.pop(case_log.BARRIER, None)
    return latest, batch_before


def _positions(at: int, raw: bytes | None) -> tuple[Positions | None, list[Damage]]:
    if raw is None:
        return None, []
    try:
        return case_log.unpack_positions(raw), []
    except Damaged:
        return None, [Damage(case_log.POSITIONS, at)]


def _kept(before: Positions | None, topic: str, first: int) -> int:
    return first if before is None else max(first, before.inputs.get(topic, first))


def _read(key: bytes, value: bytes, chapters: Sequence[bytes] = ()) -> Stored | Marker | bool | None:
    """What a row holds: a case, a marker, True for a row of another kind; None when it cannot be read.

    A case whose chapters are missing or cannot be read counts as one that cannot.

    Raises:
        BusError: it is of a newer format.
    """
    if key.startswith(case_log.OURS):
        if key.startswith(parked.PREFIX):
            _refuse_newer(value, _PARKED_FORMAT)
            try:
                parked.read(key, value)
            except Damaged:
                return None
        if key.startswith(case_log.CHAPTER):
            try:
                case_log.chapters([(key, value)])
            except Damaged:
                return None
        return True
    _refuse_newer(value, case_log.CHAPTERED)
    try:
        key.decode()
        entry = case_log.unpack(value, chapters)
        if isinstance(entry, Stored):
            whole_trail(entry.case)  # unfolds its chapters
    except (Damaged, UnicodeDecodeError):
        return None
    return entry


def _refuse_newer(value: bytes, known: int) -> None:
    if value and known < value[0] <= _NEWEST:
        raise BusError(
            f"The case log holds rows of format {value[0]}, which this version does not know.",
            remedy="Run the newer version: nothing is damaged.",
        )


def _markers(archive: Iterable[Record], readable: set[bytes], *, now: int, life: int) -> tuple[dict[bytes, bytes], int]:
    """Marker rows of archived cases that have no row that can be read, and how many archived cases cannot be."""
    found: dict[bytes, bytes] = {}
    unreadable = 0
    for record in archive:
        key, expires = record.key or b"", record.timestamp * 1_000 + life
        if record.value is None or key in readable or expires < now:
            continue
        try:
            case = case_bytes.from_bytes(record.value)
        except Damaged:
            unreadable += key not in found
            continue
        found[key] = case_log.pack(Marker(case.graph, tuple(case.applied), expires))
    return found, unreadable


def _size(row: Row) -> int:
    return len(row[0]) + len(row[1] or b"") + 40


def _last_that_fit(rows: Sequence[Row], limit: int) -> list[Row]:
    """The last rows that fit into a batch: more than one batch never stood unconfirmed."""
    kept: list[Row] = []
    for row in reversed(rows):
        limit -= _size(row)
        if limit < 0:
            break
        kept.insert(0, row)
    return kept


def _chunks(rows: Sequence[Row], limit: int) -> list[list[Row]]:
    chunks: list[list[Row]] = []
    room = 0
    for row in rows:
        if not chunks or _size(row) > room:
            chunks.append([])
            room = limit
        chunks[-1].append(row)
        room -= _size(row)
    return chunks

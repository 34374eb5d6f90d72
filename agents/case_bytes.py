"""The bytes of a case in the case log and in the archive.

Called by `agents.case_log`, `agents.outputs` and whoever reads the archive. The trap it avoids: a damaged record that
is read as another state; every byte string is either of a known format version or `Damaged`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, Literal, overload

import msgspec
from msgspec import structs

from agents.case import CHAPTER, Active, Case, Chapter, Early, Mark, remember, whole_applied, whole_trail
from bus.errors import BusError

FORMAT = 1
"""Version of the byte format. A reader refuses a newer one: workers of two versions share a rolling upgrade."""

CHAPTERED = 3
"""Version of the bytes of a case with chapters; one without has those of version 0.1.0. 2 is of parked rows."""


class Damaged(BusError):
    """Stored bytes are of no format this version knows. The remedy is in the message; nothing is skipped silently."""


class Folded(Sequence[Mark]):
    """The marks of a chapter as their bytes, read when somebody asks.

    As objects those of one chapter take 2.5 kB more, and half of the time of reading it.

    Args:
        raw: a JSON array.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: msgspec.Raw) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return CHAPTER

    @overload
    def __getitem__(self, place: int) -> Mark: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Mark]: ...
    def __getitem__(self, place: int | slice) -> Mark | Sequence[Mark]:
        return self._marks()[place]

    def __iter__(self) -> Iterator[Mark]:
        return iter(self._marks())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._marks() == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # a list in all but memory

    def _marks(self) -> tuple[Mark, ...]:
        """All of them. Raises Damaged."""
        marks: tuple[Mark, ...] = _read(_MARKS, self._raw)
        if len(marks) != CHAPTER:
            raise Damaged(f"A chapter of {len(marks)} marks instead of {CHAPTER}.", remedy=_REMEDY)
        return marks


def archived(case: Case) -> bytes:
    """The bytes of a closed case in one piece, as version 0.1.0 wrote them. Raises Damaged."""
    return to_bytes(structs.replace(case, applied=whole_applied(case), trail=whole_trail(case), chapters=()))


def chapter_to_bytes(chapter: Chapter) -> bytes:
    """A chapter as a JSON array, the format version first."""
    return msgspec.json.encode((CHAPTERED, chapter.applied, tuple(chapter.trail)))


def chapter_from_bytes(data: bytes) -> Chapter:
    """Read what `chapter_to_bytes` wrote; its marks stay folded. Raises Damaged, of marks when they are read."""
    _, applied, trail = _read(_CHAPTER, data)
    return Chapter(applied, Folded(trail))


def to_bytes(case: Case) -> bytes:
    """The case as one JSON array, the format version first; of its chapters only how many they are."""
    parts = (
        CHAPTERED if case.chapters else FORMAT,
        case.id,
        case.graph,
        case.opened,
        case.transitions,
        case.active,
        case.deadline,
        case.counts,
        case.values,
        case.applied,
        case.trail,
        case.early,
        case.outcome,
    )
    return msgspec.json.encode((*parts, len(case.chapters)) if case.chapters else parts)


_Fields = dict[str, Any]  # any JSON value: the parser has made sure of that
_FIELDS = (
    str,
    str,
    int,
    int,
    dict[str, Active],
    Active | None,
    dict[str, int],
    dict[str, _Fields],
    list[str],
    list[Mark],
    list[tuple[str, str, int, int, _Fields]],
    str | None,
)
_CHAPTER = msgspec.json.Decoder(tuple[Literal[3], tuple[str, ...], msgspec.Raw])
_MARKS = msgspec.json.Decoder(tuple[Mark, ...])
_STORED = msgspec.json.Decoder(tuple[Literal[1], *_FIELDS])  # type: ignore[valid-type]
_CONTINUED = msgspec.json.Decoder(tuple[Literal[3], *_FIELDS, int])  # type: ignore[valid-type]
_REMEDY = "Upgrade this worker if a newer one wrote them; otherwise restore the record from its topic."


def from_bytes(data: bytes, chapters: Sequence[Chapter] | None = ()) -> Case:
    """Read what `to_bytes` wrote.

    Args:
        data: the bytes.
        chapters: all there are of the case; None where its past is not wanted: such a case must not be stepped.

    Raises:
        Damaged: when the bytes are not a case, or of a format version this program does not know, or chapters
            are missing.
    """
    continued = data.startswith(b"[%d," % CHAPTERED)
    _, name, graph, opened, transitions, active, deadline, counts, values, applied, trail, early, outcome, *more = (
        _read(_CONTINUED if continued else _STORED, data)
    )
    told: tuple[Chapter, ...] = ()
    if continued and chapters is not None:
        told = tuple(chapters[: more[0]])
        if not told or len(told) != more[0]:
            raise Damaged(f"Of {more[0]} chapters of a case there are {len(told)}.", remedy=_REMEDY)
    return Case(
        name,
        graph,
        opened,
        transitions,
        active,
        deadline,
        counts,
        values,
        applied,
        trail,
        [Early(*event) for event in early],
        outcome,
        told,
        reduce(remember, told, ()),
    )


def _read(form: msgspec.json.Decoder[Any], data: bytes | msgspec.Raw) -> tuple[Any, ...]:
    try:
        found: tuple[Any, ...] = form.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        where = str(fault).rpartition(" - at ")[2] if isinstance(fault, msgspec.ValidationError) else "whole"
        raise Damaged(
            f"These {len(bytes(data))} bytes are not a case of a known format (at {where}).", remedy=_REMEDY
        ) from None
    return found

"""The bytes of a case in the case log and in the archive.

Called by `agents.case_log`, `agents.outputs` and whoever reads the archive. The trap it avoids: a damaged record that
is read as another state; every byte string is either of a known format version or a `CaseDamaged`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal

import msgspec
from msgspec import structs

from agents.case import CHAPTER, Active, Case, Chapter, Early, Mark, remember, whole_applied, whole_trail
from bus.errors import BusError

FORMAT = 1
"""Version of the byte format. A reader refuses a newer one: workers of two versions share a rolling upgrade."""

CHAPTERED = 3
"""Version of the bytes of a case with chapters; one without has those of version 0.1.0. 2 is of parked rows."""


class CaseDamaged(BusError):
    """Stored bytes are not a case of a format this version knows."""


def archived(case: Case) -> bytes:
    """The bytes of a closed case in one piece, as version 0.1.0 wrote them."""
    return to_bytes(structs.replace(case, applied=whole_applied(case), trail=whole_trail(case), chapters=()))


def chapter_to_bytes(chapter: Chapter) -> bytes:
    """A chapter as a JSON array, the format version first."""
    return msgspec.json.encode((CHAPTERED, chapter.applied, chapter.trail))


def chapter_from_bytes(data: bytes) -> Chapter:
    """Read what `chapter_to_bytes` wrote. Raises CaseDamaged."""
    _, applied, trail = _read(_CHAPTER, data)
    if len(trail) != CHAPTER:
        raise CaseDamaged(f"A chapter of {len(trail)} marks instead of {CHAPTER}.", remedy=_REMEDY)
    return Chapter(tuple(applied), tuple(Mark(*mark) for mark in trail))


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


_Wait = tuple[int, int | None, bool]
_Fields = dict[str, Any]  # any JSON value: the parser has made sure of that
_Mark = tuple[str, str, int, int, int, str, int]
_FIELDS = (
    str,
    str,
    int,
    int,
    dict[str, _Wait],
    _Wait | None,
    dict[str, int],
    dict[str, _Fields],
    list[str],
    list[_Mark],
    list[tuple[str, str, int, int, _Fields]],
    str | None,
)
# tuples, not the classes: an array that is too short would be filled up with their defaults
_CHAPTER = msgspec.json.Decoder(tuple[Literal[3], list[str], list[_Mark]])
_STORED = msgspec.json.Decoder(tuple[Literal[1], *_FIELDS])  # type: ignore[valid-type]
_CONTINUED = msgspec.json.Decoder(tuple[Literal[3], *_FIELDS, int])  # type: ignore[valid-type]
_REMEDY = "Upgrade this worker if a newer one wrote them; otherwise restore the record from its topic."


def from_bytes(data: bytes, chapters: Sequence[Chapter] | None = ()) -> Case:
    """Read what `to_bytes` wrote.

    Args:
        data: the bytes.
        chapters: all there are of the case; None where its past is not wanted: such a case must not be stepped.

    Raises:
        CaseDamaged: when the bytes are not a case, or of a format version this program does not know, or chapters
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
            raise CaseDamaged(f"Of {more[0]} chapters of a case there are {len(told)}.", remedy=_REMEDY)
    return Case(
        name,
        graph,
        opened,
        transitions,
        {step: Active(*wait) for step, wait in active.items()},
        None if deadline is None else Active(*deadline),
        counts,
        values,
        applied,
        [Mark(*mark) for mark in trail],
        [Early(*event) for event in early],
        outcome,
        told,
        reduce(remember, told, ()),
    )


def _read(form: msgspec.json.Decoder[Any], data: bytes) -> tuple[Any, ...]:
    try:
        found: tuple[Any, ...] = form.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        where = str(fault).rpartition(" - at ")[2] if isinstance(fault, msgspec.ValidationError) else "whole"
        raise CaseDamaged(
            f"These {len(data)} bytes are not a case of a known format (at {where}).", remedy=_REMEDY
        ) from None
    return found

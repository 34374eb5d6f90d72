"""Brings the events of a log into time order on disk, with bounded memory.

Called by `replay`: a log is grouped by case, a replay needs it by time. Events are sorted in runs of `run_size`,
spilled to a private temporary folder and merged; in memory stay one run and a few words per case. Order is (time,
place in the file), so events of one moment keep the file's order. Each comes out with its number in the case and the
word whether it is the last; the first carries the case attributes, wherever the file had them.

An event without a time takes that of the event before it in its case; before the first known time of its case, that
one; in a case without any time, the earliest of the log. The trap it avoids: such events sorted to 1970.
"""

from __future__ import annotations

import errno
import heapq
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from bus.errors import BusError
from connectors.log_event import LogEvent
from schemas.envelope import from_us, to_us

RUN_SIZE = 20_000
MAX_OPEN = 64  # runs merged at once
MAX_UNTIMED = 200_000  # events kept in memory because their case has shown no time yet
_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode  # one encoder: dumps makes one a call
_Row = list[Any]  # [microseconds, place in the file, case, activity, line, attributes, defaults]


class NoTime(BusError):
    """Too many events are in cases that state no time, or all are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """One event in time order.

    Args:
        time: when it happened, or the time it takes (see above).
        sequence: its number in the case, from 1. last: no later event of the case.
        case_attributes, case_defaults: on the first event of the case only.
    """

    case: str
    activity: str
    time: datetime
    sequence: int
    last: bool
    line: int
    attributes: Mapping[str, str]
    defaults: Mapping[str, str]
    case_attributes: Mapping[str, str] = field(default_factory=dict)
    case_defaults: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Case:
    """What is kept of a case: how many events came in and went out, its time so far, where its attributes stand."""

    events: int = 0
    given: int = 0
    us: int | None = None
    at: int = -1
    known: frozenset[str] = frozenset()


class Sorter:
    """Takes events in file order, gives them in time order; a context manager that removes its files.

    Args:
        run_size: events sorted in memory at a time.
        folder: where the temporary folder is made; the system's own when None.

    Raises:
        BusError: no room on the disk. NoTime: a log without any time.
    """

    def __init__(self, *, run_size: int = RUN_SIZE, folder: Path | None = None) -> None:
        self._run_size = run_size
        self._folder = folder
        self._cleanup = ExitStack()
        self._cases: dict[str, _Case] = {}
        self._known: dict[frozenset[str], frozenset[str]] = {}
        self._run: list[_Row] = []
        self._untimed: dict[str, list[_Row]] = {}
        self._waiting = 0
        self._files: list[Path] = []
        self._names = 0
        self.events = 0
        self.carried = 0

    def __enter__(self) -> Self:
        """Make the temporary folder."""
        self._temporary = Path(
            self._cleanup.enter_context(tempfile.TemporaryDirectory("-sort", "agencybus-", self._folder))
        )
        self._attributes: BinaryIO = self._cleanup.enter_context((self._temporary / "cases").open("w+b"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    @property
    def cases(self) -> int:
        """How many cases have events."""
        return len(self._cases)

    @property
    def attribute_names(self) -> frozenset[str]:
        """Every attribute a case has, stated or by default."""
        return frozenset().union(*self._known.values())

    def add_all(self, events: Iterable[LogEvent]) -> None:
        """Take events in file order. Raises as the class says, and what the source raises."""
        with self._disk():
            for event in events:
                self._add(event)

    def close_input(self) -> None:
        """Say that all events were added: those of cases without a time get theirs. Raises as the class says."""
        with self._disk():
            self._place_untimed()

    def ordered(self) -> Iterator[Ordered]:
        """All events in time order; call it once, after all were added. Raises as the class says."""
        self.close_input()
        with self._disk():
            for row in self._merged():
                yield self._out(row)

    def _add(self, event: LogEvent) -> None:
        case = self._cases.get(event.case)
        if case is None:
            case = self._cases[event.case] = _Case()
        case.events += 1
        self.events += 1
        if event.case_attributes or event.case_defaults:
            self._note(case, event)
        row = [0, self.events, event.case, event.activity, event.line, dict(event.attributes), dict(event.defaults)]
        if event.time is not None:
            case.us = to_us(event.time)
            for held in self._untimed.pop(event.case, ()):
                self._waiting -= 1
                self._keep(held, case.us)
        else:
            self.carried += 1
        if case.us is None:
            self._hold(row)
        else:
            self._keep(row, case.us)

    def _hold(self, row: _Row) -> None:
        self._untimed.setdefault(row[2], []).append(row)
        self._waiting += 1
        if self._waiting > MAX_UNTIMED:
            raise _no_time(f"more than {MAX_UNTIMED} events stand in cases without a time")

    def _keep(self, row: _Row, us: int) -> None:
        row[0] = us
        self._run.append(row)
        if len(self._run) >= self._run_size:
            self._spill()

    def _note(self, case: _Case, event: LogEvent) -> None:
        """Keep what is new of the case's attributes; what came first stays."""
        names = frozenset(event.case_attributes) | frozenset(event.case_defaults)
        if names <= case.known:
            return
        own, defaults = dict(event.case_attributes), dict(event.case_defaults)
        if case.at >= 0:
            before = self._noted(case)
            own, defaults = {**own, **before[0]}, {**defaults, **before[1]}
        case.known = self._known.setdefault(names | case.known, names | case.known)  # one set for all alike
        case.at = self._attributes.seek(0, 2)
        self._attributes.write(_line([own, {k: v for k, v in defaults.items() if k not in own}]))

    def _noted(self, case: _Case) -> list[dict[str, str]]:
        self._attributes.seek(case.at)
        found: list[dict[str, str]] = json.loads(self._attributes.readline())
        return found

    def _spill(self) -> None:
        self._run.sort(key=_key)
        self._write(self._run)
        self._run = []
        if len(self._files) >= MAX_OPEN:
            merged = self._files
            self._files = []
            with ExitStack() as opened:
                self._write(heapq.merge(*(_read(path, opened) for path in merged), key=_key))
            for path in merged:
                path.unlink()

    def _write(self, rows: Iterable[_Row]) -> None:
        self._names += 1
        path = self._temporary / f"run-{self._names}"
        with path.open("wb") as out:
            out.writelines(_line(row) for row in rows)
        self._files.append(path)

    def _place_untimed(self) -> None:
        if not self._untimed:
            return
        with ExitStack() as opened:
            firsts = [next(_read(path, opened))[0] for path in self._files]
        earliest = min([*firsts, *(row[0] for row in self._run)], default=None)
        if earliest is None:
            raise _no_time("no event states one")
        held, self._untimed = self._untimed, {}
        for rows in held.values():
            for row in rows:
                self._keep(row, earliest)

    def _merged(self) -> Iterator[_Row]:
        self._run.sort(key=_key)
        with ExitStack() as opened:
            runs = [_read(path, opened) for path in self._files]
            yield from heapq.merge(*runs, self._run, key=_key)

    def _out(self, row: _Row) -> Ordered:
        us, _, name, activity, line, attributes, defaults = row
        case = self._cases[name]
        case.given += 1
        own, of_case = self._noted(case) if case.given == 1 and case.at >= 0 else ({}, {})
        return Ordered(
            case=name,
            activity=activity,
            time=from_us(us),
            sequence=case.given,
            last=case.given == case.events,
            line=line,
            attributes=attributes,
            defaults=defaults,
            case_attributes=own,
            case_defaults=of_case,
        )

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            what = "no space is left" if problem.errno == errno.ENOSPC else (problem.strerror or str(problem)).lower()
            remedy = "Free some space, or set TMPDIR to a folder that has it."
            raise BusError(f"Sorting in {self._temporary.parent}: {what}.", remedy=remedy) from None


def _key(row: _Row) -> tuple[int, int]:
    return row[0], row[1]


def _line(value: Any) -> bytes:
    return _encode(value).encode() + b"\n"


def _read(path: Path, opened: ExitStack) -> Iterator[_Row]:
    file = opened.enter_context(path.open("rb"))
    return (json.loads(line) for line in file)


def _no_time(why: str) -> NoTime:
    remedy = "Name the attribute or column that holds it with --timestamp."
    return NoTime(f"The log cannot be put in time order: {why}.", remedy=remedy)

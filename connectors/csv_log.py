"""Reads a CSV event log: one row per event, in any order, cases named by a column.

Called by `replay`. Delimiter, columns and time form are given or found; what cannot be found for certain is refused
with the option that settles it. Columns called ``case:...`` (the usual export of case attributes) belong to the case.
The traps it avoids: a quoted line break counted as a row, a ragged row whose values slide into the next column, and
day and month exchanged (see `log_time`). An empty cell is a missing attribute.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bus.errors import CheckFailed, UsageError
from connectors import log_file, log_time
from connectors.log_event import NOTHING, UNNAMED, LogEvent

_DELIMITERS = ",;\t|"
_CASE_PREFIX = "case:"
_MAX_CELL = 65_536  # characters, as `schemas.recorded` allows
_MAX_NAME = 1_000
_MAX_COLUMNS = 10_000
_SAMPLE = 50  # rows looked at to find the delimiter
# What exports call these columns, best first; compared in lower case without space, hyphen and underscore.
_CASE_NAMES = ("case:concept:name", "caseid", "case", "casename", "traceid", "trace", "processinstanceid", "instanceid")
_ACTIVITY_NAMES = ("concept:name", "activity", "activityname", "activityid", "task", "taskname", "event", "eventname")
_TIME_NAMES = (
    "time:timestamp",
    "timestamp",
    "completetimestamp",
    "endtimestamp",
    "time",
    "datetime",
    "date",
    "eventtime",
    "starttimestamp",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvOptions:
    """What the user states; None is found by looking.

    Args:
        case, activity, timestamp: column names.
        delimiter: one character.
        time_format: ``iso``, ``s``, ``ms``, ``us`` or a strptime format.
        encoding: a Python codec name; found by byte order mark, else UTF-8.
        case_columns: columns that say something of the case although not called ``case:...`` (the deadline's).
    """

    case: str | None = None
    activity: str | None = None
    timestamp: str | None = None
    delimiter: str | None = None
    time_format: str | None = None
    encoding: str | None = None
    case_columns: frozenset[str] = frozenset()

    def with_case_column(self, name: str) -> CsvOptions:
        """The same options with one more column that belongs to the case."""
        return replace(self, case_columns=self.case_columns | {name})


@dataclass(frozen=True, slots=True)
class Layout:
    """How the file is read: what was given or found."""

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    case: int
    activity: int
    timestamp: int


class CsvLog:
    """A CSV log, plain or gzip.

    Args:
        path: the file.
        options: what the user states.

    Iterating reads the file from its start. Raises:
        CheckFailed: not readable as stated, naming file, line and column.
        UsageError: the file cannot be opened, or an option cannot be used.
    """

    def __init__(self, path: Path, *, options: CsvOptions | None = None) -> None:
        self.path = path
        self.options = options or CsvOptions()
        self.parse_time: log_time.Parse = log_time.iso  # as the time column's, once iterating has begun

    def __iter__(self) -> Iterator[LogEvent]:
        """Events in file order. Raises as the class says."""
        layout = self.layout()
        parse = self.parse_time = self._time_parser(layout)
        case_columns = self._case_columns(layout)
        for line, row in self._rows(layout):
            yield self._event(layout, line, row, parse, case_columns)

    def layout(self) -> Layout:
        """Encoding, delimiter and columns, found or given. Raises as the class says."""
        encoding = self._encoding()
        given = self.options.delimiter
        if given is not None and (len(given) != 1 or given in '"\r\n'):
            raise UsageError(f"--delimiter {given!r} is not one character.", remedy="Write --delimiter ';' or such.")
        best: tuple[int, str, list[str]] | None = None
        for delimiter in given or _DELIMITERS:
            rows = self._sample(encoding, delimiter)
            width = len(rows[0]) if rows and all(len(row) == len(rows[0]) for row in rows) else 0
            # Columns of the expected names count most; then a steady width; then the number of columns.
            named = sum(self._find(rows[0], which) is not None for which in _WANTED) if rows else 0
            score = named * 100_000 + (50_000 if width > 1 else 0) + (len(rows[0]) if rows else 0)
            if rows and (best is None or score > best[0]):
                best = (score, delimiter, rows[0])
        if best is None:
            raise log_file.wrong(self.path, 0, "csv-header", "has no header line", fix="Put the column names first.")
        return self._columns(encoding, best[1], best[2])

    def _columns(self, encoding: str, delimiter: str, raw: Sequence[str]) -> Layout:
        header = tuple(name.strip() or f"column {number}" for number, name in enumerate(raw, 1))
        doubled = sorted({name for name in header if header.count(name) > 1}) if len(header) <= _MAX_COLUMNS else ["?"]
        if doubled or any(len(name) > _MAX_NAME for name in header):
            message = f"column {doubled[0][:60]!r} stands twice" if doubled else "a column name is too long"
            raise log_file.wrong(self.path, 1, "csv-header", message, fix="Give each column a short name of its own.")
        found: dict[str, int] = {}
        for which in _WANTED:
            column = self._find(header, which)
            if column is None or column in found.values():
                asked = getattr(self.options, which)
                what = f"no column {asked!r}" if asked else f"no column that is certainly the {which}"
                fix = f"Name it with --{which} COLUMN; columns: {', '.join(header)[:300]}."
                raise log_file.wrong(self.path, 1, "csv-column", what, fix=fix)
            found[which] = column
        return Layout(encoding, delimiter, header, found["case"], found["activity"], found["timestamp"])

    def _find(self, header: Sequence[str], which: str) -> int | None:
        """The index of a wanted column: the given name exactly, else the best of the usual names."""
        given = getattr(self.options, which)
        if given is not None:
            return list(header).index(given) if given in header else None
        plain = [name.strip().lower().replace(" ", "").replace("_", "").replace("-", "") for name in header]
        return next((plain.index(name) for name in _WANTED[which] if name in plain), None)

    def _encoding(self) -> str:
        head = log_file.head_of(self.path)
        if self.options.encoding is not None:
            try:
                "".encode(self.options.encoding)
            except LookupError:
                text = f"--encoding {self.options.encoding!r} is no known encoding."
                raise UsageError(text, remedy="Write utf-8, utf-16, latin-1, cp1251, ...") from None
            return self.options.encoding
        encoding = log_file.bom_encoding(head)
        if encoding is None and b"\0" in head:
            fix = "Give a text file; for UTF-16 without a byte order mark add --encoding utf-16-le."
            raise log_file.wrong(self.path, 0, "binary", "is no text: it holds zero bytes", fix=fix)
        return encoding or "utf-8"

    def _sample(self, encoding: str, delimiter: str) -> list[list[str]]:
        """The first rows that are not empty, [] when they cannot be read with this delimiter."""
        rows: list[list[str]] = []
        with self._open(encoding) as text:
            try:
                for row in csv.reader(text, delimiter=delimiter, strict=True):
                    if row:
                        rows.append(row)
                    if len(rows) > _SAMPLE:
                        break
            except csv.Error:
                return rows[:1]  # reading it in earnest names the line
        return rows

    @contextmanager
    def _open(self, encoding: str) -> Iterator[io.TextIOWrapper]:
        with log_file.reading(self.path) as stream:
            text = io.TextIOWrapper(stream, encoding=encoding, newline="")
            try:
                yield text
            except UnicodeError as problem:
                raise self._undecodable(0, encoding, problem) from None
            finally:
                text.detach()

    def _rows(self, layout: Layout) -> Iterator[tuple[int, list[str]]]:
        """Every row after the header with the line it starts on. Raises CheckFailed."""
        width = len(layout.header)
        with self._open(layout.encoding) as text:
            reader = csv.reader(text, delimiter=layout.delimiter, strict=True)
            seen_header, line = False, 1
            try:
                for row in reader:
                    start, line = line, reader.line_num + 1
                    if not row:
                        continue
                    if not seen_header:
                        seen_header = True
                        continue
                    if len(row) != width:
                        message = f"{len(row)} values for {width} columns"
                        raise log_file.wrong(
                            self.path, start, "csv-row", message, fix="Quote values that hold a delimiter."
                        )
                    yield start, row
            except csv.Error as problem:
                raise self._broken(line, problem) from None
            except UnicodeDecodeError as problem:
                before = problem.object[: problem.start].decode(layout.encoding, "ignore")
                line = reader.line_num + 1 + before.count("\n")  # what was decoded so far has been read, but this line
                raise self._undecodable(line, layout.encoding, problem) from None

    def _undecodable(self, line: int, encoding: str, problem: UnicodeError) -> CheckFailed:
        reason = getattr(problem, "reason", "wrong bytes")
        fix = "Say what it is with --encoding, e.g. --encoding latin-1 or cp1251."
        return log_file.wrong(self.path, line, "encoding", f"is not {encoding}: {reason}", fix=fix)

    def _broken(self, line: int, problem: csv.Error) -> CheckFailed:
        fix = "Close every quote; a quote inside a quoted value is written twice."
        return log_file.wrong(
            self.path, line, "csv-row", f"the row that starts here cannot be read: {problem}", fix=fix
        )

    def _time_parser(self, layout: Layout) -> log_time.Parse:
        if self.options.time_format is not None:
            return log_time.given(self.options.time_format)
        column = layout.timestamp
        values = (row[column].strip() for _, row in self._rows(layout))
        try:
            return log_time.find(value for value in values if value)
        except log_time.Ambiguous as two:
            message = f"column {layout.header[column]!r}: {two} both fit every time and differ"
            fix = "Say which with --time-format, e.g. --time-format '%d/%m/%Y %H:%M:%S'."
            raise log_file.wrong(self.path, 0, "csv-time", message, fix=fix) from None
        except ValueError as first:
            message = f"column {layout.header[column]!r}: {str(first)[:60]!r} is no time of a known form"
            fix = "Name the column with --timestamp, or its form with --time-format."
            raise log_file.wrong(self.path, 0, "csv-time", message, fix=fix) from None

    def _case_columns(self, layout: Layout) -> dict[int, str]:
        names = {i: name for i, name in enumerate(layout.header) if i not in (layout.activity, layout.timestamp)}
        prefixed = {
            i: name.removeprefix(_CASE_PREFIX) or name for i, name in names.items() if name.startswith(_CASE_PREFIX)
        }
        return prefixed | {i: name for i, name in names.items() if name in self.options.case_columns}

    def _event(
        self, layout: Layout, line: int, row: list[str], parse: log_time.Parse, case_columns: dict[int, str]
    ) -> LogEvent:
        case, stamp = row[layout.case], row[layout.timestamp].strip()
        if not case.strip():
            raise self._cell(layout, line, layout.case, "is empty", "Each row names its case.")
        attributes: dict[str, str] = {}
        of_case: dict[str, str] = {}
        for column, text in enumerate(row):
            if not text:
                continue
            if len(text) > _MAX_CELL or "\0" in text:
                raise self._cell(layout, line, column, "is too long or holds a zero character", "Shorten it.")
            name = case_columns.get(column)
            if name is not None:
                of_case[name] = text
            elif column != layout.case:
                attributes[layout.header[column]] = text
        activity = row[layout.activity] or UNNAMED
        if len(activity) > _MAX_NAME:
            raise self._cell(layout, line, layout.activity, "is too long", f"Use at most {_MAX_NAME} characters.")
        try:
            time = parse(stamp) if stamp else None
        except (ValueError, OverflowError):
            fix = "Write every time alike, or state the form with --time-format."
            raise self._cell(layout, line, layout.timestamp, f"{stamp[:60]!r} is no time", fix) from None
        return LogEvent(
            case=case,
            activity=activity,
            time=time,
            line=line,
            attributes=attributes,
            case_attributes=of_case or NOTHING,
        )

    def _cell(self, layout: Layout, line: int, column: int, message: str, fix: str) -> CheckFailed:
        return log_file.wrong(self.path, line, "csv-value", f"column {layout.header[column]!r}: {message}", fix=fix)


_WANTED = {"case": _CASE_NAMES, "activity": _ACTIVITY_NAMES, "timestamp": _TIME_NAMES}

"""Malformed `.avsc` files for `schema diff`, and JSON lines for `publish`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from schemas.snapshots import FOLDER
from tests.bad_input.case import Case, places
from tests.bus.payloads import VALID

DIFF, LINES = "avsc", "lines"
SCHEMA = FOLDER / "document.issued.v1.avsc"
TYPE, AGENCY = "portal.request.created.v1", "portal"

GOOD = SCHEMA.read_text(encoding="utf-8")
_RECORD = '{"type": "record", "name": "A", "fields": [%s]}'


def _avsc(name: str, raw: bytes | str, says: str) -> Case:
    return Case(DIFF, name, raw.encode() if isinstance(raw, str) else raw, says)


DIFF_CASES = [
    *places(DIFF, code=3),
    _avsc("empty", "", ":1: is not JSON"),
    _avsc("cut", GOOD[:100], r":5: is not JSON"),
    _avsc("utf-16", GOOD.encode("utf-16"), "not UTF-8"),
    _avsc("gzip", gzip.compress(GOOD.encode()), "not UTF-8"),
    _avsc("a zero byte", GOOD.replace("record", "rec\0ord", 1), r":2: is not JSON"),
    _avsc("a million brackets", "[" * 1_000_000, "larger than|deeper"),
    _avsc("fifty thousand brackets", "[" * 50_000, "nests deeper"),
    _avsc("ten megabytes", '"' + "x" * 10_000_000, "larger than"),
    _avsc("a list", "[]", "not an Avro record"),
    _avsc("a number of many digits", '{"type": ' + "9" * 60_000 + "}", "not JSON"),
    _avsc("not a number", '{"type": NaN}', "not an Avro record"),
    _avsc("type unknown", _RECORD % '{"name": "a", "type": "strnig"}', "strnig"),
    _avsc("name with terminal codes", '{"type": "record", "name": "\\u001b[2J", "fields": []}', r"x1b"),
    _avsc("field twice", _RECORD % '{"name": "a", "type": "int"}, {"name": "a", "type": "int"}', "already in use"),
    _avsc("fields missing", '{"type": "record", "name": "A"}', "fields"),
    _avsc("default of another type", _RECORD % '{"name": "a", "type": "int", "default": "x"}', "(?i)default"),
    _avsc("half a surrogate", '{"type": "record", "name": "\\ud800", "fields": []}', "ud800"),
]
_DATA = VALID["request.created"]


def _line(**changes: Any) -> bytes:
    return json.dumps({"case": "c-1", "data": _DATA} | changes).encode()


def _data(**changes: Any) -> bytes:
    return _line(data=_DATA | changes)


LINE_CASES = [
    *(Case(c.kind, c.name, c.content, c.says, 2, unprivileged=c.unprivileged) for c in places(LINES, code=2)),
    Case(LINES, "cut", _line()[:-5], "line", 1),
    Case(LINES, "not json", b"hello", "line", 1),
    Case(LINES, "a list", b"[1]", "line", 1),
    Case(LINES, "a number", b"17", "line", 1),
    Case(LINES, "no case", json.dumps({"data": _DATA}).encode(), "case", 1),
    Case(LINES, "no data", b'{"case": "c-1"}', "data", 1),
    Case(LINES, "unknown key", _line(extra=1), "extra", 1),
    Case(LINES, "case a number", _line(case=7), "case", 1),
    Case(LINES, "case empty", _line(case=""), "case", 1),
    Case(LINES, "case with terminal codes", _line(case="\x1b[2J"), "case", 1),
    Case(LINES, "case turned right to left", _line(case="\u202ec"), "case", 1),
    Case(LINES, "case of a megabyte", _line(case="c" * 1_000_000), "case", 1),
    Case(LINES, "time without a zone", _line(time="2024-01-01T00:00:00"), "time", 1),
    Case(LINES, "time infinite", _line(time=float("inf")), "time|line", 1),
    Case(LINES, "unknown field", _data(extra=1), "data.extra", 1),
    Case(LINES, "field named by terminal codes", _data(**{"\x1b[2J\u202e": 1}), "data", 1),
    Case(LINES, "wrong choice", _data(channel="pigeon"), "data.channel", 1),
    Case(LINES, "a list for a text", _data(subject=["x"]), "data.subject", 1),
    Case(LINES, "half a surrogate", _data(subject="\ud800"), "data.subject|line", 1),
    Case(LINES, "a zero character", _data(subject="a\0b"), "data.subject", 1),
    Case(LINES, "latin-1", _line(case="ö").replace(b"\\u00f6", b"\xf6"), "line", 1),
    Case(LINES, "utf-16", _line().decode().encode("utf-16"), "line", 1),
    Case(LINES, "gzip", gzip.compress(_line()), "line", 1),
    Case(LINES, "a zero byte", b"\0" + _line(), "line", 1),
    Case(LINES, "a hundred thousand brackets", b"[" * 100_000, "line", 1),
    Case(LINES, "two megabytes on one line", _line() + b" " * 2_000_000, "line", 1),
    Case(LINES, "a number of many digits", b'{"case": ' + b"9" * 500_000 + b"}", "case|line", 1),
]


def words(kind: str, path: Path) -> list[str]:
    """The command that reads the file."""
    return ["schema", "diff", str(path), str(SCHEMA)] if kind == DIFF else ["publish", TYPE, str(path), "--as", AGENCY]

"""Malformed CSV logs, each one mutation of a small right one. Read by `replay`."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.bad_input.case import Case, replaced

KIND = "csv"

GOOD = """\
case,activity,timestamp,amount
c1,ask,2024-01-05T08:00:00Z,10
c1,answer,2024-01-06T08:00:00Z,20
c2,ask,2024-01-07T08:00:00Z,30
"""
MANY = "case,activity,timestamp\n" + "".join(f"c{n},ask,2024-01-05T08:00:00Z\n" for n in range(20_000))


def _with(name: str, old: str, new: str, says: str) -> Case:
    return Case(KIND, name, replaced(GOOD, old, new), says)


def _bytes(name: str, raw: bytes, says: str, *words: str, code: int = 3) -> Case:
    return Case(KIND, name, raw, says, code, words=words)


_TIMES = GOOD.replace("2024-01-0", "0").replace("T08:00:00Z", "/04/2024 08:00")
CASES = [
    _bytes("header only", GOOD.encode().split(b"\n")[0] + b"\n", "column 'timestamp'|no event"),
    _bytes("blank lines only", b"\n\n\n", "has no header"),
    _bytes("no header", GOOD.encode().split(b"\n", 1)[1], ":1: no column"),
    _with("column missing", "timestamp,amount", "when,amount", ":1: no column that is certainly the timestamp"),
    _with("column doubled", "amount\n", "activity\n", ":1: column 'activity' stands twice"),
    _bytes("named column missing", GOOD.encode(), ":1: no column 'who'", "--case", "who"),
    _bytes("one column for two", GOOD.encode(), ":1: no column", "--case", "activity"),
    _with("short row", "c1,answer,2024-01-06T08:00:00Z,20", "c1,answer", ":3: 2 values for 4"),
    _with("long row", "00Z,20", "00Z,20,21", ":3: 5 values for 4"),
    _with("unclosed quote", "c1,answer", '"c1,answer', r":3: "),
    _with("text behind a quote", "c1,answer", '"c1"x,answer', r":3: "),
    _with("empty case", "c1,answer", ",answer", ":3: column 'case': is empty"),
    _with("no time in the middle", "2024-01-06T08:00:00Z", "soon", ":3: column 'timestamp': 'soon' is no time"),
    _with("no time at the start", "2024-01-05T08:00:00Z", "soon", "column 'timestamp': 'soon'"),
    _with("thirtieth of february", "2024-01-06T08", "2024-02-30T08", ":3: column 'timestamp'"),
    _with("year beyond", "2024-01-06T08:00:00Z", "9999-12-31T23:59:59-12:00", ":3: column 'timestamp'"),
    _bytes("ambiguous dates", _TIMES.encode(), "day first and month first"),
    _bytes("wrong format given", GOOD.encode(), ":2: column 'timestamp'", "--time-format", "%d/%m/%Y"),
    _bytes("impossible format given", GOOD.encode(), ":2: .*--time-format", "--time-format", "%Q"),
    _bytes("windows-1252", GOOD.replace("c1,ask", "c1,prüfen").encode("cp1252"), "is not utf-8"),
    _bytes("windows-1252 late", (MANY + "c1,prüfen,2024-01-05T08:00:00Z\n").encode("cp1252"), ":20002: .*not utf-8"),
    _bytes("utf-16 without a mark", GOOD.encode("utf-16-le"), "zero bytes"),
    _bytes("utf-16 cut in a character", GOOD.encode("utf-16")[:-1], "not utf-16"),
    _bytes("wrong encoding given", GOOD.replace("ask", "şərh").encode(), "not ascii", "--encoding", "ascii"),
    _bytes("unknown encoding given", GOOD.encode(), "no known encoding", "--encoding", "klingon", code=2),
    _bytes("an encoding that is no text", GOOD.encode(), "(?i)encoding", "--encoding", "base64", code=2),
    _bytes("a wide delimiter given", GOOD.encode(), "is not one character", "--delimiter", ";;", code=2),
    _bytes("a wrong delimiter given", GOOD.encode(), ":1: no column", "--delimiter", ";"),
    _bytes("a zero byte late", MANY.encode() + b"c1,a\0k,2024-01-05T08:00:00Z\n", ":20002: "),
    _bytes("gzip cut in the middle", gzip.compress(MANY.encode())[:20_000], "gzip data end early"),
    _bytes("row cut in the middle", MANY.encode()[:-30], ":20001: "),
    _bytes("ten megabytes on one line", b"x" * 10_000_000, "header"),
    _bytes("ten megabytes in one cell", GOOD.encode() + b'c1,"' + b"x" * 10_000_000, ":5: "),
    _bytes("a million columns", b"case,activity,timestamp" + b",a" * 1_000_000 + b"\n", ":1: "),
    _bytes("a column name of a megabyte", b"case,activity,timestamp," + b"n" * 100_000 + b"\nc,a,2024-01-05,1\n",
           ":1: a column name is too long"),
    _bytes("carriage returns only", GOOD.replace("\n", "\r").replace("c2,ask", ",ask").encode(), r":4: |'case'"),
    _with("column with terminal codes", "timestamp,amount", "\x1b[2Jwhen\u202e,amount", r":1: .*\\x1b\[2J"),
    _with("value with terminal codes", "2024-01-06T08:00:00Z", "\x1b]0;owned\x07", r":3: .*x1b"),
    _bytes("json", b'{"case": 1,\n"activity": 2}\n', ":1: no column"),
    _bytes("deadline no time", GOOD.encode(), ":2: amount: '10' is no time", "--deadline", "amount"),
    _bytes("seconds that are infinite", b"case,activity,timestamp\nc,a,inf\n", "'inf' is no time"),
    _bytes("seconds beyond any year", b"case,activity,timestamp\nc,a,999999999999999999\n", "timestamp"),
    _bytes("no times at all", b"case,activity,timestamp\nc,a,\nc,b,\n", "timestamp"),
]  # fmt: skip


def words(_kind: str, path: Path) -> list[str]:
    """The command that reads the file."""
    return ["replay", str(path), "--run", "bad"]

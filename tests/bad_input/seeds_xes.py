"""Malformed XES logs, each one mutation of a small right one. Read by `replay`."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

from tests.bad_input.case import Case, places, replaced

KIND = "xes"

_EVENT = """<event>
<string key="concept:name" value="{name}"/>
<date key="time:timestamp" value="2011-10-11T13:45:40+02:00"/>
</event>
"""
GOOD = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1.0" xmlns="http://www.xes-standard.org/">
<extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
<global scope="event"><string key="org:group" value="none"/></global>
<trace>
<string key="concept:name" value="case-1"/>
<int key="weight" value="12"/>
{_EVENT.format(name="one")}{_EVENT.format(name="two")}</trace>
</log>
"""
_TRACES = "".join(
    f'<trace><string key="concept:name" value="c{n}"/>\n{_EVENT.format(name="a")}</trace>\n' for n in range(2_000)
)
MANY = f'<log xmlns="http://www.xes-standard.org/">\n{_TRACES}</log>\n'
_LAUGHS = '<!DOCTYPE log [<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 30)
) + "]>"  # fmt: skip
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_DATE = '<date key="time:timestamp" value="2011-10-11T13:45:40+02:00"/>'
_INT = '<int key="weight" value="12"/>'


def _with(name: str, old: str, new: str, says: str, code: int = 3) -> Case:
    return Case(KIND, name, replaced(GOOD, old, new), says, code)


def _bytes(name: str, raw: bytes, says: str, code: int = 3) -> Case:
    return Case(KIND, name, raw, says, code)


def _extra(name: str, element: str, says: str) -> Case:
    """The right log with one more attribute in its trace, on line 7."""
    return _with(name, _INT, element, says)


def _first_date(value: str) -> str:
    return GOOD.replace("2011-10-11T13:45:40+02:00", value, 1)


def _large(head: str, unit: str, megabytes: int, tail: str) -> Callable[[Path], None]:
    """Writes a file of so many megabytes, a megabyte at a time."""

    def write(path: Path) -> None:
        block = unit * (1_000_000 // len(unit))
        with path.open("w") as out:
            out.write(head)
            for _ in range(megabytes):
                out.write(block)
            out.write(tail)

    return write


def _gzip_bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(b"<log>")
        for _ in range(100):
            out.write(b" " * 1_000_000)


_PACKED = gzip.compress(MANY.encode())
_OPEN = '<log xmlns="http://www.xes-standard.org/"><trace>'
_FILE = [
    *places(KIND, code=2),
    _bytes("empty", b"", "is empty"),
    _bytes("spaces only", b" \n \n", "header|empty|column"),
    _bytes("empty gzip", gzip.compress(b""), "header|empty|column"),
    _bytes("gzip cut in the middle", _PACKED[: len(_PACKED) // 2], "gzip data end early"),
    _bytes("gzip with a flipped byte", _PACKED[:200] + bytes([_PACKED[200] ^ 255]) + _PACKED[201:], "gzip|not|:"),
    _bytes("gzip with a wrong sum", _PACKED[:-8] + b"\0\0\0\0" + _PACKED[-4:], "damaged gzip"),
    _bytes("gzip header only", _PACKED[:10], "gzip data end early"),
    _bytes("gzip with rubbish behind", _PACKED + b"rubbish", "damaged gzip|gzip"),
    _bytes("zip", b"PK\x03\x04" + b"\0" * 100, "is a zip file"),
    _bytes("zstd", b"\x28\xb5\x2f\xfd" + b"\0" * 100, "is a zstd file"),
    _bytes("random bytes", b"\1" + bytes(range(256)) * 40, "zero bytes"),
    _bytes("first half only", MANY.encode()[: len(MANY) // 2], r":\d+: "),
    _bytes("cut inside a tag", GOOD.encode()[: GOOD.index("2011")], r":\d+: "),
    _bytes("cut before the end", GOOD.encode()[: GOOD.index("</log>")], r":\d+: "),
    _with("utf-8 said to be utf-16", 'encoding="UTF-8"', 'encoding="UTF-16"', r":\d+: |encoding"),
    _bytes("latin-1 said to be utf-8", GOOD.replace("case-1", "Schön").encode("latin-1"), r":6: "),
    _with("unknown encoding", 'encoding="UTF-8"', 'encoding="KLINGON-8"', "(?i)encoding"),
    _bytes("a zero byte", GOOD.encode().replace(b"case-1", b"case\0001"), r":6: "),
    _with("a control character", "case-1", "case\x1b[2J", r":6: "),
    _with("a character reference to nothing", "case-1", "case&#0;", r":6: "),
    _bytes("two roots", (GOOD + GOOD.split("\n", 1)[1]).encode(), r":\d+: "),
    _bytes("rubbish behind the end", GOOD.encode() + b"rubbish", r":\d+: "),
    _bytes("html", b"<!DOCTYPE html>\n<html><body>404</body></html>", "document type|not <log>"),
    _bytes("another xml", b"<?xml version='1.0'?>\n<processes/>\n", ":2: the root is <processes>"),
    _bytes("root name with terminal codes", "<\u202elog/>".encode(), ":1: "),
]  # fmt: skip
_BOMBS = [
    _with("billion laughs", _HEAD, _HEAD + _LAUGHS, "document type"),
    _bytes("billion laughs used", GOOD.replace(_HEAD, _HEAD + _LAUGHS).replace("case-1", "&a29;").encode(),
           "document type|entity|:1: "),
    _with("quadratic blowup", _HEAD, _HEAD + f'<!DOCTYPE log [<!ENTITY a "{"x" * 100_000}">]>', "document type"),
    _with("external entity", _HEAD, _HEAD + '<!DOCTYPE log [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
          "document type"),
    _with("external dtd", _HEAD, _HEAD + '<!DOCTYPE log SYSTEM "http://127.0.0.1:1/x.dtd">', "document type"),
    _with("parameter entity", _HEAD, _HEAD + '<!DOCTYPE log [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
          "document type|:1: "),
    _with("undefined entity", "case-1", "&nothing;", ":6: "),
    Case(KIND, "a million nested strings", _large(_OPEN, '<string key="a" value="b">', 26, ""), ":1: "),
    Case(KIND, "a million nested traces", _large('<log xmlns="http://www.xes-standard.org/">', "<trace>", 7, ""),
         "stands inside a trace|:1: "),
    Case(KIND, "ten megabytes in one value", _large(_OPEN + '<string key="concept:name" value="', "x", 10,
         '"/></trace></log>'), "without an event"),
    Case(KIND, "seventy megabytes of spaces", _large(_OPEN, " ", 70, "</trace></log>"), "without an event|:1: "),
    Case(KIND, "half a million attributes", _large(_OPEN, '<string key="a" value="b"/>', 14, "</trace></log>"),
         "without an event|attribute"),
    Case(KIND, "gzip bomb", _gzip_bomb,
         "without an event|too long|limit"),
]  # fmt: skip
_CONTENT = [
    _with("no events", _EVENT.format(name="one") + _EVENT.format(name="two"), "", "holds no event"),
    _bytes("no traces", b'<log xmlns="http://www.xes-standard.org/"/>', "holds no event"),
    _bytes("never a date", _first_date("never").encode(), ":10: time:timestamp: 'never'"),
    _bytes("empty date", _first_date("").encode(), ":10: time:timestamp"),
    _bytes("thirteenth month", _first_date("2011-13-01T00:00:00").encode(), ":10: .*2011-13"),
    _bytes("year zero", _first_date("0000-01-01T00:00:00Z").encode(), ":10: "),
    _bytes("year 12011", _first_date("12011-01-01T00:00:00Z").encode(), ":10: "),
    _bytes("beyond the last year", _first_date("9999-12-31T23:59:59-14:00").encode(), ":10: "),
    _bytes("day first", _first_date("11.10.2011 13:45").encode(), ":10: "),
    _bytes("date with terminal codes", _first_date("&#x202E;2011&#x9b;31m").encode(), r":10: .*\\u202e"),
    _bytes("time is a string", GOOD.replace(_DATE, '<string key="time:timestamp" value="yesterday"/>', 1)
           .encode(), ":8: time:timestamp"),
    _bytes("no times at all", GOOD.replace(_DATE, "").encode(), "no event states one"),
    _extra("int with a comma", '<int key="weight" value="12,5"/>', ":7: weight: '12,5' is no int"),
    _extra("int beyond 64 bits", '<int key="weight" value="9223372036854775808"/>', ":7: weight"),
    _extra("int of a million digits", f'<int key="weight" value="{"9" * 1_000_000}"/>', ":7: weight"),
    _extra("float in words", '<float key="weight" value="Infinity"/>', ":7: weight"),
    _extra("boolean in words", '<boolean key="weight" value="yes"/>', ":7: weight"),
    _extra("attribute without a key", '<int value="1"/>', ":7: <int> has no key"),
    _extra("attribute without a value", '<int key="weight"/>', ":7: weight: <int> has no value"),
    _extra("unknown element", "<weight/>", ":7: <weight>"),
    _extra("key of a megabyte", f'<int key="{"k" * 1_000_000}" value="1"/>', ":7: <int>"),
    _extra("nested forty deep", '<string key="a" value="b">' * 40 + "</string>" * 40, ":7: .*deeper"),
    _extra("key with terminal codes", '<int key="&#x9b;2J" value="x"/>', r":7: \\x9b2J"),
    _with("event in an event", '<string key="concept:name" value="two"/>', "<event/>", r":\d+: <event> stands outside"),
    _with("trace in a trace", _INT, "<trace/>", ":7: <trace> stands inside"),
    _with("global behind the traces", "</trace>\n</log>", '</trace>\n<global scope="event"/>\n</log>',
          "after the first"),
    _with("unknown scope", 'scope="event"', 'scope="galaxy"', ":4: .*galaxy"),
    _with("doubled attribute", 'value="12"', 'value="12" value="13"', ":7: "),
    _with("unclosed trace", "</trace>", "", r":\d+: "),
    _with("unbound prefix", _INT, '<x:int key="weight" value="12"/>', ":7: "),
    Case(KIND, "deadline that is not there", GOOD.encode(), "has the attribute 'due'", words=("--deadline", "due")),
    Case(KIND, "deadline that is no time", GOOD.encode(), "weight: '12' is no time", words=("--deadline", "weight")),
    Case(KIND, "delimiter for xml", GOOD.encode(), "--delimiter is for CSV", 2, words=("--delimiter", ";")),
]  # fmt: skip

CASES = [*_FILE, *_BOMBS, *_CONTENT]


def words(_kind: str, path: Path) -> list[str]:
    """The command that reads the file."""
    return ["replay", str(path), "--run", "bad"]

"""Opens a recorded log: plain or gzip by its first bytes, XES or CSV by its first character, never by its name.

Called by `xes`, `csv_log` and `replay`. The trap it avoids: a truncated or foreign file surfaces as one of a dozen
exceptions (EOFError, BadGzipFile, zlib.error, UnicodeDecodeError, ...); `reading` turns each into one finding.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from bus.errors import BusError, CheckFailed, Finding, UsageError

_GZIP = b"\x1f\x8b"
_PACKED = {
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The first bytes of a UTF-16 or UTF-32 XML file without a byte order mark (XML 1.0, appendix F).
_WIDE_XML = (b"<\0?\0", b"\0<\0?", b"<\0\0\0", b"\0\0\0<")


def wrong(path: Path, line: int, rule: str, message: str, *, fix: str = "") -> CheckFailed:
    """One finding about a log file, as the error to raise.

    Args:
        path: the file.
        line: 1-based, 0 when the whole file is meant.
        rule: name of the rule.
        message: what is wrong, said of the file.
        fix: what to do about it.
    """
    return CheckFailed([Finding(str(path), line, rule, message, fix)])


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for reading, unpacked when it is gzip.

    Raises:
        UsageError: no such file, not a file, not readable.
        CheckFailed: packed otherwise, or damaged; also when that shows only while the caller reads.
    """
    try:
        with _opened(path) as raw:
            head = raw.read(8)
            raw.seek(0)
            for magic, name in _PACKED.items():
                if head.startswith(magic):
                    raise wrong(path, 0, "packed", f"is a {name} file", fix="Unpack it, or pack it with gzip.")
            if not head:
                raise wrong(path, 0, "empty", "is empty", fix="Give an XES or CSV log.")
            yield cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if head.startswith(_GZIP) else raw
    except EOFError:
        raise wrong(path, 0, "gzip", "the gzip data end early", fix="Fetch the file again.") from None
    except (gzip.BadGzipFile, zlib.error) as problem:
        raise wrong(path, 0, "gzip", f"damaged gzip data ({problem})", fix="Fetch the file again.") from None
    except OSError as problem:
        raise BusError(f"{path}: reading failed ({problem.strerror or problem}).", remedy="Check the disk.") from None


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as problem:
        reason = (problem.strerror or "cannot be opened").lower()
        raise UsageError(f"{path}: {reason}.", remedy="Give the path of a readable XES or CSV log.") from None


def head_of(path: Path, *, size: int = 65_536) -> bytes:
    """The first `size` bytes, unpacked. Raises as `reading`."""
    with reading(path) as stream:
        return stream.read(size)


def bom_encoding(head: bytes) -> str | None:
    """The encoding a byte order mark at the start states, as Python's codec name; None when there is none."""
    return next((name for bom, name in _BOMS if head.startswith(bom)), None)


def is_xml(head: bytes) -> bool:
    """Whether a file that starts with `head` is XML in any encoding: its first character is ``<``."""
    if head.startswith(_WIDE_XML):
        return True
    encoding = bom_encoding(head)
    text = head[:1024] if encoding is None else head[:1024].decode(encoding, "ignore").encode()
    return text.lstrip().startswith(b"<")

"""One case of bad input: what stands where the file should be, and what the command has to say about it.

Used by the `seeds_*` modules, which make the cases, and by the tests, which run them. The trap it avoids: a case
that passes because the command failed for another reason; each says what its message must name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Content = bytes | Callable[[Path], None]
"""The bytes of the file, or a function that puts something else in its place."""


@dataclass(frozen=True, slots=True)
class Case:
    """One malformed input.

    Args:
        kind: what reads it, and how it is run. name: the mutation, unique within its kind.
        content: what stands at the path.
        says: regular expression that stderr must match: the line, the field or the fault.
        code: exit code; the usual one of a file that was read and found wrong is 3.
        words: further words of the command line.
        environment: variables of the command's process.
        unprivileged: run without the rights of root, so that file modes count.
    """

    kind: str
    name: str
    content: Content
    says: str
    code: int = 3
    words: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    unprivileged: bool = False

    def __post_init__(self) -> None:
        re.compile(self.says)

    def put(self, path: Path) -> None:
        """Make the input at `path`."""
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)

    def __str__(self) -> str:
        return f"{self.kind}-{self.name.replace(' ', '_')}"


def places(kind: str, *, code: int, directory: str = "irectory") -> list[Case]:
    """What may stand where a file should be, for any kind: nothing, a folder, a loop of links, a locked file."""
    return [
        Case(kind, "missing", lambda path: None, "(?i)no such file|there is no", code),
        Case(kind, "directory", Path.mkdir, f"(?i){directory}", code),
        Case(kind, "symlink loop", lambda path: path.symlink_to(path), "(?i)symbolic links|there is no", code),
        Case(kind, "dangling link", lambda path: path.symlink_to("nowhere"), "(?i)no such file|there is no", code),
        Case(kind, "unreadable", _locked, "(?i)permission denied", code, unprivileged=True),
    ]


def _locked(path: Path) -> None:
    path.write_bytes(b"a: 1\n")
    path.chmod(0)


def replaced(text: str, old: str, new: str) -> bytes:
    """`text` with its one `old` replaced, as UTF-8."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the seed"
    return text.replace(old, new).encode()

"""Python source under construction: lines, fresh names, and the objects the lines name.

Extended by `schemas.writer` and `schemas.reader`, which generate one function per contract. The trap it avoids: names
taken from outside in generated code; variables are numbered here, and objects come in by `scope`, never as text.
"""

from __future__ import annotations

from typing import Any


class Source:
    """Lines of one function.

    Attributes:
        scope: what the lines may name beside their own variables; grows as they are put.
    """

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}
        self._lines: list[str] = []
        self._count = 0

    def put(self, line: str, depth: int) -> None:
        """Add a line, indented by `depth` steps."""
        self._lines.append("    " * depth + line)

    def fresh(self) -> str:
        """A variable name not used yet."""
        self._count += 1
        return f"v{self._count}"

    def run(self, *, title: str) -> tuple[dict[str, Any], str]:
        """Run the lines in `scope`; return it with what they defined, and the text. `title` is shown in tracebacks."""
        code = "\n".join(self._lines) + "\n"
        exec(compile(code, f"<{title}>", "exec"), self.scope)  # noqa: S102  # the source is made from our own shape
        return self.scope, code

"""Text from outside made safe to print: what would steer a terminal, or forge a line, is shown as its escape.

Called by `bus.errors` and by whatever writes for people or as JSON lines. The traps it avoids: a hostile file whose
name, key or value moves the operator's cursor, hides a finding or turns a sentence around (escape sequences, C1
controls, right-to-left marks), half a surrogate pair that ends a printing command, and a megabyte in one message.
"""

from __future__ import annotations

MAX_TEXT = 1_000  # characters of one message shown to people; whoever needs all of it has the file


def line(text: str) -> str:
    """`text` on one line: line ends, tabs and what a terminal would act on become escapes such as hex 1b for ESC."""
    return text if text.isprintable() else "".join(map(_shown, text))


def lines(text: str) -> str:
    """As `line`, keeping line feeds."""
    return "\n".join(map(line, text.split("\n")))


def clipped(text: str, *, limit: int = MAX_TEXT) -> str:
    """`text`, or its beginning with the number of characters left out when it is longer than `limit`."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def json_text(text: str) -> str:
    """JSON text with what cannot be printed escaped; the document stays the same."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _json_escape(char) for char in text)


def _shown(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def _json_escape(char: str) -> str:
    pair = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pair[at : at + 4]}" for at in range(0, len(pair), 4))

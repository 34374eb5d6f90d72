"""A process as a self-contained, accessible SVG, drawn from the graph that runs.

Called by `workflow draw`. Steps stand below each other, arms and branches side by side; nothing is looked up or
loaded, so the file can go into a public notice. The trap it avoids: text of a definition that becomes markup or a
script; every text passes `_escape`, and no attribute holds any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from xml.sax.saxutils import escape

from agents.diagram import facts, opening_text
from agents.graph import Block, Graph, Step

_WIDTH = 300  # of a step, in px; at 12 px Helvetica about 46 characters fit
_CHARS = 44
_LINE = 16
_PAD = 12
_GAP = 30  # room for an arrow
_COLUMN = 28
_JOINING = (
    "\u00a0\u200c\u200d"  # unbroken space and the joiners of scripts and emoji: not printable to Python, yet text
)
_STYLE = (
    "text{font:12px system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1b1b1b}.t{font-weight:600}"
    ".l{font-style:italic;fill:#444}.s{fill:#fff;stroke:#3b5b78;stroke-width:1.5}.e{fill:#eef3f7;stroke:#3b5b78}"
    ".c{fill:#fdf6e3;stroke:#8a6d1a}.w{fill:none;stroke:#8a94a0;stroke-dasharray:5 4}"
    ".a{fill:none;stroke:#3b5b78;stroke-width:1.5}"
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Something measured: `paint` draws it with its upper left corner at (x, y). `ends`: nothing follows it."""

    width: int
    height: int
    paint: Callable[[int, int], list[str]]
    ends: bool = False


def svg(graph: Graph) -> str:
    """The process as an SVG document, ending in a newline."""
    opening = _card(
        "e", "Opens on", [opening_text(graph), *([f"deadline of the case: {graph.deadline}"] if graph.deadline else [])]
    )
    body = _sequence(graph, graph.layout, first=opening)
    width = body.width + 2 * _COLUMN
    title = wrap(graph.title, max(20, body.width // 8))
    top = _COLUMN + _LINE * (len(title) + 1)
    height = body.height + _COLUMN + top
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'role="img" aria-labelledby="title desc">'
        ),
        f'<title id="title">Process {_escape(graph.process)}</title>',
        f'<desc id="desc">{_escape(description(graph))}</desc>',
        f"<style>{_STYLE}</style>",
        (
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            'orient="auto"><path d="M0 0L10 5L0 10z" fill="#3b5b78"/></marker></defs>'
        ),
        f'<rect width="{width}" height="{height}" fill="#fafbfc"/>',
        *(_text(_COLUMN, _COLUMN + _LINE * number, row, "t") for number, row in enumerate(title)),
        *body.paint(_COLUMN, top),
        "</svg>",
        "",
    ]
    return "\n".join(parts)


def description(graph: Graph) -> str:
    """The process in sentences, for those who hear the picture instead of seeing it."""
    said = [f"{graph.title}. It opens on {opening_text(graph)}."]
    for step in graph.steps.values():
        details = "; ".join(facts(step))
        said.append(f"{step.title}{': ' + details if details else ''}.")
    return " ".join(said)


def _escape(text: str) -> str:
    """Text as XML character data; what XML 1.0 does not know, or a terminal or reader would act on, is left out."""
    return escape("".join(char for char in text if char.isprintable() or char in _JOINING))


def _text(x: int, y: int, text: str, style: str = "", anchor: str = "start") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x}" y="{y}"{kind} text-anchor="{anchor}">{_escape(text)}</text>'


def _card(style: str, title: str, said: Sequence[str], *, ends: bool = False) -> _Shape:
    """A box of fixed width with a bold title and lines below it."""
    head = wrap(title, _CHARS - 4) or [""]
    rows = [row for text in said for row in wrap(text, _CHARS, subsequent_indent="  ")]
    height = 2 * _PAD + _LINE * (len(head) + len(rows)) - 4

    def paint(x: int, y: int) -> list[str]:
        round_ = 18 if style == "e" else 5
        parts = ["<g>", f'<rect class="{style}" x="{x}" y="{y}" width="{_WIDTH}" height="{height}" rx="{round_}"/>']
        for number, row in enumerate([*head, *rows]):
            place = y + _PAD + 10 + _LINE * number
            parts.append(_text(x + _PAD, place, row, "t" if number < len(head) else ""))
        return [*parts, "</g>"]

    return _Shape(_WIDTH, height, paint, ends)


def _arrow(x: int, top: int, bottom: int) -> str:
    return f'<path class="a" marker-end="url(#tip)" d="M{x} {top}V{bottom - 1}"/>'


def _line(x: int, top: int, length: int) -> str:
    return f'<path class="a" d="M{x} {top}V{top + length}"/>'


def _sequence(graph: Graph, blocks: Sequence[Block], first: _Shape | None = None) -> _Shape:
    """Shapes below each other with arrows between them."""
    shapes = [*([first] if first else []), *(_block(graph, block) for block in blocks)]
    width = max((shape.width for shape in shapes), default=_WIDTH // 2)
    height = sum(shape.height for shape in shapes) + _GAP * max(0, len(shapes) - 1)

    def paint(x: int, y: int) -> list[str]:
        parts: list[str] = []
        middle = x + width // 2
        for number, shape in enumerate(shapes):
            if number:
                parts.append(_arrow(middle, y, y + _GAP))
                y += _GAP
            parts += shape.paint(middle - shape.width // 2, y)
            y += shape.height
        return parts

    return _Shape(width, height, paint, bool(shapes) and shapes[-1].ends)


def _block(graph: Graph, block: Block) -> _Shape:
    step = graph.steps[block.step]
    if step.kind == "end":
        return _card("e", step.title if step.title.startswith("end") else f"End: {step.title}", [], ends=True)
    if not block.inner:
        return _card("s", step.title, facts(step))
    return _parted(graph, block, step)


def _parted(graph: Graph, block: Block, step: Step) -> _Shape:
    """A head card with its arms, branches or loop body side by side below it, in a dashed frame."""
    hint = {"switch": "one of these", "fork": "all of these, side by side", "repeat": "again and again"}[step.kind]
    head = _card("c", step.title, [hint])
    columns = [(label, _sequence(graph, inner)) for label, inner in block.inner]
    labels = [wrap(label, max(20, column.width // 7)) or [""] for label, column in columns]
    caption = _LINE * max(len(label) for label in labels) + 6
    inner_width = sum(column.width for _, column in columns) + _COLUMN * (len(columns) - 1)
    width = max(head.width, inner_width) + 2 * _COLUMN
    tallest = max(column.height for _, column in columns)
    top = head.height + _GAP // 2
    foot = top + 2 * _GAP + caption + tallest
    ends = all(column.ends for _, column in columns)

    def paint(x: int, y: int) -> list[str]:
        middle = x + width // 2
        frame = f'<rect class="w" x="{x}" y="{y + head.height // 2}" width="{width}" rx="8" '
        parts = ["<g>", f'{frame}height="{foot - head.height // 2}"/>', *head.paint(middle - head.width // 2, y)]
        parts.append(f'<path class="a" d="M{middle} {y + head.height}V{y + top}"/>')
        left = middle - inner_width // 2
        for (_, column), label in zip(columns, labels, strict=True):
            center = left + column.width // 2
            start = y + top + caption
            parts.append(f'<path class="a" d="M{middle} {y + top}H{center}V{y + top + 6}"/>')
            parts += [_text(center, y + top + 6 + _LINE * (row + 1) - 4, text, "l", "middle")
                      for row, text in enumerate(label)]  # fmt: skip
            lead = _arrow(center, start + 4, start + _GAP) if column.height else _line(center, start + 4, _GAP - 4)
            parts.append(lead)
            parts += column.paint(left, start + _GAP)
            if not column.ends:
                bottom = start + _GAP + column.height
                parts.append(f'<path class="a" d="M{center} {bottom}V{y + foot - 10}H{middle}V{y + foot}"/>')
            left += column.width + _COLUMN
        return [*parts, "</g>"]

    return _Shape(width, foot, paint, ends)

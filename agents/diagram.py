"""A process as a Mermaid flowchart, drawn from the graph that runs.

Called by `workflow draw`; `agents.svg` draws the same as a picture. The trap it avoids: a title with quotes or
brackets that ends a label and becomes markup; every character with a meaning to Mermaid goes out as its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agents.graph import Block, Graph, Step

_SPECIAL = frozenset('"#<>&;`|\\[](){}')


def mermaid(graph: Graph) -> str:
    """The process as Mermaid flowchart text, ending in a newline."""
    chart = _Chart(graph)
    chart.line(f'  opening(["{_escape(opening_text(graph))}"])')
    chart.sequence(graph.layout, [_Loose("opening")])
    return "\n".join(
        [
            "flowchart TD",
            f"  accTitle: {_plain(graph.process)}",
            f"  accDescr: {_plain(graph.title)}",
            *chart.lines,
            "",
        ]
    )


def opening_text(graph: Graph) -> str:
    """How a case opens, in words."""
    agency, entity, fact, _ = graph.opens_on.split(".")
    return f"{entity} {fact} ({agency})"


def facts(step: Step) -> list[str]:
    """What is to be said of a step, one line each: owner, what it waits for, deadline, papers, legal basis."""
    said = [f"owner: {step.owner}"] if step.owner else []
    if step.kind == "emit":
        said.append(f"publishes {step.topic}")
    elif step.waits_for:
        said.append(f"waits for {step.waits_for}")
    if step.deadline:
        said.append(f"deadline: {step.deadline}")
    if step.replaces:
        said.append(f"replaces: {', '.join(step.replaces)}")
    if step.legal_basis:
        said.append(step.legal_basis)
    return said


@dataclass(frozen=True, slots=True)
class _Loose:
    """An arrow that has begun at `source` and not yet ended."""

    source: str
    label: str = ""


@dataclass(slots=True)
class _Chart:
    graph: Graph
    lines: list[str] = field(default_factory=list)

    def line(self, text: str) -> None:
        self.lines.append(text)

    def sequence(self, blocks: Sequence[Block], loose: list[_Loose]) -> list[_Loose]:
        """Draw blocks one after the other; returns the arrows that lead on."""
        for block in blocks:
            loose = self.block(block, loose)
        return loose

    def node(self, block: Block, loose: list[_Loose], shape: tuple[str, str] = ("[", "]")) -> str:
        """Draw one node with the arrows that end at it; returns its name."""
        step = self.graph.steps[block.step]
        name = f"s_{block.step}"
        label = "<br/>".join(_escape(text) for text in [step.title, *facts(step)])
        self.line(f'  {name}{shape[0]}"{label}"{shape[1]}')
        for arrow in loose:
            text = f'|"{_escape(arrow.label)}"|' if arrow.label else ""
            self.line(f"  {arrow.source} -->{text} {name}")
        return name

    def block(self, block: Block, loose: list[_Loose]) -> list[_Loose]:
        kind = self.graph.steps[block.step].kind
        if kind == "end":
            self.node(block, loose, ("([", "])"))
            return []
        if kind == "switch":
            name = self.node(block, loose, ("{", "}"))
            return [end for label, arm in block.inner for end in self.sequence(arm, [_Loose(name, label)])]
        if kind == "fork":
            return self.fork(block, loose)
        if kind == "repeat":
            label, body = block.inner[0]
            name = self.node(block, loose, ("{{", "}}"))
            ends = self.sequence(body, [_Loose(name)])
            for end in ends:
                self.line(f"  {end.source} -.->|again| {name}")
            return [_Loose(end.source, label) for end in ends]
        return [_Loose(self.node(block, loose))]

    def fork(self, block: Block, loose: list[_Loose]) -> list[_Loose]:
        name = self.node(block, loose, ("[/", "/]"))
        ends = [end for label, branch in block.inner for end in self.sequence(branch, [_Loose(name, label)])]
        join = f"j_{block.step}"
        self.line(f'  {join}(["all done"])')
        for end in ends:
            self.line(f"  {end.source} --> {join}")
        return [_Loose(join)]


def _escape(text: str) -> str:
    """Text inside a quoted Mermaid label; characters with a meaning become their codes."""
    return "".join(f"#{ord(char)};" if char in _SPECIAL else char if char.isprintable() else " " for char in text)


def _plain(text: str) -> str:
    """Text of an accessibility line: it ends at the line's end and knows no codes."""
    return "".join(char if char.isprintable() and char not in "{}" else " " for char in text)

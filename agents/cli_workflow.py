"""`agencybus workflow check` and `workflow draw`: a designer's first two commands, no broker needed.

Registered by `agents.commands`. The trap it avoids: a checker that stops at the first bad file; all files are read,
and every finding is printed before the exit code says that there are some.
"""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bus import printable
from bus.cli import context
from bus.errors import BusError, CheckFailed, Finding

app = typer.Typer(name="workflow", help="Check and draw process definitions.", no_args_is_help=True)

_FOUND = 3  # exit code of a failed check


class Format(StrEnum):
    """What `draw` writes."""

    MERMAID = "mermaid"
    SVG = "svg"


@app.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Process definitions (YAML).")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of findings on stdout.")] = False,
) -> None:
    """Check process definitions: every fault with its line and what to write instead. Exit 3 when there are any."""
    from agents.compile import compile_file
    from schemas.catalogue import standard

    catalogue = standard()
    findings: list[Finding] = []
    for file in files:
        try:
            graph = compile_file(file, catalogue)
        except CheckFailed as failed:
            findings += failed.findings
            if not as_json:
                context.note(failed.message)
            continue
        if not as_json:
            right = f"{file}: process {graph.process} is right ({len(graph.steps)} steps, {graph.hash[:12]})."
            typer.echo(printable.line(right))
    if as_json:
        context.print_json([asdict(finding) for finding in findings])
    if findings:
        raise typer.Exit(_FOUND)


@app.command("draw")
def draw(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A process definition (YAML).")],
    *,
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.MERMAID,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write here instead of to stdout.")] = None,
) -> None:
    """Draw a process definition as Mermaid text or as a self-contained SVG."""
    from agents.compile import compile_file
    from agents.diagram import mermaid
    from agents.svg import svg
    from schemas.catalogue import standard

    graph = compile_file(file, standard())
    drawn = svg(graph) if form is Format.SVG else mermaid(graph)
    if out is None:
        typer.echo(drawn, nl=False)
        return
    try:
        out.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise BusError(f"{out} cannot be written: {error.strerror}.", remedy="Name a file you may write.") from None
    context.note(f"wrote {out}")

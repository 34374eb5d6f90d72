"""`agencybus schema check|diff`: are the contracts fit to publish, and what would a change break.

Registered by `bus.cli.main`. The trap it avoids: a breaking change found by the agency that can no longer read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bus.cli import context

if TYPE_CHECKING:  # imported where used: the Avro libraries would slow every `--help`
    from bus.errors import Finding
    from schemas.flaw import Flaw


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    schema = typer.Typer(no_args_is_help=True, help="The contracts: snapshots, rules, compatibility.")
    schema.command("check")(check)
    schema.command("diff")(diff)
    app.add_typer(schema, name="schema")


def check(
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Bring the snapshots up to date first.")] = False,
    release: Annotated[
        str | None, typer.Option("--release", help="When all is well, keep the schemas as this release's.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where the .avsc files are; default: with the contracts.")] = None,
) -> None:
    """Compare snapshots, lint, and check compatibility with every past release; exit 3 on findings."""
    from schemas import snapshots
    from schemas.catalogue import standard

    place = folder or snapshots.FOLDER
    models = standard().models()
    if write:
        for path in snapshots.write(models, place):
            context.note(f"wrote {path}" if path.exists() else f"removed {path}")
    findings = sorted(_finding(path, flaw) for path, flaw in snapshots.problems(models, place))
    if json:
        context.print_json([_plain(finding) for finding in findings])
    else:
        for finding in findings:
            context.show(str(finding))
        context.note(f"{len(models)} contracts, {len(findings)} findings")
    if findings:
        raise typer.Exit(3)
    if release is not None:
        context.note(f"kept in {snapshots.release(models, release, place)}")


def diff(
    a: Annotated[Path, typer.Argument(metavar="OLD", help="The .avsc file of the old version.")],
    b: Annotated[Path, typer.Argument(metavar="NEW", help="The .avsc file of the new version.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say what would break between two schemas, per level; exit 0 when each reads the other, else (or no schema) 3."""
    from bus.errors import CheckFailed, Finding
    from schemas.compat import Level, check
    from schemas.errors import SchemaFileRefused
    from schemas.snapshots import load

    try:
        old, new = load(a), load(b)
    except SchemaFileRefused as no:
        raise CheckFailed([Finding(no.file, no.line, "avsc", f"{no.reason}.", "Give an .avsc file.")]) from None
    levels = {level: check(new, [old], level) for level in (Level.BACKWARD, Level.FORWARD, Level.FULL)}
    findings = [_finding(b, flaw) for flaw in levels[Level.FULL]]
    verdicts = {str(level): "compatible" if not flaws else "incompatible" for level, flaws in levels.items()}
    if json:
        context.print_json({"levels": verdicts, "findings": [_plain(finding) for finding in findings]})
    else:
        for finding in findings:
            context.show(str(finding))
        context.show(", ".join(f"{level}: {verdict}" for level, verdict in verdicts.items()))
    if findings:
        raise typer.Exit(3)


def _finding(path: Path, flaw: Flaw) -> Finding:
    from bus.errors import Finding

    message = f"{flaw.path}: {flaw.message}" if flaw.path else flaw.message
    return Finding(str(path), _line(path, flaw.path), flaw.rule, message, flaw.fix)


def _line(path: Path, field: str) -> int:
    """The 1-based line of a field in an indented `.avsc`: each part of its path is looked for after the one before.

    0 when there is no such file or field.
    """
    if not field or not path.exists():
        return 0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    at = 0
    for part in field.replace("[]", "").replace("{}", "").split("."):
        at = next((i for i in range(at, len(lines)) if f'"name": "{part}"' in lines[i]), -1) + 1
        if at == 0:
            return 0
    return at


def _plain(finding: Finding) -> dict[str, object]:
    return {
        "file": finding.file,
        "line": finding.line,
        "rule": finding.rule,
        "message": finding.message,
        "fix": finding.fix,
    }

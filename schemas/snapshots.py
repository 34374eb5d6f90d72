"""The committed `.avsc` files: what the contracts say now, and what past releases said.

`schemas/avsc/<contract>.v<major>.avsc` is regenerated and compared by `agencybus schema check`;
`schemas/avsc/released/<version>/` keeps what each release published, and is never rewritten. The trap it avoids: a
changed model that changes the wire without a line in the review.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.avro import schema_of
from schemas.compat import Level, check
from schemas.errors import SchemaFileRefused, SchemaRefused
from schemas.event import Event
from schemas.flaw import Flaw
from schemas.lint import lint, lint_model

FOLDER = Path(__file__).parent / "avsc"
MAX_FILE = 64 * 1024  # bytes; a schema above it is an attack or a mistake (research/trust.md section 4)
_MAX_OPEN = 64  # brackets open at once in the text; the JSON parser recurses once per bracket


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One contract's file, as generated now."""

    path: Path
    text: str
    model: type[Event]


def snapshot(model: type[Event], folder: Path = FOLDER) -> Snapshot:
    """Return what the file of a contract should hold. Raises SchemaRefused."""
    text = json.dumps(schema_of(model), indent=2, ensure_ascii=False) + "\n"
    return Snapshot(folder / f"{model.contract}.v{model.major}.avsc", text, model)


def write(models: Iterable[type[Event]], folder: Path = FOLDER) -> list[Path]:
    """Bring the files up to date and remove those without a contract; return the paths that changed."""
    changed = []
    wanted = [snapshot(model, folder) for model in models]
    folder.mkdir(parents=True, exist_ok=True)
    for file in wanted:
        if not file.path.exists() or file.path.read_text(encoding="utf-8") != file.text:
            file.path.write_text(file.text, encoding="utf-8")
            changed.append(file.path)
    for stray in sorted(set(folder.glob("*.avsc")) - {file.path for file in wanted}):
        stray.unlink()
        changed.append(stray)
    return changed


def release(models: Iterable[type[Event]], version: str, folder: Path = FOLDER) -> Path:
    """Keep the current schemas as those of a release; return its folder.

    Args:
        models: the contracts to keep.
        version: the release's, such as ``1.2.0``; names its folder.
        folder: of all snapshots; the release goes to ``released/VERSION`` in it.

    Raises:
        SchemaRefused: when that release is there already: what was published does not change.
    """
    target = folder / "released" / version
    if target.exists():
        raise SchemaRefused(f"release {version} is kept already in {target}; take the next version")
    write(models, target)
    return target


def released(model: type[Event], folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Return what past releases said of a contract's major, oldest release first. Raises SchemaRefused."""
    name = f"{model.contract}.v{model.major}.avsc"
    files = (folder / "released").glob(f"*/{name}")
    return [load(path) for path in sorted(files, key=lambda p: _version(p.parent.name))]


def problems(models: Iterable[type[Event]], folder: Path = FOLDER) -> list[tuple[Path, Flaw]]:
    """Return everything that keeps the contracts from being published, with the file it concerns.

    Snapshots equal to the contracts, lint, bounds, and FULL_TRANSITIVE compatibility with every past release.
    """
    found: list[tuple[Path, Flaw]] = []
    wanted = set()
    for model in models:
        path = folder / f"{model.contract}.v{model.major}.avsc"
        wanted.add(path)
        try:
            file = snapshot(model, folder)
            flaws = [*_stale(file), *lint(json.loads(file.text)), *lint_model(model)]
            flaws += check(json.loads(file.text), released(model, folder), Level.FULL_TRANSITIVE)
        except SchemaRefused as fault:
            flaws = [Flaw("", "schema", str(fault), "Change the contract as the message says.")]
        found += [(path, flaw) for flaw in flaws]
    for stray in sorted(set(folder.glob("*.avsc")) - wanted):
        flaw = Flaw("", "no-contract", "no contract writes this file", "Run `agencybus schema check --write`.")
        found.append((stray, flaw))
    return found


def _stale(file: Snapshot) -> list[Flaw]:
    fix = "Run `agencybus schema check --write` and commit the file."
    if not file.path.exists():
        return [Flaw("", "snapshot", f"{file.model.__name__} has no snapshot", fix)]
    if file.path.read_bytes() != file.text.encode():
        return [Flaw("", "snapshot", f"the snapshot differs from {file.model.__name__}", fix)]
    return []


def load(path: Path) -> dict[str, Any]:
    """Read an `.avsc` file that may come from anywhere.

    Raises:
        SchemaFileRefused: one sentence with the file: missing, too large, not UTF-8, not JSON, nested too deep,
            no record, no Avro.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as fault:
        raise SchemaFileRefused(str(path), 0, f"cannot be read: {(fault.strerror or str(fault)).lower()}") from None
    if len(raw) > MAX_FILE:
        raise SchemaFileRefused(str(path), 0, f"is larger than {MAX_FILE} bytes; a schema is not")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise SchemaFileRefused(str(path), 0, "is not UTF-8 text") from None
    _refuse_deep(text, path)
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as fault:
        raise SchemaFileRefused(str(path), fault.lineno, f"is not JSON: {fault.msg}") from None
    except ValueError:
        raise SchemaFileRefused(str(path), 0, "is not JSON: a number has too many digits") from None
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise SchemaFileRefused(str(path), 0, "is not an Avro record schema")
    try:
        check(schema, [], Level.FULL)  # both Avro libraries parse it
    except SchemaRefused as fault:
        raise SchemaFileRefused(str(path), 0, str(fault)) from None
    return schema


def _refuse_deep(text: str, path: Path) -> None:
    """Count brackets in the raw text: 50,000 of them cost a parser 17 s (research/trust.md section 4)."""
    deep = 0
    for character in text:
        if character in "[{":
            deep += 1
            if deep > _MAX_OPEN:
                raise SchemaFileRefused(str(path), 0, f"nests deeper than {_MAX_OPEN} brackets")
        elif character in "]}":
            deep -= 1


def _version(text: str) -> tuple[int, ...]:
    """Order 0.10.0 after 0.9.0; anything that is no number counts as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in text.split("."))

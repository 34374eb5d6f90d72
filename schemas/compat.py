"""Whether a new version of a contract can live beside the old ones: levels on top of `avro`'s pairwise check.

Called by `schemas.snapshots` (`agencybus schema check`) and by `agencybus schema diff`. The traps it avoids:
`avro.compatibility` passes a decimal whose scale changed, milliseconds read as microseconds, and a nested record that
moved to another namespace (research/ecosystem.md 1e); and a level that looks at the last version only passes a field
that was dropped and came back as something else.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import avro.compatibility
import avro.errors
import avro.schema

from schemas import avro as ours
from schemas.errors import SchemaRefused
from schemas.flaw import Flaw


class Level(StrEnum):
    """Who must be able to read whom."""

    BACKWARD = "BACKWARD"
    FORWARD = "FORWARD"
    FULL = "FULL"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"


_NEW_MAJOR = "Keep the field as it was, or raise the contract's major: a new topic beside the old one."
_FIXES = {
    "reader_field_missing_default_value": "Give the field a default (`X | None` with `= None`), and keep it in later "
    "versions; or raise the contract's major.",
    "missing_enum_symbols": "Give the enumeration a default symbol ('unknown' or 'other') in every version.",
    "missing_union_branch": "Do not make an optional field required or a required one optional; add a new field.",
}


def check(new: Any, olds: Sequence[Any], level: Level) -> list[Flaw]:
    """Compare a new schema with earlier ones.

    Args:
        new: the new schema as parsed JSON.
        olds: earlier schemas, oldest first. Levels that are not transitive look at the last one only.
        level: who must be able to read whom.

    Returns:
        What breaks, each once, in order; empty when `new` is compatible.

    Raises:
        SchemaRefused: when one of them is no Avro schema.
    """
    reader = _parse(new)
    flaws: dict[Flaw, None] = {}
    for old in olds if level.endswith("TRANSITIVE") else olds[-1:]:
        writer = _parse(old)
        if not level.startswith("FORWARD"):
            flaws.update(dict.fromkeys(pair(reader, writer, "the new version cannot read what the old one wrote")))
        if not level.startswith("BACKWARD"):
            flaws.update(dict.fromkeys(pair(writer, reader, "the old version cannot read what the new one writes")))
    return sorted(flaws)


def _parse(schema: Any) -> avro.schema.Schema:
    """Parse with both libraries: fastavro is the stricter one (defaults), `avro` makes what its checker wants."""
    ours.canonical(schema)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", avro.errors.IgnoredLogicalType)  # the logical rules below see them all
            return avro.schema.parse(json.dumps(schema))
    except avro.errors.AvroException as fault:
        raise SchemaRefused(f"not an Avro schema: {fault}") from None


def pair(reader: avro.schema.Schema, writer: avro.schema.Schema, effect: str) -> list[Flaw]:
    """Return why `reader` cannot read what `writer` wrote; empty when it can.

    Args:
        reader: the schema to read with.
        writer: the schema the bytes were written with.
        effect: what goes wrong, in words that begin each message.
    """
    flaws = list(_walk(reader, writer, "", effect))
    if not flaws:  # the library has the last word on what the walk does not look into, such as wide unions
        flaws = list(_library(reader, writer, "", effect))
    return flaws


def _library(reader: avro.schema.Schema, writer: avro.schema.Schema, path: str, effect: str) -> Iterable[Flaw]:
    checker = avro.compatibility.ReaderWriterCompatibilityChecker()
    result = checker.get_compatibility(reader, writer)
    if result.compatibility is avro.compatibility.SchemaCompatibilityType.compatible:
        return
    rules = sorted({kind.name for kind in result.incompatibilities})
    said = "; ".join(sorted(result.messages))
    yield Flaw(path, rules[0].replace("_", "-"), f"{effect} ({said})", _FIXES.get(rules[0], _NEW_MAJOR))


def _walk(reader: avro.schema.Schema, writer: avro.schema.Schema, path: str, effect: str) -> Iterable[Flaw]:
    """Go down both schemas together, so that a flaw has the path of its field."""
    if reader.type == writer.type == "record":
        yield from _moved(reader, writer, path, effect)
        yield from _records(reader, writer, path, effect)
    elif reader.type == writer.type == "array":
        yield from _walk(reader.items, writer.items, f"{path}[]", effect)
    elif reader.type == writer.type == "map":
        yield from _walk(reader.values, writer.values, f"{path}{{}}", effect)
    elif reader.type == writer.type == "union":
        yield from _unions(reader, writer, path, effect)
    else:
        if reader.type == writer.type in {"enum", "fixed"}:
            yield from _moved(reader, writer, path, effect)
        yield from _library(reader, writer, path, effect)
        yield from _logical(reader, writer, path, effect)


def _records(reader: avro.schema.Schema, writer: avro.schema.Schema, path: str, effect: str) -> Iterable[Flaw]:
    for field in reader.fields:
        place = f"{path}.{field.name}".lstrip(".")
        written = avro.compatibility.lookup_writer_field(writer_schema=writer, reader_field=field)
        if written is not None:
            yield from _walk(field.type, written.type, place, effect)
        elif not field.has_default:
            rule = "reader_field_missing_default_value"
            yield Flaw(place, "missing-default", f"{effect}: it lacks the field, which has no default", _FIXES[rule])


def _unions(reader: avro.schema.Schema, writer: avro.schema.Schema, path: str, effect: str) -> Iterable[Flaw]:
    """Pair the branches of one kind; a branch the reader lacks is the library's to name."""
    branches = {_kind(branch): branch for branch in reader.schemas}
    alike = [(branches[_kind(b)], b) for b in writer.schemas if _kind(b) in branches]
    if len(alike) < len(writer.schemas):
        yield from _library(reader, writer, path, effect)
    for mine, theirs in alike:
        yield from _walk(mine, theirs, path, effect)


def _kind(schema: avro.schema.Schema) -> str:
    return f"{schema.type} {schema.name}" if schema.type in {"record", "enum", "fixed"} else str(schema.type)


def _moved(reader: avro.schema.Schema, writer: avro.schema.Schema, path: str, effect: str) -> Iterable[Flaw]:
    """The library compares names without namespace; Java readers do not."""
    if reader.fullname != writer.fullname and writer.fullname not in (reader.props.get("aliases") or ()):
        message = f"{effect}: {writer.fullname} became {reader.fullname} or the other way"
        yield Flaw(path, "name", message, "Keep the class and contract names, or raise the contract's major.")


def _logical(reader: avro.schema.Schema, writer: avro.schema.Schema, path: str, effect: str) -> Iterable[Flaw]:
    mine, theirs = _meaning(reader), _meaning(writer)
    if mine != theirs:
        message = f"{effect}: the same bytes mean {theirs} to one and {mine} to the other"
        yield Flaw(path, "logical-type", message, _NEW_MAJOR)


def _meaning(schema: avro.schema.Schema) -> str:
    """The logical type in words, with a decimal's digits."""
    kind = schema.props.get("logicalType")
    if kind == "decimal":
        return f"decimal({schema.props.get('precision')}, {schema.props.get('scale', 0)})"
    return kind or "a plain value"

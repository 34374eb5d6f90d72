"""House rules for schemas: what other agencies' tools stumble over, though Avro allows it.

Called by `schemas.snapshots`, for `agencybus schema check`, on the committed files and the contracts. The emitter
refuses most of this in our own contracts; the rules stand here for snapshots edited by hand and schemas from elsewhere,
and because `lint` names every fault where the emitter stops at the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.errors import SchemaRefused
from schemas.event import Event
from schemas.flaw import Flaw
from schemas.scan import Writer

_NO_DEFAULT = {"bytes", "fixed"}
_TIMES = {"timestamp-millis", "local-timestamp-millis", "local-timestamp-micros", "time-millis", "time-micros"}


def lint(schema: Any) -> list[Flaw]:
    """Return what is wrong with a schema, in the order of its fields.

    Args:
        schema: as parsed JSON.
    """
    try:
        Writer(schema)
    except SchemaRefused as fault:
        return [
            Flaw("", "schema", str(fault), "Write a record without recursion, at most 16 deep and 500 fields wide.")
        ]
    return list(_type(schema, "", ""))


def lint_model(model: type[Event]) -> list[Flaw]:
    """Return the fields of a contract that take values without bound: text of any length, numbers of any size.

    Without a bound a payload is refused late, by its size or by a 64-bit limit, and no field is named.
    """
    document = model.model_json_schema()
    parts = {"": document, **{f"{name}.": part for name, part in document.get("$defs", {}).items()}}
    return [
        flaw
        for prefix, part in parts.items()
        for name, field in part.get("properties", {}).items()
        for flaw in _bounds(field, f"{prefix}{name}")
    ]


def _bounds(field: dict[str, Any], path: str) -> Iterable[Flaw]:
    branches = field.get("anyOf", [field])
    if any(branch.get("type") == "number" for branch in branches):
        return  # a decimal; the emitter has its digits
    for branch in branches:
        if branch.get("type") == "string" and not {"maxLength", "pattern", "format", "enum"} & branch.keys():
            yield Flaw(path, "unbounded-text", "text of any length", "Give it max_length or a pattern.")
        if branch.get("type") == "integer" and not (
            {"minimum", "exclusiveMinimum"} & branch.keys() and {"maximum", "exclusiveMaximum"} & branch.keys()
        ):
            yield Flaw(path, "unbounded-number", "a number of any size", "Give it ge and le.")
        for key in ("items", "additionalProperties"):
            if isinstance(branch.get(key), dict):
                yield from _bounds(branch[key], path + ("[]" if key == "items" else "{}"))


def _type(schema: Any, path: str, namespace: str) -> Iterable[Flaw]:
    if isinstance(schema, list):
        if len(schema) != 2 or schema[0] != "null":
            yield Flaw(path, "union", "a union other than null and one type", 'Write ["null", X] with default null.')
        for branch in schema:
            yield from _type(branch, path, namespace)
        return
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind in {"float", "double"}:
        yield Flaw(path, "float", "floats round", "Write a decimal, or a long of a smaller unit.")
    if not isinstance(schema, dict):
        return
    if schema.get("logicalType") in _TIMES:
        yield Flaw(
            path,
            "time",
            f"{schema['logicalType']} loses time",
            'Write {"type": "long", "logicalType": "timestamp-micros"}.',
        )
    if kind in {"record", "enum", "fixed"}:
        yield from _named(schema, path, namespace)
    elif kind in {"array", "map"}:
        yield from _type(schema["items" if kind == "array" else "values"], path, namespace)
    elif not isinstance(kind, str):
        yield from _type(kind, path, namespace)


def _named(schema: dict[str, Any], path: str, namespace: str) -> Iterable[Flaw]:
    own = schema.get("namespace") or schema["name"].rpartition(".")[0] or namespace
    if not own:
        yield Flaw(path, "namespace", f"{schema['name']} has no namespace", "Write agencybus.<entity>.")
    if not schema.get("doc"):
        yield Flaw(path, "doc", f"{schema['name']} has no doc", "Write a docstring under the class line.")
    if schema["type"] == "enum" and "default" not in schema:
        yield Flaw(
            path, "enum-default", f"{schema['name']} has no default", "Add 'unknown' or 'other' as default symbol."
        )
    for field in schema.get("fields", ()):
        place = f"{path}.{field['name']}".lstrip(".")
        if not field.get("doc"):
            yield Flaw(place, "doc", "the field has no doc", "Write a docstring under the field.")
        yield from _default(field, place)
        yield from _type(field["type"], place, own)


def _default(field: dict[str, Any], path: str) -> Iterable[Flaw]:
    kind = field["type"]["type"] if isinstance(field["type"], dict) else field["type"]
    if "default" in field and isinstance(kind, str) and kind in _NO_DEFAULT:
        yield Flaw(
            path, "bytes-default", "readers decode a default on bytes differently", 'Write ["null", X], default null.'
        )
    if isinstance(kind, list) and kind[:1] == ["null"] and "default" not in field:
        yield Flaw(path, "null-default", "what may be absent has no default", "Add a default of null.")

"""From a contract to its Avro schema, the schema's canonical text and its id.

Called by the codec, the snapshots and the `_schemas` topic. The traps it avoids: the specification's parsing canonical
form drops logical types and defaults, so two schemas that mean different money would share an id; and `avro` 1.12
computes that form wrongly where a logical type stood (research/ecosystem.md 1e).
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from typing import Any

import fastavro

from schemas.errors import SchemaRefused
from schemas.event import Event
from schemas.shape import Choice, Group, Leaf, Many, Maybe, Money, Shape, Slot, Table, shape_of

_LEAVES: dict[str, Any] = {
    "string": "string",
    "long": "long",
    "boolean": "boolean",
    "bytes": "bytes",
    "date": {"type": "int", "logicalType": "date"},
    "moment": {"type": "long", "logicalType": "timestamp-micros"},
    "uuid": {"type": "string", "logicalType": "uuid"},
}
_KEPT = ("name", "type", "fields", "symbols", "items", "values", "size", "logicalType", "precision", "scale", "default")


def schema_of(model: type[Event]) -> dict[str, Any]:
    """Return the Avro schema of a contract.

    Raises:
        SchemaRefused: naming the field that Avro cannot carry exactly.
    """
    schema: dict[str, Any] = _render(shape_of(model), set())
    return schema


def _render(shape: Shape, seen: set[str]) -> Any:
    """Write a shape as Avro; a named type is spelled out once and named afterwards."""
    if isinstance(shape, Leaf | Money):
        return _LEAVES[shape.kind] if isinstance(shape, Leaf) else _decimal(shape)
    if isinstance(shape, Many):
        return {"type": "array", "items": _render(shape.item, seen)}
    if isinstance(shape, Table):
        return {"type": "map", "values": _render(shape.value, seen)}
    if isinstance(shape, Maybe):
        return ["null", _render(shape.item, seen)]
    return _named(shape, seen)


def _decimal(money: Money) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": money.precision, "scale": money.scale}


def _named(shape: Choice | Group, seen: set[str]) -> Any:
    if shape.name in seen:
        return shape.name
    seen.add(shape.name)
    namespace, _, name = shape.name.rpartition(".")
    head = {"name": name, "namespace": namespace, "doc": shape.doc}
    if isinstance(shape, Choice):
        return {"type": "enum", **head, "symbols": [m.value for m in shape.enum], "default": shape.fallback}
    return {"type": "record", **head, "fields": [_field(slot, seen) for slot in shape.slots]}


def _field(slot: Slot, seen: set[str]) -> dict[str, Any]:
    field = {"name": slot.name, "type": _render(slot.shape, seen), "doc": slot.doc}
    return {**field, "default": slot.default} if slot.optional else field


def canonical(schema: Any) -> str:
    """Return the text that stands for a schema: what is hashed into its id.

    The Avro specification's parsing canonical form (full names, no doc, aliases or other attributes, fixed key
    order, no white space), and beside it what changes the meaning of the bytes or of a missing field: ``logicalType``,
    ``precision``, ``scale`` and ``default``.

    Args:
        schema: a schema as parsed JSON.

    Raises:
        SchemaRefused: when it is no Avro schema.
    """
    try:
        parsed = fastavro.parse_schema(schema, _force=True)
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, *_MALFORMED) as fault:
        raise SchemaRefused(f"not an Avro schema: {fault}") from None
    return json.dumps(_kept(parsed), separators=(",", ":"), ensure_ascii=False)


_MALFORMED = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)  # what fastavro lets through on bad input


def _kept(schema: Any) -> Any:
    """Keep what counts, in the fixed order; ``{"type": X}`` without more is X, as the specification says."""
    if isinstance(schema, list):
        return [_kept(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: schema[key] for key in _KEPT if key in schema}
    if "fields" in out:
        out["fields"] = [_kept_field(field) for field in out["fields"]]
    for key in ("items", "values"):
        if key in out:
            out[key] = _kept(out[key])
    if isinstance(out["type"], dict | list):
        out["type"] = _kept(out["type"])
    return out["type"] if len(out) == 1 else out


def _kept_field(field: dict[str, Any]) -> dict[str, Any]:
    kept = {"name": field["name"], "type": _kept(field["type"])}
    return {**kept, "default": field["default"]} if "default" in field else kept


def schema_id(schema: Any) -> int:
    """Return the id of a schema: the first 31 bits of the SHA-256 of its canonical form, never 0.

    31 bits, because the Confluent frame holds a signed 32-bit id and tools take it as positive.

    Raises:
        SchemaRefused: when it is no Avro schema.
    """
    return (int.from_bytes(sha256(canonical(schema).encode()).digest()[:4], "big") >> 1) or 1


@cache
def shape_and_schema(model: type[Event]) -> tuple[Group, dict[str, Any]]:
    """Return both forms of a contract, computed once per process. Raises as `schema_of`."""
    return shape_of(model), schema_of(model)

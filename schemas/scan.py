"""Walks bytes by the schema that wrote them, before a general decoder may touch them.

Called by the codec for values of another known version of a contract. fastavro trusts counts, lengths and indexes; it
takes -1 as an enum index and reads to the end on a negative length (research/trust.md section 4). Here each is bounded
by the bytes that are left, and what items become by a number: a record of one boolean and 490 nulls is one byte, and
13,000 once decoded. Blocks with a negative count are legal Avro and pass, when their byte size is right.
"""

from __future__ import annotations

from typing import Any

import fastavro

from schemas.errors import Poison, SchemaRefused
from schemas.shape import MAX_DEPTH, MAX_FIELDS
from schemas.varint import read_long, read_size

MAX_VALUES = 50_000  # in the lists and maps of one event; at 5 bytes each they fill the largest event (`codec`)
_FIXED_SIZE = {"null": 0, "float": 4, "double": 8}


class Writer:
    """A schema that others write with, checked to be harmless.

    Args:
        schema: as parsed JSON.

    Raises:
        SchemaRefused: when it is no Avro schema, contains itself, is too deep or wide, or has list items of no bytes.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        try:
            self.parsed = fastavro.parse_schema(schema, _force=True)
        except Exception as fault:  # noqa: BLE001  # fastavro raises many kinds on malformed JSON
            raise SchemaRefused(f"not an Avro schema: {fault}") from None
        self._named: dict[str, Any] = {}
        self._fields = 0
        self._weights: dict[int, int] = {}
        self._check(self.parsed, (), 1)
        self.name: str = self.parsed["name"] if isinstance(self.parsed, dict) and "name" in self.parsed else ""

    def scan(self, data: bytes) -> None:
        """Pass when `data` is one encoding from start to end.

        Raises:
            Poison: otherwise, or when lists and maps hold more than `MAX_VALUES`. IndexError: when the bytes end early.
        """
        if self._walk(self.parsed, data, 0, _Budget()) != len(data):
            raise Poison("bytes are left over or missing at the end")

    def _check(self, schema: Any, above: tuple[str, ...], depth: int) -> int:
        """Return the fewest bytes a value can take; refuse what could be abused."""
        if depth > MAX_DEPTH:
            raise SchemaRefused(f"schema nested deeper than {MAX_DEPTH}")
        if isinstance(schema, list):
            return 1 + min((self._check(branch, above, depth + 1) for branch in schema), default=0)
        if isinstance(schema, dict):
            return self._check_complex(schema, above, depth)
        if schema in above:
            raise SchemaRefused(f"{schema} contains itself")
        if schema in self._named:
            return self._check(self._named[schema], above, depth)
        return _FIXED_SIZE.get(schema, 1)

    def _check_complex(self, schema: dict[str, Any], above: tuple[str, ...], depth: int) -> int:
        kind = schema["type"]
        if kind == "map":
            self._check(schema["values"], above, depth + 1)
            return 1
        if kind == "array":
            if self._check(schema["items"], above, depth + 1) == 0:
                raise SchemaRefused("list items without bytes: five bytes could ask for millions")
            return 1
        if kind not in {"record", "error", "enum", "fixed"}:
            return self._check(kind, above, depth)
        self._named[schema["name"]] = schema
        if kind in {"enum", "fixed"}:
            return int(schema.get("size", 1))
        self._fields += len(schema["fields"])
        if self._fields > MAX_FIELDS:
            raise SchemaRefused(f"schema has more than {MAX_FIELDS} fields")
        return sum(self._check(f["type"], (*above, schema["name"]), depth + 1) for f in schema["fields"])

    def _weight(self, schema: Any) -> int:
        """How many values one item is, without what its own lists and maps hold."""
        known = self._weights.get(id(schema))
        if known is None:
            plain = self._named.get(schema, schema) if isinstance(schema, str) else schema
            match plain:
                case list():
                    known = max((self._weight(branch) for branch in plain), default=1)
                case {"type": "record" | "error", "fields": fields}:
                    known = 1 + sum(self._weight(field["type"]) for field in fields)
                case _:
                    known = 1
            self._weights[id(schema)] = known
        return known

    def _walk(self, schema: Any, data: bytes, at: int, budget: _Budget) -> int:
        """Return the place after one value of `schema` at `at`."""
        if isinstance(schema, list):
            branch, at = read_long(data, at)
            if not 0 <= branch < len(schema):
                raise Poison("a union has no such branch")
            return self._walk(schema[branch], data, at, budget)
        if isinstance(schema, dict):
            return self._walk_complex(schema, data, at, budget)
        named = self._named.get(schema)
        return _primitive(schema, data, at) if named is None else self._walk(named, data, at, budget)

    def _walk_complex(self, schema: dict[str, Any], data: bytes, at: int, budget: _Budget) -> int:
        match schema["type"]:
            case "record" | "error":
                for field in schema["fields"]:
                    at = self._walk(field["type"], data, at, budget)
            case "array" | "map":
                at = self._blocks(schema, data, at, budget)
            case "enum":
                index, at = read_long(data, at)
                if not 0 <= index < len(schema["symbols"]):
                    raise Poison("an enumeration has no such symbol")
            case "fixed":
                at = _past(data, at, int(schema["size"]))
            case plain:
                at = self._walk(plain, data, at, budget)
        return at

    def _blocks(self, schema: Any, data: bytes, at: int, budget: _Budget) -> int:
        keyed = schema["type"] == "map"
        item = schema["values"] if keyed else schema["items"]
        while True:
            count, at = read_long(data, at)
            size = None
            if count < 0:
                count = -count
                size, at = read_size(data, at)
            if count > len(data) - at:
                raise Poison("a count is above what is left")
            if count == 0:
                return at
            budget.spend(count * self._weight(item))
            start = at
            for _ in range(count):
                if keyed:
                    at = _primitive("string", data, at)
                at = self._walk(item, data, at, budget)
            if size is not None and at - start != size:
                raise Poison("a block is not as long as it says")


class _Budget:
    """How many values lists and maps may still hold."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def spend(self, values: int) -> None:
        """Take `values`. Raises Poison when there are not so many left."""
        self._left -= values
        if self._left < 0:
            raise Poison(f"lists and maps hold more than {MAX_VALUES} values")


def _primitive(kind: str, data: bytes, at: int) -> int:
    if kind in _FIXED_SIZE:
        return _past(data, at, _FIXED_SIZE[kind])
    if kind == "boolean":
        if data[at] > 1:
            raise Poison("a boolean is neither 0 nor 1")
        return at + 1
    if kind in {"string", "bytes"}:
        size, at = read_size(data, at)
        if kind == "string":
            data[at : at + size].decode()
        return at + size
    number, at = read_long(data, at)
    if kind == "int" and not -(2**31) <= number < 2**31:
        raise Poison("an int has more than 32 bits")
    return at


def _past(data: bytes, at: int, size: int) -> int:
    if size > len(data) - at:
        raise Poison("bytes are missing at the end")
    return at + size

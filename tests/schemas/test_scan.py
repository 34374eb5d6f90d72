"""The scan passes exactly what fastavro wrote, and nothing hostile."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Poison, SchemaRefused
from schemas.scan import MAX_VALUES, Writer
from schemas.varint import long

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "a.Wide",
    "fields": [
        {"name": "b", "type": "boolean"},
        {"name": "i", "type": "int"},
        {"name": "l", "type": {"type": "long"}},
        {"name": "f", "type": "float"},
        {"name": "d", "type": "double"},
        {"name": "s", "type": "string"},
        {"name": "y", "type": "bytes"},
        {"name": "x", "type": {"type": "fixed", "name": "X", "size": 2}},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
        {"name": "e2", "type": "E"},
        {"name": "u", "type": ["null", "string", {"type": "array", "items": "X"}]},
        {"name": "m", "type": {"type": "map", "values": "null"}},
    ],
}
DATA = st.fixed_dictionaries(
    {
        "b": st.booleans(),
        "i": st.integers(-(2**31), 2**31 - 1),
        "l": st.integers(-(2**63), 2**63 - 1),
        "f": st.floats(width=32),
        "d": st.floats(),
        "s": st.text(st.characters(exclude_categories=["Cs"])),
        "y": st.binary(),
        "x": st.binary(min_size=2, max_size=2),
        "e": st.sampled_from("AB"),
        "e2": st.sampled_from("AB"),
        "u": st.none() | st.just("text") | st.lists(st.binary(min_size=2, max_size=2)),
        "m": st.dictionaries(st.just("k"), st.none()),
    }
)


@given(DATA)
def test_what_fastavro_writes_passes_and_no_part_or_extension_of_it_does(data: dict[str, Any]) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, data)
    writer = Writer(SCHEMA)
    writer.scan(out.getvalue())
    for wrong in (out.getvalue()[:-1], out.getvalue() + b"\x00"):
        with pytest.raises((Poison, IndexError)):
            writer.scan(wrong)


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ("boolean", b"\x07"),
        ("int", long(2**31)),
        ("string", b"\x02\xff"),
        ("string", b"\x01"),
        ("bytes", b"\x04a"),
        ("double", b"\x00" * 7),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02"),
        (["null", "string"], b"\x03"),
        (["null", "string"], b"\x04"),
        ({"type": "array", "items": "long"}, long(10**12) + b"\x00"),
        ({"type": "array", "items": "long"}, long(-1) + long(2) + b"\x02\x00"),
        ({"type": "array", "items": "long"}, long(-(2**63)) + long(0) + b"\x00"),
        ({"type": "map", "values": "null"}, long(3) + b"\x00\x00"),
    ],
)
def test_hostile_bytes_do_not_pass(schema: Any, data: bytes) -> None:
    writer = Writer({"type": "record", "name": "R", "fields": [{"name": "x", "type": schema}]})
    with pytest.raises((Poison, IndexError, UnicodeDecodeError)):
        writer.scan(data)


def nested(levels: int) -> Any:
    return {"type": "array", "items": nested(levels - 1)} if levels else "long"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "items": "null"}, "without bytes"),
        ({"type": "array", "items": {"type": "fixed", "name": "Z", "size": 0}}, "without bytes"),
        (["null", "R"], "contains itself"),
        (nested(20), "deeper"),
        ({"type": "record", "name": "W", "fields": [{"name": f"f{i}", "type": "long"} for i in range(501)]}, "500"),
        ("nope", "not an Avro schema"),
    ],
)
def test_a_schema_that_could_be_abused_is_refused(schema: Any, said: str) -> None:
    with pytest.raises(SchemaRefused, match=said):
        Writer({"type": "record", "name": "R", "fields": [{"name": "x", "type": schema}]})


def _crowd(items: int, *, nulls: int, nested: bool = False) -> tuple[Writer, bytes]:
    fields: list[dict[str, Any]] = [{"name": "b", "type": "boolean"}]
    fields += [{"name": f"n{i}", "type": "null"} for i in range(nulls)]
    item: Any = {"type": "record", "name": "Item", "fields": fields}
    data = long(items) + bytes(items) + long(0)
    if nested:  # two lists of the same items, the second by the item's name
        lists = [{"name": "xs", "type": {"type": "array", "items": item}}]
        lists.append({"name": "ys", "type": {"type": "array", "items": "Item"}})
        return Writer({"type": "record", "name": "Top", "fields": lists}), data + data
    wrapped = {"type": "record", "name": "Top", "fields": [{"name": "xs", "type": {"type": "array", "items": item}}]}
    return Writer(wrapped), data


@pytest.mark.parametrize("nested", [False, True])
def test_few_bytes_that_would_become_many_values_do_not_pass(nested: bool) -> None:
    most = MAX_VALUES // (2 + 200) // (1 + nested)
    writer, data = _crowd(most, nulls=200, nested=nested)
    writer.scan(data)
    writer, data = _crowd(most + 1, nulls=200, nested=nested)
    with pytest.raises(Poison, match="lists and maps hold more than"):
        writer.scan(data)


def test_what_passes_is_decoded_into_less_than_300_bytes_a_value() -> None:
    writer, data = _crowd(MAX_VALUES // 482, nulls=480)
    writer.scan(data)
    tracemalloc.start()
    try:
        fastavro.schemaless_reader(io.BytesIO(data), writer.parsed, writer.parsed)
        assert tracemalloc.get_traced_memory()[1] < 300 * MAX_VALUES
    finally:
        tracemalloc.stop()

"""Compatibility levels: what breaks, where, and what only our rules see."""

from __future__ import annotations

from typing import Any

import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro import schema_of
from schemas.catalogue import standard
from schemas.compat import Level, _parse, check, pair
from schemas.errors import SchemaRefused


def record(*fields: Any, name: str = "R", namespace: str = "agencybus.x") -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": namespace, "fields": list(fields)}


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


MICROS = {"type": "long", "logicalType": "timestamp-micros"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
INNER_A = record(field("z", "long"), name="Inner", namespace="agencybus.a")
INNER_B = record(field("z", "long"), name="Inner", namespace="agencybus.b")
A = field("a", "string")

# old, new, breaks BACKWARD, breaks FORWARD, path, rule
CASES: list[tuple[Any, Any, bool, bool, str, str]] = [
    (record(A), record(A), False, False, "", ""),
    (record(A), record(A, field("b", ["null", "long"], default=None)), False, False, "", ""),
    (record(A), record(A, field("b", "long")), True, False, "b", "missing-default"),
    (record(A, field("b", "long")), record(A), False, True, "b", "missing-default"),
    (record(field("b", "int")), record(field("b", "long")), False, True, "b", "type-mismatch"),
    (record(field("b", "long")), record(field("b", "string")), True, True, "b", "type-mismatch"),
    (record(field("b", "long")), record(field("b", ["null", "long"], default=None)), False, True, "b", "type-mismatch"),
    (record(field("e", enum("a"))), record(field("e", enum("a", "b"))), False, True, "e", "missing-enum-symbols"),
    (record(field("e", enum("a", default="a"))), record(field("e", enum("a", "b", default="a"))), False, False, "", ""),
    (record(field("m", MILLIS)), record(field("m", MICROS)), True, True, "m", "logical-type"),
    (record(field("m", "long")), record(field("m", MICROS)), True, True, "m", "logical-type"),
    (record(field("d", decimal(9, 2))), record(field("d", decimal(9, 4))), True, True, "d", "logical-type"),
    (record(field("d", decimal(9, 2))), record(field("d", decimal(12, 2))), True, True, "d", "logical-type"),
    (record(field("i", INNER_A)), record(field("i", INNER_B)), True, True, "i", "name"),
    (record(A), record(A, name="S"), True, True, "", "name"),
    (
        record(field("l", {"type": "array", "items": MILLIS})),
        record(field("l", {"type": "array", "items": MICROS})),
        True,
        True,
        "l[]",
        "logical-type",
    ),
    (
        record(field("l", {"type": "map", "values": ["null", decimal(9, 2)]})),
        record(field("l", {"type": "map", "values": ["null", decimal(9, 3)]})),
        True,
        True,
        "l{}",
        "logical-type",
    ),
    (
        record(field("i", ["null", INNER_A], default=None)),
        record(field("i", ["null", record(field("z", "string"), name="Inner", namespace="agencybus.a")], default=None)),
        True,
        True,
        "i.z",
        "type-mismatch",
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_each_change_breaks_the_levels_it_should_at_its_field(
    case: tuple[Any, Any, bool, bool, str, str],
) -> None:
    old, new, backward, forward, path, rule = case
    assert bool(check(new, [old], Level.BACKWARD)) == backward
    assert bool(check(new, [old], Level.FORWARD)) == forward
    flaws = check(new, [old], Level.FULL)
    assert {(f.path, f.rule) for f in flaws} == ({(path, rule)} if backward or forward else set())
    assert all(f.fix for f in flaws)


def test_only_transitive_levels_see_a_field_that_left_and_came_back_as_another() -> None:
    first, middle, last = (
        record(A, field("b", ["null", "long"], default=None)),
        record(A),
        record(A, field("b", ["null", "string"], default=None)),
    )
    assert check(last, [first, middle], Level.FULL) == []
    for level in (Level.FULL_TRANSITIVE, Level.BACKWARD_TRANSITIVE, Level.FORWARD_TRANSITIVE):
        assert [f.path for f in check(last, [first, middle], level)]


def test_nothing_breaks_without_an_earlier_version() -> None:
    for level in Level:
        assert check(record(A), [], level) == []


def test_each_contract_is_compatible_with_itself_and_no_other() -> None:
    schemas = [schema_of(model) for model in standard().models()]
    for one in schemas:
        for other in schemas:
            assert bool(check(one, [other], Level.FULL)) == (one is not other)


@pytest.mark.parametrize("bad", [{}, {"type": "record", "name": "R"}, record(field("x", "int", default="notint"))])
def test_what_is_no_schema_is_refused(bad: Any) -> None:
    with pytest.raises(SchemaRefused):
        check(bad, [], Level.FULL)
    with pytest.raises(SchemaRefused):
        check(record(A), [bad], Level.FULL)


TYPES = st.recursive(
    st.sampled_from(["null", "boolean", "int", "long", "float", "double", "string", "bytes"])
    | st.lists(st.sampled_from("ABC"), min_size=1, unique=True).map(lambda symbols: enum(*symbols)),
    lambda inner: st.one_of(
        inner.map(lambda item: {"type": "array", "items": item}),
        inner.map(lambda value: {"type": "map", "values": value}),
        inner.filter(lambda item: item != "null" and not isinstance(item, list)).map(lambda item: ["null", item]),
    ),
    max_leaves=3,
)
SCHEMAS = st.dictionaries(st.sampled_from("abc"), TYPES, min_size=1, max_size=1).map(
    lambda types: record(*(field(name, kind) for name, kind in types.items()))
)


@given(SCHEMAS, SCHEMAS)
def test_where_the_library_says_incompatible_so_do_we(reader: Any, writer: Any) -> None:
    mine, theirs = _parse(reader), _parse(writer)
    verdict = ReaderWriterCompatibilityChecker().get_compatibility(mine, theirs).compatibility
    if verdict is SchemaCompatibilityType.incompatible:
        assert pair(mine, theirs, "breaks")

"""The house rules: each fires on its fault, and none on our own contracts."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.avro import schema_of
from schemas.catalogue import standard
from schemas.lint import lint, lint_model
from tests.schemas.samples import Everything

GOOD: dict[str, Any] = {"name": "x", "type": "string", "doc": "d"}


def record(**field: Any) -> dict[str, Any]:
    fields = [{**GOOD, **field}]
    return {"type": "record", "name": "R", "namespace": "agencybus.x", "doc": "d", "fields": fields}


def enum(**more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "doc": "d", "symbols": ["a"], "default": "a", **more}


def test_our_contracts_are_clean() -> None:
    for model in standard().models():
        assert lint(schema_of(model)) == []
        assert lint_model(model) == []


@pytest.mark.parametrize(
    ("schema", "path", "rule"),
    [
        (record(doc=""), "x", "doc"),
        ({**record(), "doc": ""}, "", "doc"),
        ({**record(), "namespace": ""}, "", "namespace"),
        (record(type="double"), "x", "float"),
        (record(type=["null", "float"], default=None), "x", "float"),
        (record(type=["null", "string"]), "x", "null-default"),
        (record(type=["string", "null"]), "x", "union"),
        (record(type=["null", "string", "long"], default=None), "x", "union"),
        (record(type="bytes", default=""), "x", "bytes-default"),
        (record(type={"type": "bytes", "logicalType": "decimal", "precision": 4}, default=""), "x", "bytes-default"),
        (record(type={"type": "long", "logicalType": "timestamp-millis"}), "x", "time"),
        (record(type={"type": "array", "items": {"type": "int", "logicalType": "time-millis"}}), "x", "time"),
        (record(type={k: v for k, v in enum().items() if k != "default"}), "x", "enum-default"),
        (record(type=enum(doc="")), "x", "doc"),
        (record(type={"type": "array", "items": "null"}), "", "schema"),
        (record(type=["null", "agencybus.x.R"], default=None), "", "schema"),
        (record(type={"type": "map", "values": record(type="float")["fields"][0]["type"]}), "x", "float"),
        (record(type={"type": "map", "values": {**record(doc=""), "name": "S"}}), "x.x", "doc"),
    ],
)
def test_a_fault_is_found_at_its_field(schema: Any, path: str, rule: str) -> None:
    flaws = lint(schema)
    assert [(f.path, f.rule) for f in flaws] == [(path, rule)]
    assert flaws[0].fix


def test_every_fault_is_named_and_not_the_first_only() -> None:
    schema = record(type="double", doc="")
    schema["fields"].append({"name": "y", "type": "bytes", "default": ""})
    assert [f.rule for f in lint(schema)] == ["doc", "float", "doc", "bytes-default"]


def test_fields_without_bound_are_found() -> None:
    found = {(f.path, f.rule) for f in lint_model(Everything)}
    assert {("text", "unbounded-text"), ("number", "unbounded-number"), ("numbers[]", "unbounded-number")} <= found
    assert ("Place.street", "unbounded-text") in found
    assert not {path for path, _ in found} & {"money", "colour", "uid", "day", "maybe_money"}

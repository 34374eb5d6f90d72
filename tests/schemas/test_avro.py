"""Schemas, their canonical text and ids."""

from __future__ import annotations

import copy
import json
from typing import Any

import avro.schema
import fastavro
import pytest
from fastavro.schema import to_parsing_canonical_form

from schemas.avro import canonical, schema_id, schema_of
from schemas.birth import BenefitAssigned, BirthNotified
from schemas.catalogue import standard
from schemas.errors import SchemaRefused
from schemas.event import Event
from tests.schemas.samples import Everything


def test_every_contract_gives_a_schema_both_libraries_take() -> None:
    models: list[type[Event]] = [*standard().models(), Everything]
    for model in models:
        schema = schema_of(model)
        fastavro.parse_schema(copy.deepcopy(schema))
        assert avro.schema.parse(json.dumps(schema)).fullname == f"{schema['namespace']}.{model.__name__}"


def test_logical_types_defaults_and_docs_are_as_declared() -> None:
    fields = {f["name"]: f for f in schema_of(BenefitAssigned)["fields"]}
    assert fields["amount"]["type"] == {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
    assert fields["assigned_on"]["type"] == {"type": "int", "logicalType": "date"}
    assert fields["kind"]["default"] == "birth_benefit"
    assert fields["person"]["doc"] == "The person it is for."
    notified = {f["name"]: f for f in schema_of(BirthNotified)["fields"]}
    assert notified["born_at"]["type"] == {"type": "long", "logicalType": "timestamp-micros"}
    assert notified["father"] == {
        "name": "father",
        "type": ["null", "string"],
        "default": None,
        "doc": "Personal number of the father, or his pseudonym, when he is known and named.",
    }
    assert notified["sex"]["type"]["default"] == "unknown"


def test_a_named_type_is_spelled_out_once() -> None:
    fields = {f["name"]: f for f in schema_of(Everything)["fields"]}
    assert fields["place"]["type"]["type"] == "record"
    assert fields["other_place"]["type"] == ["null", "agencybus.sample.Place"]
    assert fields["places"]["type"]["items"] == "agencybus.sample.Place"


def test_canonical_text_without_our_additions_is_the_specifications_form() -> None:
    schema = {
        "type": "record",
        "name": "A",
        "namespace": "x",
        "doc": "d",
        "aliases": ["B"],
        "fields": [{"name": "a", "type": {"type": "string"}, "doc": "d"}, {"type": ["null", "A"], "name": "b"}],
    }
    assert canonical(schema) == to_parsing_canonical_form(schema)


def changed(**field: Any) -> dict[str, Any]:
    schema = schema_of(BenefitAssigned)
    for f in schema["fields"]:
        if f["name"] == "amount":
            f["type"].update(field)
    return schema


def test_what_changes_the_meaning_changes_the_id() -> None:
    plain = changed()
    no_default = schema_of(BenefitAssigned)
    del no_default["fields"][2]["default"]
    ids = {schema_id(s) for s in (plain, changed(scale=4), changed(precision=14), changed(logicalType="x"), no_default)}
    assert len(ids) == 5


def test_docs_and_spelling_do_not_change_the_id() -> None:
    schema = schema_of(BenefitAssigned)
    plain = schema_id(schema)
    for field in schema["fields"]:
        field["doc"] = "Other words."
    schema["name"] = f"{schema.pop('namespace')}.{schema['name']}"
    schema["fields"][0]["type"] = {"type": "string"}
    assert schema_id(schema) == plain


def test_ids_are_stable_and_fit_the_frame() -> None:
    assert schema_id("string") == 1962074340  # a change of this number orphans every stored record
    ids = {schema_id(schema_of(model)) for model in standard().models()}
    assert len(ids) == len(standard().models())
    assert all(0 < number < 2**31 for number in ids)


@pytest.mark.parametrize("bad", [{}, None, 5, "nope", {"type": "record"}, {"type": "record", "name": "a", "fields": 3}])
def test_what_is_no_schema_is_refused(bad: Any) -> None:
    with pytest.raises(SchemaRefused, match="not an Avro schema"):
        canonical(bad)

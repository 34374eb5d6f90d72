"""The shape of a definition: which keys go together, each fault with its fix."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.definition import Process
from tests.agents.process_support import END, definition, findings, listen


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"x": {}}, "exactly one of listen"),
        ({"x": {"listen": "t", "emit": "t"}}, "found listen and emit"),
        ({"x": {"end": "y", "where": "a.b"}}, "'where' does not belong to end"),
        ({"x": {"emit": "t", "deadline": "none"}}, "'deadline' does not belong to emit"),
        ({"x": {"listen": "t", "ownr": "b"}}, "Write 'owner'"),
        ({"x": {"end": "y"}, "z": {"end": "y"}}, "one name with its body"),
        ({"case": {"end": "y"}}, "word of the expression language"),
        ({"X y": {"end": "y"}}, "pattern"),
        ({"x": listen("b", deadline="soon")}, "none"),
        ({"x": listen("b", deadline={"days": 1, "working_days": 1})}, "exactly one way"),
        ({"x": listen("b", deadline={"days": 0})}, "greater than"),
        ({"x": listen("b", deadline={"days": 1, "late": {}})}, "exactly one of emit, do, end"),
        ({"x": listen("b", deadline={"days": 1, "late": {"end": "y", "with": {}}})}, "belongs to emit"),
        ({"x": {"wait": {}}}, "exactly one of until, for"),
        ({"x": {"wait": {"for": {}}}}, "exactly one way"),
        ({"x": {"switch": [{"when": "a.b"}]}}, "needs `when` and `do`"),
        ({"x": {"switch": [{"else": [], "do": []}]}}, "stands alone"),
        ({"x": {"repeat": {"until": "a.b", "do": [END]}}}, "'max' is missing"),
        ({"x": {"repeat": {"until": "a.b", "max": 1_000_001, "do": [END]}}}, "less than"),
        ({"x": {"fork": {"one": [END]}}}, "at least 2"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(step: dict[str, Any], says: str) -> None:
    found = findings(json.dumps(definition([step])))
    assert found
    assert any(says in f"{finding.message} {finding.fix}" for finding in found), found


def test_the_models_give_a_json_schema_for_editors() -> None:
    schema = Process.model_json_schema(by_alias=True)
    assert {"process", "title", "opens_on", "as", "do", "deadline"} <= set(schema["properties"])
    assert "fork" in schema["$defs"]["Body"]["properties"]

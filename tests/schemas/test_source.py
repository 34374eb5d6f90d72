from __future__ import annotations

import traceback

import pytest

from schemas.source import Source


def test_lines_run_in_their_scope_and_give_what_they_define() -> None:
    source = Source()
    source.scope["table"] = {1: "one"}
    source.put("def look(key):", 0)
    source.put("return table[key]", 1)
    scope, code = source.run(title="looker")
    assert scope["look"](1) == "one"
    assert code == "def look(key):\n    return table[key]\n"
    with pytest.raises(KeyError) as raised:
        scope["look"](2)
    assert traceback.extract_tb(raised.value.__traceback__)[-1].filename == "<looker>"


def test_names_are_never_given_twice() -> None:
    source = Source()
    assert len({source.fresh() for _ in range(100)}) == 100

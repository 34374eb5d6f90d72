"""Typed attributes: what each type takes, how nesting is flattened, what is refused with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from connectors import xes_values
from connectors.xes_values import Fault, Flattener


def _flat(xml: str, prefixes: dict[str, str] | None = None) -> dict[str, str]:
    found: dict[str, str] = {}
    Flattener(namespace="", prefixes=prefixes or {}).add(etree.fromstring(xml), found)
    return found


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", " a b ", "ə"], []),
        ("date", ["2011-10-11T13:45:40.276+02:00", "2011-10-11T13:45:40Z", "2011-10-11"], ["", "now", "2011-13-01"]),
        ("int", ["0", "-5", "+7", "9223372036854775807"], ["", "1.0", "1e3", "9223372036854775808", "٣", "0x1"]),
        ("float", ["0", "-1.5", "2.38E7", ".5", "INF", "-INF", "NaN"], ["", "1,5", "inf", "1.2.3", "e5"]),
        ("boolean", ["true", "false", "1", "0", "True"], ["", "yes", "2"]),
        ("id", ["6f1d", "urn:uuid:1"], ["", "a b"]),
    ],
)
def test_each_type_takes_its_values_and_refuses_others(kind: str, good: list[str], bad: list[str]) -> None:
    for value in good:
        found = _flat(f'<{kind} key="k" value="{value}"/>')["k"]
        assert found == (value.lower() if kind == "boolean" else value)
    for value in bad:
        with pytest.raises(Fault, match=f"is no {kind}"):
            _flat(f'<{kind} key="k" value="{value}"/>')


def test_nested_attributes_stand_under_their_path() -> None:
    xml = '<string key="a" value="1"><int key="b" value="2"><float key="c" value="3.0"/></int></string>'
    assert _flat(xml) == {"a": "1", "a/b": "2", "a/b/c": "3.0"}


def test_members_of_lists_and_containers_are_numbered() -> None:
    members = '<string key="x" value="p"><int key="n" value="1"/></string><string key="x" value="q"/>'
    assert _flat(f'<list key="l"><values>{members}</values></list>') == {"l/0": "p", "l/0/n": "1", "l/1": "q"}
    assert _flat(f'<container key="l">{members}</container>') == {"l/0": "p", "l/0/n": "1", "l/1": "q"}
    nested = '<list key="l"><values><list key="m"><values><int key="x" value="1"/></values></list></values></list>'
    assert _flat(nested) == {"l/0/0": "1"}


@given(st.dictionaries(st.text(st.sampled_from("a/~b:"), min_size=1, max_size=6), st.just("v"), max_size=8))
def test_no_two_keys_share_a_path(keys: dict[str, str]) -> None:
    found: dict[str, str] = {}
    for key in keys:
        Flattener(namespace="", prefixes={}).add(etree.Element("string", key=key, value=key), found)
    assert sorted(found.values()) == sorted(keys)


def test_a_prefix_the_file_chose_becomes_the_standard_s() -> None:
    assert _flat('<string key="n:name" value="x"/>', {"n": "concept"}) == {"concept:name": "x"}


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ('<string value="x"/>', "no key"),
        ('<string key="" value="x"/>', "no key"),
        (f'<string key="{"k" * 1001}" value="x"/>', "too long"),
        ('<string key="k"/>', "no value"),
        (f'<string key="k" value="{"v" * (xes_values.MAX_TEXT + 1)}"/>', "longer than"),
        ('<strng key="k" value="x"/>', "no element of XES"),
        ('<string key="k" value="x"><foo/></string>', "no element of XES"),
        ('<string key="k" value="">' * 40 + "</string>" * 40, "nested deeper"),
    ],
)
def test_what_breaks_the_standard_or_a_cap_is_a_fault_with_its_line(xml: str, message: str) -> None:
    with pytest.raises(Fault, match=message) as raised:
        _flat(xml)
    assert raised.value.line == 1
    assert raised.value.fix


def test_elements_of_other_namespaces_and_comments_are_passed_over() -> None:
    assert _flat('<string key="k" value="x"><o:note xmlns:o="urn:other"/><!-- c --></string>') == {"k": "x"}

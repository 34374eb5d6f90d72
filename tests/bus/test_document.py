"""Reading YAML: what is taken, what is refused, and that every refusal names its line."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from bus import document
from bus.errors import CheckFailed, Finding


class Topic(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    partitions: int = 1
    tags: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _plain(cls, text: str) -> str:
        if text == "reserved":
            raise PydanticCustomError("reserved", "the name {name} is taken", {"name": text, "fix": "Choose another."})
        return text


class File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    topics: dict[str, Topic] | tuple[Topic, ...]


def faults(raw: bytes | str, model: type[BaseModel] = File) -> list[Finding]:
    with pytest.raises(CheckFailed) as failed:
        document.parse(raw.encode() if isinstance(raw, str) else raw, model, file="f.yaml")
    assert failed.value.exit_code == 3
    return failed.value.findings


def test_a_valid_file_gives_the_model_the_data_and_the_lines() -> None:
    found = document.parse(b"topics:\n  - name: a\n    partitions: 3\n  - name: b\n", File, file="f.yaml")
    assert found.value == File(topics=(Topic(name="a", partitions=3), Topic(name="b")))
    assert found.data == {"topics": [{"name": "a", "partitions": 3}, {"name": "b"}]}
    assert found.line("topics", 0, "partitions") == 3
    assert found.line("topics", 1, "partitions") == 4, "a value left out stands where its parent stands"


def test_json_files_are_read_too() -> None:
    raw = json.dumps({"topics": [{"name": "Şəki"}]}).encode()
    assert document.parse(raw, File, file="f.json").data == {"topics": [{"name": "Şəki"}]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("012", "012"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("2026-01-05", "2026-01-05"),
        ("12:30:45", "12:30:45"),
        ("'true'", "true"),
        ("true", True),
        ("null", None),
        ("-7", -7),
        ("1.5e3", 1500.0),
        (".inf", ".inf"),
    ],
)
def test_only_true_false_null_and_decimal_numbers_are_resolved(text: str, value: object) -> None:
    assert document.read(f"a: {text}".encode(), file="f")[0] == {"a": value}


@pytest.mark.parametrize(
    ("raw", "rule", "line"),
    [
        (b"", "empty", 0),
        (b"# only a comment\n", "empty", 0),
        (b"a: 1\n---\nb: 2\n", "documents", 2),
        (b"a: &x 1\nb: *x\n", "alias", 1),
        (b"&x a: 1\n", "alias", 1),
        (b"a: !!python/object/apply:os.system [ls]\n", "tag", 1),
        (b"a: 1\nb: 2\na: 3\n", "duplicate", 3),
        (b"a: {b: 1}\n<<: {c: 2}\n", "merge", 2),
        (b"1: a\n", "key", 1),
        (b"true: a\n", "key", 1),
        (b"? [a]\n: b\n", "key", 1),
        (b"a: [1,\n", "yaml", 2),
        (b"a: 1\n b: 2\n", "yaml", 2),
        (b"\ta: 1\n", "yaml", 1),
        (b"a: 1\nb: \xff\n", "encoding", 2),
        ("a: 1".encode("utf-16"), "binary", 0),
        (b"\x1f\x8b\x08\x00\x00", "binary", 0),
        (b"a: 9223372036854775808\n", "number", 1),
        (b"a: 1e999\n", "number", 1),
        (b'a: "\\ud800"\n', "encoding", 1),
        (b"a: " + b"[" * 40 + b"]" * 40, "depth", 1),
        (b"- a\n" * 60_000, "count", 50_000),
        (b"a: " + b"x" * (1 << 20), "size", 0),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_no_safe_document_is_refused_with_its_line(raw: bytes, rule: str, line: int) -> None:
    [found] = faults(raw)
    if rule == "encoding" and not yaml.__with_libyaml__:
        assert found.rule == rule
    elif raw.startswith(b'a: "\\ud800'):
        assert found.rule in {"yaml", "encoding"}, "libyaml refuses the escape itself"
    else:
        assert (found.rule, found.line) == (rule, line)
    assert found.fix


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    [found] = faults(bomb)
    assert (found.rule, found.line) == ("alias", 1)


def test_every_fault_of_a_file_is_reported_with_its_line_and_a_near_match() -> None:
    found = faults("topics:\n  - name: a\n    partition: 3\n  - partitions: x\n    tags: [1]\n")
    told = {(f.line, f.rule): f for f in found}
    assert "'partitions'" in told[3, "extra_forbidden"].fix
    assert "'name' is missing" in told[4, "missing"].message
    assert (4, "int_type") in told
    assert (5, "string_type") in told


def test_a_validator_can_give_its_own_rule_and_fix() -> None:
    found = next(f for f in faults("topics: [{name: reserved}]") if f.rule == "reserved")
    assert "reserved is taken" in found.message
    assert found.fix == "Choose another."


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, Path("a\0b")):
        with pytest.raises(CheckFailed) as failed:
            document.load(path, File)
        assert failed.value.findings[0].rule == "unreadable"


def test_a_file_is_named_in_its_findings(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("topics: 3\n")
    with pytest.raises(CheckFailed, match=r"t\.yaml:1: "):
        document.load(path, File)


_PIECES = st.sampled_from(
    rb"topics|: |- |  |[|]|{|}|&a |*a|!!map |'|? |<<|%YAML 1.1|---|...|#|\ud800|\UFFFFFFFF|1e9|,".split(b"|")
) | st.sampled_from([b"\n", b"\t", b'"', b"|\n", b"\xef\xbb\xbf"])


def outcome(raw: bytes) -> tuple[object, list[Finding]]:
    try:
        return document.read(raw, file="f")[0], []
    except CheckFailed as failed:
        return None, failed.findings


@settings(max_examples=400)
@given(st.binary(max_size=400) | st.lists(_PIECES, max_size=60).map(b"".join))
def test_any_bytes_are_a_value_or_a_check_failure(raw: bytes) -> None:
    found = outcome(raw)[1]
    assert all(finding.line >= 0 and finding.fix for finding in found)
    if not found:
        with contextlib.suppress(CheckFailed):
            document.parse(raw, File, file="f")


@settings(max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
        max_leaves=20,
    )
)
def test_what_json_writes_reads_back_the_same(data: object) -> None:
    raw = json.dumps({"a": data}, ensure_ascii=True).encode()
    found, faults = outcome(raw)
    assert {fault.rule for fault in faults} <= {"yaml", "key", "encoding"}, "surrogates and empty keys are refused"
    assert faults or found == {"a": data}


def test_more_faults_than_are_explained_are_counted() -> None:
    found = faults("topics:\n" + "  - nam: a\n" * 80)
    assert len(found) == 101
    assert str(found[-1]).startswith("f.yaml: has 61 more faults of form.")


def test_a_key_of_any_length_leaves_its_message_readable() -> None:
    found = faults(f"topics:\n  - name: a\n    ? {'k' * 100_000}\n    : 1\n")
    assert (3, True, True) in [(f.line, "is unknown" in f.message, len(f.message) < 300) for f in found]


def test_the_line_of_a_file_that_ends_early_is_in_the_file() -> None:
    assert [f.line for f in faults("a: 1\nb: {c: 1, d:")] == [2]


@pytest.mark.parametrize(
    "raw", [b"[" * 1_000_000, b"{" * 1_000_000, b"? " * 500_000, b"a:\n" * 300_000, b"- " * 500_000]
)
def test_hostile_nesting_ends_quickly(raw: bytes) -> None:
    before = time.monotonic()
    faults(raw)
    assert time.monotonic() - before < 5

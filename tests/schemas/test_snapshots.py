"""The committed files say what the contracts say, and releases are never rewritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas import snapshots
from schemas.catalogue import standard
from schemas.errors import SchemaRefused
from tests.schemas.samples import Everything

MODELS = standard().models()


def rules(folder: Path) -> list[tuple[str, str, str]]:
    return [(path.name, flaw.path, flaw.rule) for path, flaw in snapshots.problems(MODELS, folder)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Fresh snapshots with one release of the same."""
    snapshots.write(MODELS, tmp_path)
    snapshots.release(MODELS, "0.1.0", tmp_path)
    return tmp_path


def test_the_committed_snapshots_are_what_the_contracts_say() -> None:
    assert snapshots.problems(MODELS) == []


def test_fresh_snapshots_have_no_problems_and_writing_again_changes_nothing(folder: Path) -> None:
    assert rules(folder) == []
    assert snapshots.write(MODELS, folder) == []


def test_a_changed_missing_or_stray_file_is_found_and_mended(folder: Path) -> None:
    (folder / "birth.notified.v1.avsc").write_text("{}")
    (folder / "request.created.v1.avsc").unlink()
    (folder / "old.thing.v1.avsc").write_text("{}")
    assert sorted(rules(folder)) == [
        ("birth.notified.v1.avsc", "", "snapshot"),
        ("old.thing.v1.avsc", "", "no-contract"),
        ("request.created.v1.avsc", "", "snapshot"),
    ]
    assert len(snapshots.write(MODELS, folder)) == 3
    assert rules(folder) == []


def edit(path: Path, change: Any) -> None:
    schema = json.loads(path.read_text())
    change(schema)
    path.write_text(json.dumps(schema))


def test_a_break_with_any_past_release_is_found(folder: Path) -> None:
    snapshots.release(MODELS, "0.10.0", folder)
    edit(
        folder / "released/0.1.0/birth.notified.v1.avsc", lambda s: s["fields"].append({"name": "gone", "type": "long"})
    )
    assert rules(folder) == [("birth.notified.v1.avsc", "gone", "missing-default")]


def test_releases_are_ordered_as_versions(folder: Path) -> None:
    for version in ("0.10.0", "0.9.0"):
        snapshots.release(MODELS, version, folder)
        edit(folder / f"released/{version}/birth.notified.v1.avsc", lambda s, v=version: s.update(doc=v))
    assert [s["doc"] for s in snapshots.released(MODELS[5], folder)][1:] == ["0.9.0", "0.10.0"]


def test_a_release_is_kept_once(folder: Path) -> None:
    with pytest.raises(SchemaRefused, match=r"0\.1\.0 is kept already"):
        snapshots.release(MODELS, "0.1.0", folder)


def test_a_contract_with_unbounded_fields_is_found(tmp_path: Path) -> None:
    snapshots.write([Everything], tmp_path)
    assert {flaw.rule for _, flaw in snapshots.problems([Everything], tmp_path)} == {
        "unbounded-text",
        "unbounded-number",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[]", "not an Avro record"),
        (b'"string"', "not an Avro record"),
        (b'{"type":"record"}', "not an Avro schema"),
        (b"[" * 60_000, "nests deeper"),
        (b'{"type":"record","x":' + b"1" * 5000 + b"}", "not JSON"),
        (b" " * (snapshots.MAX_FILE + 1), "larger"),
        (b"\x00\x01\x02", "not JSON"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.avsc"
    path.write_bytes(content)
    with pytest.raises(SchemaRefused, match=r"bad\.avsc") as caught:
        snapshots.load(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.avsc", tmp_path):
        with pytest.raises(SchemaRefused):
            snapshots.load(path)

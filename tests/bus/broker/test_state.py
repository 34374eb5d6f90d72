"""What the launcher remembers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.broker import state
from bus.broker.config import Node
from bus.errors import BusError

KEPT = state.Kept("AAAAAAAAAAAAAAAAAAAAAA", (Node(1, 9092, 20001),))


def test_state_is_read_back(tmp_path: Path) -> None:
    assert state.load(tmp_path) is None
    state.save(tmp_path, KEPT)
    assert state.load(tmp_path) == KEPT
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"cluster_id":"x","nodes":[]}', '{"cluster_id":"x","nodes":[1]}', "\x00"]
)
def test_a_damaged_file_is_one_error_with_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(BusError, match="is damaged") as caught:
        state.load(tmp_path)
    assert str(tmp_path) in caught.value.remedy


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    directory = tmp_path_factory.mktemp("state")
    (directory / "cluster.json").write_bytes(raw)
    with pytest.raises(BusError):
        state.load(directory)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    state.write(path, "old")
    with pytest.raises(UnicodeEncodeError):
        state.write(path, "new \ud800")
    assert path.read_text() == "old"


def test_cluster_ids_are_22_characters_and_never_look_like_an_option() -> None:
    made = {state.new_cluster_id() for _ in range(500)}
    assert len(made) == 500
    assert all(len(text) == 22 and not text.startswith("-") for text in made)

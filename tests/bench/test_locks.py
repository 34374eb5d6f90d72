"""The peers of the benchmarks: locked, and no part of what users and tests get."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS, BESIDE, APART = (
    ROOT / name for name in ("requirements.lock", "tests/bench/requirements.lock", "tests/bench/quix.lock")
)
GROUPS = {"bench": BESIDE, "bench-quix": APART}


def locked(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("group", GROUPS)
def test_each_peer_is_pinned_and_locked_at_that_version(group: str) -> None:
    for pin in map(Requirement, PROJECT["dependency-groups"][group]):
        assert str(pin.specifier) == f"=={locked(GROUPS[group])[pin.name]}"


@pytest.mark.parametrize("lock", GROUPS.values(), ids=lambda path: path.name)
def test_each_locked_version_has_its_checksum_and_no_index_is_named(lock: Path) -> None:
    text = lock.read_text().strip()
    assert [block for block in re.split(r"\n(?=\S)", text) if "--hash=sha256:" not in block] == []
    assert not re.search(r"^--|://", text, re.MULTILINE)


def test_the_peers_beside_ours_change_no_version_of_ours() -> None:
    ours, beside = locked(OURS), locked(BESIDE)
    assert {name: version for name, version in beside.items() if ours.get(name, version) != version} == {}


def test_no_test_needs_a_peer_that_only_the_benchmarks_install() -> None:
    assert not {"faststream", "quixstreams"} & set(locked(OURS))


@pytest.mark.parametrize("lock", GROUPS.values(), ids=lambda path: path.name)
def test_make_bench_installs_each_lock_by_its_checksums_and_make_lock_compiles_it(lock: Path) -> None:
    make, name = (ROOT / "Makefile").read_text(), lock.relative_to(ROOT).as_posix()
    assert re.search(r"^bench: \$\(VENV\)/\.bench\b", make, re.MULTILINE)
    assert f"--require-hashes -r {name}\n" in make
    assert re.search(rf"^\t\$\(COMPILE\) .*-o {name}$", make, re.MULTILINE)

"""The table of guards in bus/DESIGN.md names tests and controls that are there, and each row has both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "bus" / "DESIGN.md").read_text().partition("## Guards")[2].partition("\n## ")[0]
ROWS = [line.strip("|").split("|") for line in TABLE.splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:60])
def test_each_guard_has_a_test_and_a_control_that_exist(row: list[str]) -> None:
    _, tests, controls = row
    assert re.search(r"`[\w/]+\.py(::\w+)?`", tests), "no test is named"
    assert controls.strip(), "no control is named"
    for path, name in re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", tests + controls):
        text = (ROOT / "tests" / path).read_text()
        assert f"def {name}(" in text if name else "def test_" in text, f"{path}: {name}"


def test_the_table_is_there() -> None:
    assert len(ROWS) >= 25

"""The bars of `make torture`: what each test demands and measured, as one table and as `torture.json`.

Used through the fixture `bar` and the function `sized` of this folder's tests. The traps it avoids: a figure that
scrolls away unread, and a test that broke before it measured anything and so is missing from the table unnoticed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FULL = "SCALE" in os.environ  # `make torture` sets it; `make test` runs slices
SCALE = float(os.environ.get("SCALE", "1"))
SEED = int(os.environ.get("SEED", "20261124"))


def sized(full: int, slice_: int) -> int:
    """How many of something this run does: `full` times SCALE under `make torture`, `slice_` under `make test`."""
    return max(1, round(full * SCALE)) if FULL else slice_


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the table. `figures` stand in the file only."""

    name: str
    demanded: str
    measured: str
    ok: bool
    figures: dict[str, Any] = field(default_factory=dict)


def table(bars: Sequence[Bar], broken: Sequence[str] = ()) -> list[str]:
    """The lines of the table; a test that broke before it measured (`broken`) is a line too."""
    rows = [("bar", "demanded", "measured", "")]
    rows += [(bar.name, bar.demanded, bar.measured, "met" if bar.ok else "MISSED") for bar in bars]
    rows += [(name, "", "broke before it measured", "MISSED") for name in broken]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


class Run:
    """The bars of one run, written to its file as they come: a run that is cut short leaves what it measured.

    Args:
        path: where `torture.json` goes; None for nowhere.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._measured: set[str] = set()
        self.bars: list[Bar] = []
        self.broken: list[str] = []

    def report(self, test: str, bar: Bar) -> None:
        """Keep a bar of `test`, and fail that test when it is missed."""
        self.bars.append(bar)
        self._measured.add(test)
        self._save()
        assert bar.ok, f"{bar.name}: demanded {bar.demanded}; measured {bar.measured}; {bar.figures}"

    def failed(self, test: str) -> None:
        """A test that reports bars failed; when it has reported none, it broke before it measured."""
        if test not in self._measured:
            self.broken.append(test.rpartition("::")[2])
            self._save()

    def _save(self) -> None:
        if self._path is not None:
            told = {
                "scale": SCALE if FULL else "slice",
                "seed": SEED,
                "bars": [asdict(bar) for bar in self.bars],
                "broken": self.broken,
            }
            self._path.write_text(json.dumps(told, indent=1, default=str) + "\n", encoding="utf-8")

"""What a scenario hands back: rows, bars and notes; as one JSON document and as a table for people.

Called by `tests.bench.__main__` and filled by the scenarios.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.bench.statistics import Spread

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one side.

    Args:
        name: the side. unit: of `value`. ratio: to the scenario's yardstick, round by round.
        cpu_us: CPU microseconds per event of the measured process.
    """

    name: str
    unit: str
    value: Spread
    ratio: Spread | None = None
    cpu_us: Spread | None = None

    def as_json(self) -> dict[str, object]:
        """For the document on stdout."""
        return {
            "name": self.name,
            "unit": self.unit,
            "value": self.value.as_json(),
            "ratio": self.ratio.as_json() if self.ratio else None,
            "cpu_us_per_event": self.cpu_us.as_json() if self.cpu_us else None,
        }


@dataclass(frozen=True, slots=True)
class Bar:
    """A demand with what was measured."""

    name: str
    value: float
    target: float
    at_least: bool

    @property
    def holds(self) -> bool:
        """Whether the demand is met."""
        return self.value >= self.target if self.at_least else self.value <= self.target

    def as_json(self) -> dict[str, object]:
        """For the document on stdout."""
        relation = ">=" if self.at_least else "<="
        return {"name": self.name, "value": self.value, "target": f"{relation} {self.target:g}", "holds": self.holds}


@dataclass(frozen=True, slots=True)
class Report:
    """One scenario."""

    name: str
    what: str
    rows: Sequence[Row]
    bars: Sequence[Bar] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """For the document on stdout."""
        return {
            "what": self.what,
            "rows": [row.as_json() for row in self.rows],
            "bars": [bar.as_json() for bar in self.bars],
        }

    def as_table(self) -> str:
        """For people."""
        lines = [
            f"{self.name}: {self.what}",
            f"  {'':<44}{'median (min-max)':>28}  {'unit':<10}{'ratio':>20}{'CPU us':>9}",
        ]
        for row in self.rows:
            ratio = _short(row.ratio) if row.ratio else ""
            cpu = f"{row.cpu_us.median:.0f}" if row.cpu_us else ""
            lines.append(f"  {row.name:<44}{_short(row.value):>28}  {row.unit:<10}{ratio:>20}{cpu:>9}")
        for bar in self.bars:
            relation = ">=" if bar.at_least else "<="
            verdict = "holds" if bar.holds else "MISSED"
            lines.append(f"  {verdict:<7}{bar.name}: {bar.value:.2f} ({relation} {bar.target:g})")
        return "\n".join(lines)


def _short(found: Spread) -> str:
    digits = 0 if found.median >= 100 else 2
    return f"{found.median:,.{digits}f} ({found.low:,.{digits}f}-{found.high:,.{digits}f})"

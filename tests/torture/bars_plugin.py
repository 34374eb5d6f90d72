"""The fixture `bar`, and the table that all bars of a run come to.

Registered by `tests/conftest.py`. The trap it avoids: with pytest-xdist a test runs in another process than the one
that prints the table, so a bar travels in the test's report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.torture import bars
from tests.torture.bars import Bar, Run

_BAR, _BROKEN = "bar", "broke before it measured"


@pytest.fixture
def bar(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Reports one bar of the run and fails the test when it is missed.

    ``bar(name, demanded=..., measured=..., ok=..., **figures)``: call it once per bar, at the end of the test, with
    texts a reader understands without the code, e.g.
    ``bar("Kills on the SQL inbox", demanded="1,100 kills, balances equal the model", measured="1,100 kills, 0 wrong",
    ok=not wrong, seed=SEED, seconds=212)``. The figures go to `torture.json` (or where TORTURE_JSON says). Take sizes
    from ``bars.sized(full, slice_)`` and seeds from ``bars.SEED``, so that `SCALE=` and `SEED=` of `make torture` mean
    the same everywhere. A test that asks for this fixture and fails without calling it is a line of the table as well.
    """

    def report(name: str, *, demanded: str, measured: str, ok: bool, **figures: Any) -> None:
        told = asdict(Bar(name, demanded, measured, ok, figures))
        request.node.user_properties.append((_BAR, json.dumps(told, default=str)))
        assert ok, f"{name}: demanded {demanded}; measured {measured}; {figures}"

    return report


class Gathering:
    """Gathers the bars of all reports.

    Args:
        run: takes them; None in a process that only runs tests for another one.
    """

    def __init__(self, run: Run | None) -> None:
        self._run = run

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note the tests that should have reported a bar and broke before they did."""
        report = yield
        measured = any(name == _BAR for name, _ in item.user_properties)
        if report.failed and "bar" in getattr(item, "fixturenames", ()) and not measured:
            report.user_properties.append((_BROKEN, item.nodeid))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the bars of a report."""
        if self._run is None:
            return
        for name, told in report.user_properties:
            if name == _BAR and report.when == "call":  # a later report of the test repeats it
                self._run.report(Bar(**json.loads(str(told))))
            elif name == _BROKEN:
                self._run.failed(str(told))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table."""
        if self._run is not None and (self._run.bars or self._run.broken):
            scale = f"SCALE={bars.SCALE:g}" if bars.FULL else "a slice; all of it: make torture"
            terminalreporter.section(f"bars ({scale}, seed {bars.SEED})")
            for line in bars.table(self._run.bars, self._run.broken):
                terminalreporter.write_line(line)


def register(config: pytest.Config) -> None:
    """Gather the bars of this run."""
    named = os.environ.get("TORTURE_JSON")
    default = config.rootpath / "torture.json" if bars.FULL else None
    runs_for_another = hasattr(config, "workerinput")
    run = None if runs_for_another else Run(Path(named) if named else default)
    config.pluginmanager.register(Gathering(run), "bars")

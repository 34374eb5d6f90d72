"""The fixture `bar`, and the table that all bars of a run come to."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.torture import bars
from tests.torture.bars import Bar, Run

_RUN = pytest.StashKey[Run]()


def _run_of(config: pytest.Config) -> Run:
    if _RUN not in config.stash:
        named = os.environ.get("TORTURE_JSON")
        default = config.rootpath / "torture.json" if bars.FULL else None
        config.stash[_RUN] = Run(Path(named) if named else default)
    return config.stash[_RUN]


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
    run = _run_of(request.config)

    def report(name: str, *, demanded: str, measured: str, ok: bool, **figures: Any) -> None:
        run.report(request.node.nodeid, Bar(name, demanded, measured, ok, figures))

    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the tests that should have reported a bar and broke before they did."""
    report = yield
    if report.failed and "bar" in getattr(item, "fixturenames", ()):
        _run_of(item.config).failed(item.nodeid)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table."""
    run = _run_of(config)
    if run.bars or run.broken:
        scale = f"SCALE={bars.SCALE:g}" if bars.FULL else "a slice; all of it: make torture"
        terminalreporter.section(f"bars ({scale}, seed {bars.SEED})")
        for line in bars.table(run.bars, run.broken):
            terminalreporter.write_line(line)

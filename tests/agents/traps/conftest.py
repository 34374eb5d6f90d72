"""Cleans up after apps that were made and never started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agents.traps.support import MADE


@pytest.fixture(autouse=True)
def _close_loops() -> Iterator[None]:
    yield
    for app in MADE:
        if app._consumer is not None and not app._consumer._thread.thread_loop.is_running():
            app._consumer._thread.thread_loop.close()
    MADE.clear()

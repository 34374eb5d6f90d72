"""The warm process that runs the commands, one for all tests of this package."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bad_input.runner import Runner


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """Runs commands in forks of one process; see `tests.bad_input.runner`."""
    made = Runner()
    yield made
    made.close()

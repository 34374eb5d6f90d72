"""Fixtures every test may ask for: real Kafka, started by the test run, and names that no other test uses.

`kafka` and `kafka3` start real Apache Kafka once per session in a temporary directory (the jars are cached per user)
and stop it by pid; `AGENCYBUS_TEST_BOOTSTRAP` names a running one to use instead of `kafka`. A broker that cannot be
had is an error, never a skip.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.broker import launcher
from tests.postgres import Postgres


def pytest_configure() -> None:
    """Take the signals that tests send themselves, also where a background job was started with them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _cluster(nodes: int) -> Iterator[str]:
    directory = Path(tempfile.mkdtemp(prefix="agencybus-test-"))
    try:
        cluster = launcher.up(directory, progress=_say, nodes=nodes, port=launcher.free_port())
        yield cluster.bootstrap
    finally:
        launcher.down(directory, progress=_say)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap address ``host:port`` of a real one-node Apache Kafka."""
    running = os.environ.get("AGENCYBUS_TEST_BOOTSTRAP")
    if running:
        yield running
    else:
        yield from _cluster(1)


@pytest.fixture(scope="session")
def kafka3() -> Iterator[str]:
    """Bootstrap addresses ``host:port,...`` of a real three-node Apache Kafka; costs 1.5 GB of memory."""
    yield from _cluster(3)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL 18; one that cannot be had is an error, never a skip."""
    server = Postgres()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database: of SQLite once, and of PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'agency.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.emptied()


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Makes a name no other test has, from a lower-case word: ``fresh("clinic")`` is an agency, a group, a prefix."""
    mark = uuid.uuid4().hex[:8]
    return lambda word: f"{word}-{mark}"


@pytest.fixture
def topic_prefix(fresh: Callable[[str], str]) -> str:
    """An agency name no other test has: ``f"{topic_prefix}.request.created.v1"`` is a topic."""
    return fresh("t")

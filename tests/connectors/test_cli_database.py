"""`connector run` with a database: the relay, the fund and its relay, what they say, and what they never say."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus import member
from bus.cli import main
from bus.transport.memory import MemoryCluster
from connectors import cli_database
from connectors.database import open_database
from connectors.simulators.fund_database import FundDatabase
from schemas.birth import BenefitAssigned
from tests.connectors.offices import ASSIGNED, NOW, ask, events, offices_cluster, portal_on
from tests.connectors.simulators.test_fund_database import request as asked
from tests.postgres import Postgres, broken_connections

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryCluster]:
    """What the commands reach instead of Kafka; the handlers of signals are put back."""
    made = offices_cluster()
    monkeypatch.setattr("bus.core.transport_of", lambda settings: made)
    monkeypatch.setattr(member, "POLL_S", 0.02)
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield made
    for number, handler in before:
        signal.signal(number, handler)


def run(*words: str) -> int:
    return main.main(["connector", "run", *words, "--exit-when-idle", "0.5"])


def test_the_fund_on_its_database_answers_every_request_once(
    cluster: MemoryCluster, database: str, capsys: Capture
) -> None:
    with portal_on(cluster) as bus:
        ask(bus, [*range(20), *range(10)])
    assert run("social-fund", "--database", database) == 0
    out, said = capsys.readouterr()
    assert out == ""
    assert "social-fund: 20 events handled; 20 events relayed" in said
    assert "books: 20 benefits of 14,500 in all; accounts 14,500" in said
    assert len(events(cluster, ASSIGNED, BenefitAssigned)) == 20
    assert run("social-fund", "--database", database) == 0
    assert "books: 20 benefits" in capsys.readouterr().err


def test_the_relay_alone_publishes_what_waits(cluster: MemoryCluster, database: str, capsys: Capture) -> None:
    engine = open_database(database)
    fund = FundDatabase(engine)
    fund.create()
    for number in range(3):
        fund.react(asked(number), now=NOW)
    engine.dispose()
    assert run("outbox-relay", "--database", database) == 0
    assert "3 events relayed" in capsys.readouterr().err
    assert len(events(cluster, ASSIGNED, BenefitAssigned)) == 3


def test_the_address_may_stand_in_the_environment(
    cluster: MemoryCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("AGENCYBUS_DATABASE", f"sqlite:///{tmp_path / 'fund.db'}")
    assert run("social-fund") == 0
    assert "fund.db" in capsys.readouterr().err


def test_no_password_is_ever_said(cluster: MemoryCluster, postgres: Postgres, capsys: Capture) -> None:
    url = postgres.fresh()
    assert run("social-fund", "--database", url) == 0
    with broken_connections():
        for wrong in (url.replace(postgres.password, "hunter2"), "postgresql://u:hunter2@127.0.0.1:9/d"):
            assert run("outbox-relay", "--database", wrong) == 4
        assert run("outbox-relay", "--database", "mysql://u:hunter2@h/d") == 2
    out, said = capsys.readouterr()
    assert "***" in said
    assert postgres.password not in said + out
    assert "hunter2" not in said + out


def test_a_relay_without_a_database_says_what_it_needs(cluster: MemoryCluster, capsys: Capture) -> None:
    assert run("outbox-relay") == 2
    assert "Give --database, or set AGENCYBUS_DATABASE." in capsys.readouterr().err


def test_without_the_extra_the_command_says_what_to_install(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    import connectors

    monkeypatch.delitem(sys.modules, "connectors.cli_database")
    monkeypatch.delattr(connectors, "cli_database")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert run("outbox-relay", "--database", "sqlite:///a.db") == 2
    assert "Install agencybus[sql]." in capsys.readouterr().err


def test_a_relay_that_fails_stops_the_office_and_is_the_command_s_failure(
    cluster: MemoryCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    async def failing(*_: Any, **__: Any) -> None:
        raise ValueError("a bug of the relay")

    monkeypatch.setattr(cli_database, "_relay", failing)
    assert main.main(["connector", "run", "social-fund", "--database", f"sqlite:///{tmp_path / 'fund.db'}"]) == 1
    assert "a bug of the relay" in capsys.readouterr().err


def test_a_database_without_an_outbox_ends_the_relay_with_a_sentence(
    cluster: MemoryCluster, tmp_path: Path, capsys: Capture
) -> None:
    assert run("outbox-relay", "--database", f"sqlite:///{tmp_path / 'empty.db'}") == 1
    said = capsys.readouterr().err
    assert "has no outbox" in said
    assert "Traceback" not in said

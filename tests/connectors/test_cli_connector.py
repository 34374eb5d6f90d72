"""`agencybus connector run|check` over the in-memory transport; on real Kafka: test_commands."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from bus import member
from bus.cli import main
from bus.transport.memory import MemoryCluster
from connectors import cli_connector
from schemas.birth import BenefitAssigned, IdentityEntered
from tests.connectors.offices import ASSIGNED, CERTIFICATE, ENTERED, ask, events, offices_cluster, portal_on, tell

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


def test_births_told_by_the_clinic_are_answered_by_all_offices_in_one_process(
    cluster: MemoryCluster, capsys: Capture
) -> None:
    assert main.main(["connector", "run", "clinic", "--births", "5", "--run", "r", "--year", "2026"]) == 0
    assert "clinic: 5 of 5 births told (synthetic families, seed 1)" in capsys.readouterr().err
    with portal_on(cluster) as bus:
        ask(bus, range(3))
    assert main.main(["connector", "run", "offices", "--exit-when-idle", "0.5"]) == 0
    out, said = capsys.readouterr()
    assert out == ""
    assert "serving: civil-registry, id-office, social-fund" in said
    assert "civil-registry: 5 events handled, 9 published" in said
    assert "id-office: 5 events handled, 4 published" in said
    assert "social-fund: 3 events handled, 3 published; 3 benefits assigned in all, 0 repetitions recognised" in said
    assert len(events(cluster, ENTERED, IdentityEntered)) == 4
    assert len(events(cluster, ASSIGNED, BenefitAssigned)) == 3


def test_one_office_alone_serves_its_own_topic_only(cluster: MemoryCluster, capsys: Capture) -> None:
    tell(cluster, 5)
    assert main.main(["connector", "run", "civil-registry", "--exit-when-idle", "0.5"]) == 0
    assert "civil-registry: 5 events handled" in capsys.readouterr().err
    assert "interior.id-office" not in cluster.groups


def test_the_first_office_that_fails_stops_the_others_and_is_the_command_s_failure(
    cluster: MemoryCluster, capsys: Capture
) -> None:
    cluster.admin().delete(CERTIFICATE)
    tell(cluster, 5)
    begun = time.monotonic()
    assert main.main(["connector", "run", "offices", "--exit-when-idle", "20"]) == 1
    assert time.monotonic() - begun < 15
    said = capsys.readouterr().err
    assert f"error: There is no topic {CERTIFICATE}" in said
    assert "social-fund: 0 events handled" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_termination_ask_every_office_to_stop(cluster: MemoryCluster, number: signal.Signals) -> None:
    stop = cli_connector._stopper()
    assert not stop.is_set()
    signal.raise_signal(number)
    assert stop.is_set()


def test_a_stopped_office_says_what_it_has_done_and_exits_0(
    cluster: MemoryCluster, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(cli_connector, "_stopper", lambda: stop)
    assert main.main(["connector", "run", "id-office"]) == 0
    assert "id-office: 0 events handled, 0 published" in capsys.readouterr().err


def test_check_names_the_topics_that_are_missing(cluster: MemoryCluster, capsys: Capture) -> None:
    assert main.main(["connector", "check"]) == 0
    assert "ok: the broker has the 6 topics of the offices" in capsys.readouterr().err
    for topic in (ENTERED, ASSIGNED):
        cluster.admin().delete(topic)
    assert main.main(["connector", "check"]) == 1
    said = capsys.readouterr().err
    assert f"error: Topics are missing: {ENTERED}, {ASSIGNED}." in said
    assert "agencybus topics apply" in said

"""The social fund: each benefit once, over repetitions, restarts and a kill between answer and commit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from unittest.mock import patch

import pytest

from bus.message import Partition
from bus.transport.kafka import KafkaTransport
from bus.transport.memory import MemoryCluster, MemoryConsumer
from bus.wiring import connect
from connectors.office import Counts
from connectors.simulators.social_fund import AMOUNT, Ledger, SocialFund
from schemas.birth import BenefitAssigned
from schemas.envelope import from_headers
from schemas.requests import RequestCreated
from tests.connectors.offices import (
    ASKED,
    ASSIGNED,
    NOW,
    ask,
    events,
    handled,
    message,
    offices_cluster,
    portal_on,
    serve,
)

GROUP = "social-fund.benefits"


@pytest.fixture
def cluster() -> MemoryCluster:
    return offices_cluster()


def request(kind: str) -> RequestCreated:
    return RequestCreated(request_id="R-1", kind=kind, subject="SYN-P-0001")


def test_a_benefit_goes_to_the_child_it_was_asked_for() -> None:
    cause = message(request("birth_benefit"), topic=ASKED)
    (said,) = SocialFund().react(cause, now=NOW)
    assert isinstance(said.event, BenefitAssigned)
    assert (said.event.person, said.event.request_id) == ("SYN-P-0001", "R-1")
    assert (said.event.amount, said.event.currency, said.event.assigned_on) == (AMOUNT, "AZN", NOW.date())
    assert said.caused_by is cause


def test_requests_of_other_kinds_are_not_the_fund_s(cluster: MemoryCluster) -> None:
    assert SocialFund().react(message(request("parking_permit"), topic=ASKED), now=NOW) == ()
    with portal_on(cluster) as bus:
        ask(bus, range(3), kind="parking_permit")
    fund = SocialFund()
    assert serve(cluster, fund, Ledger(cluster.reader(), fund)) == Counts(handled=3, published=0)
    assert handled(cluster, GROUP) == 3, "they are passed over, not read again and again"


def test_each_benefit_is_assigned_once_over_repetitions_and_restarts(cluster: MemoryCluster) -> None:
    fund = SocialFund()
    with portal_on(cluster) as bus:
        ask(bus, range(30))
        ask(bus, range(10))
        first = Ledger(cluster.reader(), fund)
        assert serve(cluster, fund, first).published == 30
        assert (first.effects, first.repetitions) == (30, 0)  # repetitions within one batch never reach the ledger
        ask(bus, range(20))
        ask(bus, range(30, 33))
        second = Ledger(cluster.reader(), fund)
        assert serve(cluster, fund, second).published == 3
        assert (second.effects, second.repetitions) == (33, 20)
    ids = Counter(event_id for _, event_id, _ in events(cluster, ASSIGNED, BenefitAssigned))
    assert set(ids.values()) == {1}
    assert len(ids) == 33


class _Dead(BaseException):
    """The process ends here."""


class _Dying(MemoryConsumer):
    """A member whose process ends where it would commit."""

    def commit(self, positions: Mapping[Partition, int]) -> None:
        raise _Dead


def test_a_fund_that_died_between_answer_and_commit_does_not_pay_again(cluster: MemoryCluster) -> None:
    fund = SocialFund()
    with portal_on(cluster) as portal:
        ask(portal, range(12))
    with patch("bus.transport.memory.MemoryConsumer", _Dying), pytest.raises(_Dead):
        serve(cluster, fund, Ledger(cluster.reader(), fund))
    ledger = Ledger(cluster.reader(), fund)
    assert serve(cluster, fund, ledger).published == 0
    assert (ledger.effects, ledger.repetitions) == (12, 12)


def test_a_ledger_reads_on_from_where_it_was(cluster: MemoryCluster) -> None:
    fund = SocialFund()
    ledger, other = Ledger(cluster.reader(), fund), Ledger(cluster.reader(), fund)
    with portal_on(cluster) as bus:
        for numbers, effects in ((range(3), 3), (range(3, 5), 5)):
            ask(bus, numbers)
            serve(cluster, fund, other)
            ledger.refresh()
            assert ledger.effects == effects
    ledger.refresh()
    assert ledger.effects == 5


PROGRAM = ["-m", "bus.cli.main"]
KILLED_BEFORE_COMMIT = """
import os, signal
from bus.transport.kafka_consumer import KafkaConsumer
KafkaConsumer.commit = lambda self, positions: os.kill(os.getpid(), signal.SIGKILL)
from bus.cli.main import run
run()
"""


def fund_process(program: list[str], kafka: str) -> subprocess.CompletedProcess[str]:
    words = ["connector", "run", "social-fund", "--exit-when-idle", "1", "--bootstrap", kafka]
    surroundings = os.environ | {"AGENCYBUS__SESSION_TIMEOUT_MS": "6000"}  # the least a broker takes
    command = [sys.executable, *program, *words]
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.kafka
def test_on_kafka_a_fund_killed_between_answer_and_commit_pays_once(kafka: str, fresh: Callable[[str], str]) -> None:
    from bus.cli import main

    assert main.main(["topics", "apply", "--bootstrap", kafka]) == 0
    run, cases = fresh("killed"), 40
    begin_at_the_end(kafka)
    with connect(agency="portal", bootstrap=kafka) as bus:
        ask(bus, range(cases), run=run)
    killed = fund_process(["-c", KILLED_BEFORE_COMMIT], kafka)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(paid(kafka, run)) == cases, "it was killed after its answers"
    again = fund_process(PROGRAM, kafka)  # waits until the dead member's session ends, then gets all of it again
    assert again.returncode == 0, again.stderr
    assert f"{cases} repetitions recognised" in again.stderr
    found = paid(kafka, run)
    assert len(found) == cases, "nothing is lost"
    assert set(found.values()) == {1}, "nothing is paid twice"


def begin_at_the_end(kafka: str) -> None:
    """Pass over what other tests have asked of the fund."""
    transport = KafkaTransport(bootstrap=kafka)
    admin, reader = transport.admin(), transport.reader()
    places = [Partition(ASKED, number) for number in range(reader.partitions(ASKED))]
    admin.commit(GROUP, {place: end for place, (_, end) in reader.bounds(places).items()})
    admin.close()
    reader.close()


def paid(kafka: str, run: str) -> Counter[str]:
    """How often each benefit of this run stands on the fund's topic, by event id."""
    found: Counter[str] = Counter()
    reader = KafkaTransport(bootstrap=kafka).reader()
    places = [Partition(ASSIGNED, number) for number in range(reader.partitions(ASSIGNED))]
    for place, (first, end) in reader.bounds(places).items():
        for record in reader.read(place, first, end):
            if (record.key or b"").startswith(f"birth-{run}-".encode()):
                found[from_headers(record.headers).id] += 1
    reader.close()
    return found

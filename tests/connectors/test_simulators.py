"""The four offices over the in-memory transport: right outcome for each special family, each benefit once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

import pytest

from bus.message import Message, Partition
from bus.publish import Publication
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from bus.wiring import Bus, connect
from connectors import office
from connectors.feed import Feed
from connectors.office import Counter as OfficeCounter
from connectors.ports import Target
from connectors.simulators.civil_registry import CivilRegistry
from connectors.simulators.clinic import Clinic
from connectors.simulators.id_office import IdOffice
from connectors.simulators.social_fund import ASSIGNED, Ledger, SocialFund
from schemas.birth import BenefitAssigned, BirthRegistered
from schemas.documents import DocumentIssued
from schemas.envelope import from_headers
from schemas.event import Event
from schemas.requests import RequestCreated

NOTIFIED, REGISTERED = "health.birth.notified.v1", "justice.birth.registered.v1"
CERTIFICATE, ENTERED, ASKED = "justice.document.issued.v1", "interior.identity.entered.v1", "portal.request.created.v1"
E = TypeVar("E", bound=Event)


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(NOTIFIED, REGISTERED, CERTIFICATE, ENTERED, ASKED, ASSIGNED)


class Ticks:
    """Time that moves by a second whenever it is asked, so that idle offices end without waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def _serve(cluster: MemoryCluster, target: Target, memory: Ledger | None = None) -> office.Counts:
    with connect(agency=target.agency, transport=cluster) as bus:
        counter = OfficeCounter(bus, target, stop=lambda: False, memory=memory, monotonic=Ticks())
        return counter.serve(idle_s=3.0)


def _tell(cluster: MemoryCluster, births: int) -> int:
    with connect(agency="health", transport=cluster) as bus:
        clinic = Clinic(births=births, seed=5, year=2026, run="t")
        return Feed(bus, rate=None, stop=lambda: False).run(clinic)


def _events(cluster: MemoryCluster, topic: str, model: type[E]) -> list[tuple[str, str, E]]:
    """(case, id, event) of every record."""
    with connect(transport=cluster) as bus:
        reader = cluster.reader()
        places = [Partition(topic, n) for n in range(reader.partitions(topic))]
        found = []
        for partition, (first, end) in reader.bounds(places).items():
            for record in reader.read(partition, first, end):
                envelope = from_headers(record.headers)
                event = bus.core.codec.decode(record.value or b"", model)
                found.append((envelope.correlationid or "", envelope.id, event))
        return found


@contextmanager
def _portal(cluster: MemoryCluster) -> Iterator[Bus]:
    with connect(agency="portal", transport=cluster) as bus:
        yield bus


def _ask(bus: Bus, numbers: Sequence[int], kind: str = "birth_benefit") -> None:
    for number in numbers:
        request = RequestCreated(request_id=f"R-{number}", kind=kind, subject=f"SYN-P-{number:04d}")
        bus.publish(request, case=f"birth-t-{number:06d}", id=f"ask-{kind}-{number}")


def test_every_special_family_gets_its_right_outcome(cluster: MemoryCluster) -> None:
    assert _tell(cluster, 5) == 5
    assert _serve(cluster, CivilRegistry()) == office.Counts(handled=5, published=9)
    assert _serve(cluster, IdOffice()) == office.Counts(handled=5, published=4)
    records = {case: event for case, _, event in _events(cluster, REGISTERED, BirthRegistered)}
    one, two, still, fatherless, foreign = (records[f"birth-t-{number:06d}"] for number in range(1, 6))
    assert one.person != two.person
    assert one.mother == two.mother
    assert one.surname == two.surname
    assert (still.stillbirth, still.person) == (True, None)
    assert not fatherless.father_recorded
    assert foreign.person is not None
    holders = {event.holder for _, _, event in _events(cluster, CERTIFICATE, DocumentIssued)}
    assert holders == {one.person, two.person, fatherless.person, foreign.person}


def test_a_second_telling_has_no_second_effect_even_after_a_restart(cluster: MemoryCluster) -> None:
    for _ in range(2):
        _tell(cluster, 20)
        _serve(cluster, CivilRegistry())
    ids = Counter(event_id for _, event_id, _ in _events(cluster, REGISTERED, BirthRegistered))
    assert len(ids) == 20, "a repetition has the id of the first, so readers keep one of two"


def test_each_benefit_is_assigned_once_over_repetitions_and_restarts(cluster: MemoryCluster) -> None:
    fund = SocialFund()
    with _portal(cluster) as bus:
        _ask(bus, range(30))
        _ask(bus, range(10))
        first = Ledger(cluster.reader(), fund)
        assert _serve(cluster, fund, first).published == 30
        assert (first.effects, first.repetitions) == (30, 0)  # repetitions within one batch never reach the ledger
        _ask(bus, range(20))
        _ask(bus, range(30, 33))
        second = Ledger(cluster.reader(), fund)
        assert _serve(cluster, fund, second).published == 3
        assert (second.effects, second.repetitions) == (33, 20)
    ids = Counter(event_id for _, event_id, _ in _events(cluster, ASSIGNED, BenefitAssigned))
    assert set(ids.values()) == {1}
    assert len(ids) == 33


def test_a_fund_that_died_between_answer_and_commit_does_not_pay_again(cluster: MemoryCluster) -> None:
    fund = SocialFund()
    with _portal(cluster) as portal, connect(agency="social-fund", transport=cluster) as bus:
        _ask(portal, range(12))
        counter = OfficeCounter(bus, fund, stop=lambda: False, memory=Ledger(cluster.reader(), fund))
        consumer = cluster.consumer([ASKED], group="elsewhere")
        counter._handle([r for _ in range(5) for r in consumer.poll(max_records=500, timeout=0.1)])
        consumer.close()
    ledger = Ledger(cluster.reader(), fund)
    assert _serve(cluster, fund, ledger).published == 0
    assert (ledger.effects, ledger.repetitions) == (12, 12)


def test_requests_of_other_kinds_are_not_the_fund_s(cluster: MemoryCluster) -> None:
    with _portal(cluster) as bus:
        _ask(bus, range(3), kind="parking_permit")
    fund = SocialFund()
    assert _serve(cluster, fund, Ledger(cluster.reader(), fund)) == office.Counts(handled=3, published=0)


def test_a_reaction_that_raises_becomes_a_dead_letter_and_the_next_is_served(cluster: MemoryCluster) -> None:
    class Broken(IdOffice):
        def react(self, message: Message, *, now: datetime) -> Sequence[Publication]:
            raise ValueError("a bug")

    _tell(cluster, 3)
    _serve(cluster, CivilRegistry())
    with connect(agency="interior", transport=cluster) as bus:
        counter = OfficeCounter(bus, Broken(), stop=lambda: False, sleep=lambda _: None, monotonic=Ticks())
        assert counter.serve(idle_s=3.0).handled == 0
    assert sum(end for _, end in cluster.reader().bounds([Partition("interior.id-office.dead", 0)]).values()) == 3


def test_a_rate_is_kept(cluster: MemoryCluster) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with connect(agency="health", transport=cluster) as bus:
        feed = Feed(bus, rate=10.0, stop=lambda: False, sleep=sleep, monotonic=lambda: now[0])
        assert feed.run(Clinic(births=41, seed=1, year=2026, run="t")) == 41
    assert now[0] == pytest.approx(4.0, abs=0.2)

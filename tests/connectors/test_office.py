"""The desk of an office: answers before commits, each event once, failures told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar
from unittest.mock import patch

import pytest
from msgspec import structs

from bus.errors import Refused
from bus.message import Message, Outgoing, Partition, Record
from bus.middleware.parking import Command, Mode, command_key, pack_command, parked_topic, unpack
from bus.publish import Publication
from bus.testing import memory_bus
from bus.transport.memory import MemoryCluster, MemoryConsumer
from connectors.office import Counts, Desk, effect_id, effect_of
from connectors.simulators.civil_registry import CivilRegistry
from connectors.simulators.id_office import IdOffice
from schemas.birth import IdentityEntered
from schemas.envelope import from_headers, to_headers
from tests.connectors.offices import ENTERED, NOTIFIED, NOW, REGISTERED, events, handled, offices_cluster, serve, tell

GROUP = "interior.id-office"


@pytest.fixture
def cluster() -> MemoryCluster:
    """Five registered births, one of them a stillbirth."""
    made = offices_cluster()
    tell(made, 5)
    serve(made, CivilRegistry())
    return made


def test_effects_of_other_events_offices_and_words_have_other_ids() -> None:
    ids = {effect_of(*said) for said in (("a", "m"), ("b", "m"), ("a", "n"), ("a", "m", "w"), ("a", "mw"), ("am", ""))}
    assert len(ids) == 6
    assert all(len(found) == 32 and int(found, 16) >= 0 for found in ids)
    assert effect_of("a", "m") == effect_of("a", "m", "")


def test_the_id_of_an_effect_follows_from_the_source_and_id_of_its_cause(cluster: MemoryCluster) -> None:
    causes: list[Message] = []

    class Noting(IdOffice):
        def react(self, message: Message, *, now: datetime) -> Sequence[Publication]:
            causes.append(message)
            return super().react(message, now=now)

    serve(cluster, Noting())
    wanted = {effect_id("id-office", cause, "entered") for cause in causes}
    assert {found for _, found, _ in events(cluster, ENTERED, IdentityEntered)} < wanted
    assert len(wanted) == 5


def test_nothing_is_committed_before_the_answers_are_stored(cluster: MemoryCluster) -> None:
    stored: list[int] = []

    class Watching(MemoryConsumer):
        def commit(self, positions: Mapping[Partition, int]) -> None:
            stored.append(sum(len(log) for place, log in cluster.logs.items() if place.topic == ENTERED))
            super().commit(positions)

    with patch("bus.transport.memory.MemoryConsumer", Watching):
        serve(cluster, IdOffice())
    assert stored[0] == 4
    assert handled(cluster, GROUP) == 5


def test_an_answer_that_is_refused_commits_nothing_so_the_next_run_has_it_again(cluster: MemoryCluster) -> None:
    cluster.admin().delete(ENTERED)
    with pytest.raises(Refused, match=f"no topic {ENTERED}"):
        serve(cluster, IdOffice())
    assert handled(cluster, GROUP) == 0
    cluster.admin().create(offices_cluster().topics[ENTERED])
    assert serve(cluster, IdOffice()) == Counts(handled=5, published=4)


def test_an_event_that_stands_twice_on_the_topic_is_answered_once(cluster: MemoryCluster) -> None:
    for place in [p for p in cluster.logs if p.topic == REGISTERED]:
        twice = [Outgoing(r.key, r.value, r.headers) for r in cluster.logs[place]]
        if twice:
            cluster.store(place, twice)
    assert serve(cluster, IdOffice()) == Counts(handled=5, published=4)
    assert handled(cluster, GROUP) == 10


class Broken(IdOffice):
    """An office with a bug that one case meets, for as many tries as it is told."""

    failing: ClassVar[list[str]] = []

    def react(self, message: Message, *, now: datetime) -> Sequence[Publication]:
        if message.case == "birth-t-000001" and self.failing:
            raise ValueError(self.failing.pop())
        return super().react(message, now=now)


def test_a_reaction_that_raises_parks_its_case_and_the_next_is_served(cluster: MemoryCluster) -> None:
    with patch.object(Broken, "failing", ["a bug"] * 99):
        assert serve(cluster, Broken()) == Counts(handled=4, published=3)
    (place,) = [p for p in cluster.logs if p.topic == parked_topic(GROUP) and cluster.logs[p]]
    (row,) = cluster.logs[place]
    entry = unpack(row.value or b"")
    assert (entry.record.key, entry.failure.attempt, entry.mode) == (b"birth-t-000001", 5, Mode.KEY)
    assert handled(cluster, GROUP) == 5


def test_an_office_that_fails_for_a_moment_parks_nothing(
    cluster: MemoryCluster,
) -> None:
    with patch.object(Broken, "failing", ["a bug"] * 3):
        assert serve(cluster, Broken()) == Counts(handled=5, published=4)
    assert parked_topic(GROUP) not in cluster.topics


def test_a_parked_case_is_answered_once_it_is_released(cluster: MemoryCluster) -> None:
    with patch.object(Broken, "failing", ["a bug"] * 99):
        serve(cluster, Broken())
    (place,) = [p for p in cluster.logs if p.topic == parked_topic(GROUP) and cluster.logs[p]]
    said = Command(id="a1", do="release", topic=REGISTERED, key=b"birth-t-000001", by="clerk", at=NOW)
    cluster.store(place, [Outgoing(command_key(said), pack_command(said))])
    assert serve(cluster, IdOffice()).handled == 1
    assert [row.value for row in cluster.logs[place]][-2:] == [None, None], "entry and command are settled"
    assert len(events(cluster, ENTERED, IdentityEntered)) == 4


def test_a_record_nobody_can_read_is_a_dead_letter_and_stops_nothing(cluster: MemoryCluster) -> None:
    cluster.store(Partition(REGISTERED, 0), [Outgoing(b"c", b"junk")])
    assert serve(cluster, IdOffice()) == Counts(handled=5, published=4)
    assert handled(cluster, GROUP) == 6


@pytest.mark.parametrize(("case", "stage"), [(None, b"handler"), ("!positions", b"envelope")])
def test_an_event_whose_case_no_answer_can_carry_is_a_dead_letter_and_stops_nothing(
    cluster: MemoryCluster, case: str | None, stage: bytes
) -> None:
    good = next(r for place, log in cluster.logs.items() if place.topic == REGISTERED for r in log)
    envelope = structs.replace(from_headers(good.headers), id="hostile", correlationid=case)
    cluster.store(Partition(REGISTERED, 0), [Outgoing(good.key, good.value, tuple(to_headers(envelope)))])
    assert serve(cluster, IdOffice()) == Counts(handled=5, published=4)
    assert handled(cluster, GROUP) == 6
    (dead,) = [r for place, log in cluster.logs.items() if place.topic == f"{GROUP}.dead" for r in log]
    assert dict(dead.headers)["dead_stage"] == stage


def test_a_stop_is_heard_between_batches_and_leaves_the_group(cluster: MemoryCluster) -> None:
    asked = iter([False, True])
    with memory_bus(cluster, agency="interior") as bus:
        assert Desk(bus, IdOffice(), stop=lambda: next(asked)).serve().handled == 5
    assert cluster.groups[GROUP].members == {}


class _Unsettled(MemoryConsumer):
    """A member whose group waits for one that died: nothing is assigned for some polls."""

    waits = 12

    def poll(self, *, max_records: int, timeout: float) -> list[Record]:
        if self.waits:
            self.waits -= 1
            return []
        return super().poll(max_records=max_records, timeout=timeout)


def test_an_office_that_still_waits_for_its_group_is_not_idle(cluster: MemoryCluster) -> None:
    with patch("bus.transport.memory.MemoryConsumer", _Unsettled):
        assert serve(cluster, IdOffice()).handled == 5


def test_an_office_that_never_gets_a_partition_ends_all_the_same(cluster: MemoryCluster) -> None:
    with patch("bus.transport.memory.MemoryConsumer", _Unsettled), patch.object(_Unsettled, "waits", 10**9):
        assert serve(cluster, IdOffice()).handled == 0


def test_a_memory_is_read_before_the_first_event_and_told_of_each_effect(cluster: MemoryCluster) -> None:
    said: list[str] = []

    class Memory:
        def refresh(self) -> None:
            said.append("refresh")

        def has(self, partition: Partition, mark: str) -> bool:
            said.append("has")
            return False

        def add(self, partition: Partition, mark: str) -> None:
            said.append("add")

        def assigned(self, event_id: str) -> None:
            said.append("assigned")

    serve(cluster, IdOffice(), Memory())
    assert said == ["refresh"] + ["has"] * 5 + ["assigned"] * 4 + ["add"] * 5


def test_another_office_s_topic_is_left_alone(cluster: MemoryCluster) -> None:
    before = sum(len(log) for place, log in cluster.logs.items() if place.topic == NOTIFIED)
    serve(cluster, IdOffice())
    assert sum(len(log) for place, log in cluster.logs.items() if place.topic == NOTIFIED) == before
    assert set(cluster.groups) == {"justice.civil-registry", GROUP}

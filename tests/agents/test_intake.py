"""From records to arrivals: each kind of bad record is one dead letter that says where it failed and quotes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from agents import compile as compiler
from agents.extract import extract
from agents.graph import Graph, Json
from agents.intake import Broken, Dead, Intake
from agents.machine import Arrival
from agents.worker import PROCESSES
from bus.errors import Unreachable
from bus.message import Record, Unreadable
from bus.middleware.retry import Kind
from schemas.codec import Codec
from schemas.envelope import fingerprint, to_us
from tests.agents import births
from tests.agents.world import CATALOGUE, CODEC, PARTITIONS, World

GRAPH = compiler.compile_file(PROCESSES / "birth.yaml", CATALOGUE)
NOTIFIED = "health.birth.notified.v1"


def intake(graph: Graph = GRAPH, *, prefix: str = "", codec: Codec = CODEC) -> Intake:
    extracts = {topic: extract([graph], topic, CATALOGUE) for topic in graph.listens}
    return Intake(graph, catalogue=CATALOGUE, codec=codec, extracts=extracts, partitions=PARTITIONS, prefix=prefix)


def notified(case: str = "birth-1", *, stillborn: bool = False) -> Record:
    """A good record."""
    world = World(GRAPH)
    births.notify(world, case, stillborn=stillborn)
    (record,) = world.stored(NOTIFIED)
    return record


def without(record: Record, *names: str, **other: bytes) -> Record:
    kept = [(name, value) for name, value in record.headers if name not in {*names, *other}]
    return structs.replace(record, headers=(*kept, *other.items()))


def test_a_good_record_becomes_an_arrival_with_only_the_fields_the_process_needs() -> None:
    dead: list[Dead] = []
    record = notified()
    arrival = intake().read(record, dead)
    assert arrival is not None
    assert not dead
    assert (arrival.case, arrival.topic, arrival.partition, arrival.offset, arrival.event_id) == (
        "birth-1",
        NOTIFIED,
        record.partition,
        record.offset,
        "n-birth-1",
    )
    assert arrival.fingerprint == fingerprint("/agencies/health", "n-birth-1")
    assert arrival.at == record.timestamp * 1_000
    assert set(arrival.values) == set(GRAPH.needs.get(NOTIFIED, ()))


def test_a_process_in_event_time_counts_when_the_fact_happened() -> None:
    record = notified()
    later = structs.replace(record, timestamp=record.timestamp + 5_000)
    at = intake(replace(GRAPH, time="event")).read(later, [])
    assert at is not None
    world = World(GRAPH)
    assert at.at == to_us(world.clock.now())
    assert timedelta(microseconds=later.timestamp * 1_000 - at.at) == timedelta(seconds=5)


BAD: list[tuple[str, Record, str, str]] = [
    ("no headers", structs.replace(notified(), headers=()), "envelope", "EnvelopeRefused"),
    ("no id", without(notified(), "ce_id"), "envelope", "EnvelopeRefused"),
    ("a header twice", structs.replace(notified(), headers=notified().headers * 2), "envelope", "EnvelopeRefused"),
    ("no UTF-8", without(notified(), ce_source=b"\xff\xfe"), "envelope", "EnvelopeRefused"),
    ("no time", without(notified(), ce_time=b"yesterday"), "envelope", "EnvelopeRefused"),
    ("another type", without(notified(), ce_type=b"health.birth.notified.v2"), "envelope", "EnvelopeRefused"),
    ("no case", without(notified(), "ce_correlationid"), "envelope", "EnvelopeRefused"),
    ("another key", structs.replace(notified(), key=b"birth-2"), "envelope", "EnvelopeRefused"),
    ("no key", structs.replace(notified(), key=None), "envelope", "EnvelopeRefused"),
    ("no value", structs.replace(notified(), value=None), "decode", "Poison"),
    ("an empty value", structs.replace(notified(), value=b""), "decode", "Poison"),
    ("no frame", structs.replace(notified(), value=b"SYN-mother"), "decode", "Poison"),
    ("cut short", structs.replace(notified(), value=(notified().value or b"")[:-1]), "decode", "Poison"),
    ("bytes to spare", structs.replace(notified(), value=(notified().value or b"") + b"\0"), "decode", "Poison"),
    (
        "an unknown schema",
        structs.replace(notified(), value=b"\0\0\0\0\1" + (notified().value or b"")[5:]),
        "decode",
        "Poison",
    ),
]


@pytest.mark.parametrize(("record", "stage", "error"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_a_bad_record_is_one_dead_letter_with_its_stage_and_no_text_of_it(
    record: Record, stage: str, error: str
) -> None:
    dead: list[Dead] = []
    assert intake().read(record, dead) is None
    assert dead == [Dead(record, stage, error, Kind.INVALID)]


@pytest.mark.parametrize("key", [b"run-2-c", b"", None, b"\xff"])
def test_another_run_s_record_is_passed_over_without_being_looked_at(key: bytes | None) -> None:
    class Blind(Codec):
        def decode(self, *args: Any, **more: Any) -> Any:
            raise AssertionError("it was decoded")

    dead: list[Dead] = []
    record = structs.replace(notified(), key=key, headers=(), value=b"junk")
    assert intake(prefix="run-1-", codec=Blind(CATALOGUE)).read(record, dead) is None
    assert dead == []


@pytest.mark.parametrize("prefix", ["", "run-1-"])
def test_what_no_client_could_parse_is_a_dead_letter_of_every_run_and_an_alarm(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    dead: list[Dead] = []
    value = Unreadable(b"secret", reason="header-key", scope="batch", first=3, last=7)
    record = structs.replace(notified(), offset=7, key=None, headers=(), value=value)
    assert intake(prefix=prefix).read(record, dead) is None
    assert dead == [Dead(record, "batch", "header-key", Kind.INVALID)]
    assert "offsets 3 to 7 are a dead letter" in caplog.text
    assert "secret" not in caplog.text


def test_a_record_of_the_own_run_is_taken() -> None:
    assert intake(prefix="birth-").read(notified(), []) is not None


def test_an_event_on_another_partition_than_its_key_s_is_a_dead_letter() -> None:
    """Its case would open there, and what follows lands elsewhere: it could never end."""
    dead: list[Dead] = []
    record = notified()
    moved = structs.replace(record, partition=1 - record.partition)
    assert intake().read(moved, dead) is None
    assert [(one.stage, one.error) for one in dead] == [("envelope", "EnvelopeRefused")]


def test_a_bug_while_reading_names_the_case_and_says_nothing_of_the_event() -> None:
    def wrong(_: object) -> dict[str, Json]:
        raise KeyError("SYN-secret")

    broken = Intake(GRAPH, catalogue=CATALOGUE, codec=CODEC, extracts={NOTIFIED: wrong}, partitions=PARTITIONS)
    dead: list[Dead] = []
    with pytest.raises(Broken) as raised:
        broken.read(notified(), dead)
    assert (raised.value.case, raised.value.error) == ("birth-1", "KeyError")
    assert "SYN" not in str(raised.value)
    assert not dead


def test_a_bug_before_the_case_is_known_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr("agents.intake.from_headers", wrong)
    dead: list[Dead] = []
    assert intake().read(notified(), dead) is None
    assert [(d.stage, d.error, d.kind) for d in dead] == [("envelope", "KeyError", Kind.BUG)]


@pytest.mark.parametrize("error", [ConnectionError(), Unreachable("away"), TimeoutError(), MemoryError()])
@pytest.mark.parametrize("where", ["agents.intake.from_headers", "agents.intake.fingerprint"])
def test_what_is_no_fault_of_the_event_ends_the_unit(
    error: Exception, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise error

    monkeypatch.setattr(where, away)
    dead: list[Dead] = []
    with pytest.raises(type(error)):
        intake().read(notified(), dead)
    assert not dead


def test_a_topic_nobody_listens_to_any_more_is_a_dead_letter() -> None:
    dead: list[Dead] = []
    assert intake().read(structs.replace(notified(), topic="portal.request.created.v1"), dead) is None
    assert [(d.stage, d.error, d.kind) for d in dead] == [("type", "NotListened", Kind.REFUSED)]


SEVERAL = [notified(f"birth-{number}") for number in range(4)]


def one_by_one(reading: Intake, records: Sequence[Record]) -> list[Arrival | list[Dead] | tuple[str, str]]:
    """What `read` says of each."""
    found: list[Arrival | list[Dead] | tuple[str, str]] = []
    for record in records:
        dead: list[Dead] = []
        try:
            found.append(reading.read(record, dead) or dead)
        except Broken as broken:
            found.append((broken.case, broken.error))
    return found


@pytest.mark.parametrize("prefix", ["", "birth-1"])
@given(st.lists(st.sampled_from([*SEVERAL, *(bad[1] for bad in BAD)]), max_size=6))
def test_records_read_together_come_to_what_each_comes_to_alone(prefix: str, records: list[Record]) -> None:
    reading = intake(prefix=prefix)
    assert reading.read_all(records) == one_by_one(reading, records)


def test_a_bug_about_one_record_leaves_those_read_with_it_alone() -> None:
    good = extract([GRAPH], NOTIFIED, CATALOGUE)
    records = [notified("birth-1"), notified("birth-2", stillborn=True), notified("birth-3")]

    def wrong(fields: Any) -> dict[str, Json]:
        if fields["stillborn"]:
            raise KeyError("SYN-secret")
        return good(fields)

    reading = Intake(GRAPH, catalogue=CATALOGUE, codec=CODEC, extracts={NOTIFIED: wrong}, partitions=PARTITIONS)
    found = [(one.case, one.error) if isinstance(one, Broken) else one for one in reading.read_all(records)]
    assert found == one_by_one(reading, records)
    assert found[1] == ("birth-2", "KeyError")


def test_more_cases_than_are_kept_in_mind_are_each_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.intake._MOST_HOMES", 2)
    reading = intake()
    records = [notified(f"birth-{number}") for number in range(7)]
    for _ in range(2):
        assert [type(one) for one in reading.read_all(records)] == [Arrival] * 7
    assert len(reading._homes) <= 2


def test_good_records_are_each_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Intake, "read", None)
    assert [type(one) for one in intake().read_all(SEVERAL)] == [Arrival] * 4


def test_an_outage_while_records_are_read_together_ends_the_unit_even_if_it_is_over_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([Unreachable("away")])

    def away(source: str, event_id: str) -> str:
        for error in answers:
            raise error
        return fingerprint(source, event_id)

    monkeypatch.setattr("agents.intake.fingerprint", away)
    with pytest.raises(Unreachable):
        intake().read_all(SEVERAL)
    assert [type(one) for one in intake().read_all(SEVERAL)] == [Arrival] * 4

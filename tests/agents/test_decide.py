"""What a failure does to its own case, and that it does nothing to the others. In memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from agents import case_bytes
from agents.case import Case
from agents.case_log import Marker, Stored
from agents.machine import Emit
from agents.outputs import Outputs
from bus.errors import Refused, Unreachable
from bus.message import Outgoing, Partition
from bus.middleware import parking
from bus.middleware.dead_letter import Failure
from bus.middleware.retry import Kind
from schemas.codec import Codec
from schemas.errors import EventRefused
from schemas.event import Event
from tests.agents import births
from tests.agents.crashes import GRAPH, MISSED, REQUEST, STEPS, Offices, open_cases
from tests.agents.faults import Faults, parked_rows, redrive, tell, untold
from tests.agents.world import GROUP, PARKED, Worker, World, decoded


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def world(faults: Faults) -> World:
    return World(GRAPH, runner=faults.runner(), intake=faults.intake())


def case_of(world: World, case_id: str) -> Case:
    entry = open_cases(world)[case_id]
    assert isinstance(entry, Stored)
    return entry.case


def letters(world: World) -> list[dict[str, str]]:
    """The dead letters' own headers."""
    found = world.stored(f"{GROUP}.dead")
    return [{n[5:]: (v or b"").decode() for n, v in r.headers if n.startswith("dead_")} for r in found]


async def some_time(world: World, worker: Worker, *, steps: int = 3) -> None:
    for _ in range(steps):
        world.clock.advance(seconds=2)
        await worker.step()


def whole(world: World, case_id: str) -> None:
    """All that is told of a birth."""
    for say in (births.notify, births.register, births.identify, births.assign):
        say(world, case_id)
        world.clock.advance(milliseconds=5)


@pytest.mark.parametrize("kind", ["events", "unread", "outputs"])
async def test_a_failure_parks_its_case_and_the_others_go_on(
    world: World, faults: Faults, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    getattr(faults, kind).add(("birth-1", REQUEST) if kind == "outputs" else "r-birth-1")
    whole(world, "birth-1")
    whole(world, "birth-2")
    worker = world.worker()
    await some_time(world, worker)
    before = case_of(world, "birth-1")
    assert [mark.topic for mark in before.trail] == ["health.birth.notified.v1"]
    assert len(parked_rows(world)) == 3  # the failed event and the two behind it
    assert isinstance(open_cases(world)["birth-2"], Marker)
    assert not world.stored(f"{GROUP}.dead")
    (alarm,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    error = {"events": "ZeroDivisionError (stage step)", "unread": "KeyError (stage read)"}
    assert alarm == f"case birth-1 is parked: {error.get(kind, 'made.up (stage emit)')}"
    assert "SYN" not in caplog.text
    positions = worker.runner.committable()
    assert all(positions[p] == len(world.cluster.logs[p]) for p in positions)


async def test_a_released_case_goes_on_in_order_as_if_nothing_had_failed(world: World, faults: Faults) -> None:
    faults.events.add("r-birth-1")
    whole(world, "birth-1")
    worker = world.worker()
    await some_time(world, worker)
    faults.mend()
    tell(world, "birth-1")
    await some_time(world, worker)
    (archived,) = world.stored(f"{GROUP}.archive")
    case = case_bytes.from_bytes(archived.value or b"")
    assert case.outcome == "completed"
    topics = [mark.topic for mark in case.trail if not mark.id]
    assert topics == [
        "health.birth.notified.v1",
        "justice.birth.registered.v1",
        "interior.identity.entered.v1",
        "social-fund.benefit.assigned.v1",
    ]
    assert (len(world.events(REQUEST)), parked_rows(world), untold(world)) == (1, {}, [])


async def test_a_release_that_fails_again_keeps_the_queue_and_counts_the_try(
    world: World, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    faults.events.add("r-birth-1")
    whole(world, "birth-1")
    worker = world.worker()
    await some_time(world, worker)
    tell(world, "birth-1", action="a1")
    await some_time(world, worker)
    tell(world, "birth-1", action="a2", times=2)
    await some_time(world, worker)
    entries = sorted((parking.unpack(v) for v in parked_rows(world).values()), key=lambda e: e.failure.attempt)
    assert [entry.failure.attempt for entry in entries] == [0, 0, 4]
    assert entries[-1].failure.first < entries[-1].failure.last
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 4
    assert untold(world) == []


async def test_a_dropped_event_is_a_dead_letter_and_what_queued_behind_it_follows(world: World, faults: Faults) -> None:
    faults.events.add("i-birth-1")
    whole(world, "birth-1")
    worker = world.worker()
    await some_time(world, worker)
    tell(world, "birth-1", "drop", times=2)
    await some_time(world, worker)
    (letter,) = letters(world)
    assert (letter["stage"], letter["error"], letter["topic"]) == (
        "step",
        "ZeroDivisionError",
        "interior.identity.entered.v1",
    )
    assert not parked_rows(world)
    assert sorted(case_of(world, "birth-1").active) == ["id_entry"]
    faults.mend()
    (dead,) = world.stored(f"{GROUP}.dead")
    redrive(world, dead, times=2)
    redrive(world, dead, action="r2")
    await some_time(world, worker)
    assert isinstance(open_cases(world)["birth-1"], Marker)
    assert (len(letters(world)), untold(world)) == (1, [])


async def test_timers_stand_still_while_a_case_is_parked_and_run_again_once_it_is_released(
    world: World, faults: Faults
) -> None:
    births.notify(world, "birth-1")
    births.notify(world, "birth-2")
    worker = world.worker()
    await worker.step()
    faults.events.add("r-birth-1")
    births.register(world, "birth-1")
    await some_time(world, worker)
    world.clock.advance(days=4)
    await some_time(world, worker)
    assert [r.key for r in world.stored(MISSED)] == [b"birth-2"]
    faults.mend()
    tell(world, "birth-1")
    await some_time(world, worker)
    missed = {decoded(r).step for r in world.stored(MISSED) if r.key == b"birth-1"}
    assert "registered" not in missed  # that event had come in time
    assert missed  # the next steps' deadlines passed while the case stood still


async def test_a_timer_whose_output_is_refused_parks_its_case_and_a_release_fires_it(
    world: World, faults: Faults
) -> None:
    births.notify(world, "birth-1")
    births.notify(world, "birth-2")
    worker = world.worker()
    await worker.step()
    faults.outputs.add(("birth-1", MISSED))
    world.clock.advance(days=4)
    await some_time(world, worker)
    births.register(world, "birth-1")
    await some_time(world, worker)
    assert [r.key for r in world.stored(MISSED)] == [b"birth-2"]
    entries = sorted((parking.unpack(v) for v in parked_rows(world).values()), key=lambda e: e.queued)
    assert [e.record.topic for e in entries] == ["!timer", "justice.birth.registered.v1"]
    worker = world.worker()
    await worker.step()
    faults.mend()
    tell(world, "birth-1")
    await some_time(world, worker)
    assert [r.key for r in world.stored(MISSED)] == [b"birth-2", b"birth-1"]
    assert [mark.topic for mark in case_of(world, "birth-1").trail][:3] == [
        "health.birth.notified.v1",
        MISSED,
        "justice.birth.registered.v1",
    ]


async def test_a_dropped_timer_is_spent_without_its_output(world: World, faults: Faults) -> None:
    births.notify(world, "birth-1")
    worker = world.worker()
    await worker.step()
    faults.outputs.add(("birth-1", MISSED))
    world.clock.advance(days=4)
    await some_time(world, worker)
    tell(world, "birth-1", "drop")
    births.register(world, "birth-1")
    await some_time(world, worker)
    assert (parked_rows(world), world.stored(MISSED), letters(world)) == ({}, [], [])
    assert len(world.events(REQUEST)) == 1


async def test_an_opening_that_fails_holds_what_follows_and_a_drop_leaves_it_unopened(
    world: World, faults: Faults
) -> None:
    faults.events.add("n-birth-1")
    births.notify(world, "birth-1")
    births.register(world, "birth-1")
    worker = world.worker()
    await some_time(world, worker)
    assert "birth-1" not in open_cases(world)
    assert len(parked_rows(world)) == 2
    tell(world, "birth-1", "drop")
    await some_time(world, worker)
    assert [letter["error"] for letter in letters(world)] == ["ZeroDivisionError", "unopened"]
    faults.mend()
    for dead in world.stored(f"{GROUP}.dead"):
        redrive(world, dead)
    await some_time(world, worker)
    assert len(case_of(world, "birth-1").trail) == 3


async def test_a_new_owner_knows_the_queue_from_the_log(world: World, faults: Faults) -> None:
    faults.events.add("r-birth-1")
    births.notify(world, "birth-1")
    births.register(world, "birth-1")
    await some_time(world, world.worker())
    later = world.worker()
    births.identify(world, "birth-1")
    await some_time(world, later)
    assert len(parked_rows(world)) == 2
    faults.mend()
    births.assign(world, "birth-1")
    tell(world, "birth-1")
    await some_time(world, later, steps=1)
    assert isinstance(open_cases(world)["birth-1"], Marker | Stored)
    await some_time(world, later)
    assert isinstance(open_cases(world)["birth-1"], Marker)


async def test_a_letter_comes_back_to_a_parked_case_in_its_turn(world: World, faults: Faults) -> None:
    births.notify(world, "birth-1")
    births.assign(world, "birth-1")
    worker = world.worker()
    await some_time(world, worker)
    faults.events.add("r-birth-1")
    births.register(world, "birth-1")
    world.store("interior.identity.entered.v1", "birth-1", b"junk", [])
    await some_time(world, worker)
    (dead,) = world.stored(f"{GROUP}.dead")
    redrive(world, dead)
    await some_time(world, worker)
    assert [letter.get("redrive") for letter in letters(world)] == [None, "1"]  # unreadable still: a letter once more
    assert len({letter["id"] for letter in letters(world)}) == 2
    assert len(parked_rows(world)) == 1


async def test_a_letter_for_a_closed_case_is_a_letter_again_and_one_already_taken_is_nothing(world: World) -> None:
    births.notify(world, "birth-1", stillborn=True)
    births.register(world, "birth-1", stillbirth=True)
    worker = world.worker()
    await some_time(world, worker)
    births.identify(world, "birth-1")
    await some_time(world, worker)
    (late,) = world.stored(f"{GROUP}.dead")
    redrive(world, late)
    await some_time(world, worker)
    assert [(letter["error"], letter.get("redrive")) for letter in letters(world)] == [("late", None), ("late", "1")]


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"junk", b"junk"), (b"", b""), (b"!x", b"\xff"), (b"!x", b"\x09later"), (b"a\0b", b"\x02")],
)
async def test_a_row_that_is_neither_is_passed_over_with_a_warning(
    world: World, key: bytes, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    births.notify(world, "birth-1")
    world.cluster.store(Partition(PARKED, 0), [Outgoing(key, value)])
    worker = world.worker()
    await some_time(world, worker)
    assert "is ignored" in caplog.text
    assert worker.runner.committable()[Partition(PARKED, 0)] == 1


async def test_a_long_queue_is_released_over_many_batches(world: World, faults: Faults) -> None:
    births.notify(world, "birth-1")
    births.notify(world, "birth-2")
    faults.events.add("r-birth-1")
    births.register(world, "birth-1")
    worker = world.worker()
    await some_time(world, worker)
    for _ in range(30):
        births.notify(world, "birth-1")
    await some_time(world, worker)
    assert len(parked_rows(world)) == 31
    faults.mend()
    worker.log.batch_bytes = 2_500
    tell(world, "birth-1", "release")
    await some_time(world, worker)
    assert (parked_rows(world), untold(world), len(world.events(REQUEST))) == ({}, [], 1)


async def test_a_case_larger_than_the_log_takes_is_parked_and_a_release_goes_on_once_it_takes_more(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    births.notify(world, "birth-1")
    worker = world.worker()
    await some_time(world, worker)
    worker.log.batch_bytes = 950
    births.register(world, "birth-1")
    births.notify(world, "birth-2", stillborn=True)
    await some_time(world, worker)
    assert "case birth-1 is parked: TooLarge (stage size)" in caplog.text
    assert "birth-2" in open_cases(world)
    assert len(case_of(world, "birth-1").trail) == 1
    assert worker.runner._outputs._built == {}, "what it would have said is not kept in memory"
    tell(world, "birth-1", action="a1")
    await some_time(world, worker)
    assert len(parked_rows(world)) == 1
    worker.log.batch_bytes = 900_000
    tell(world, "birth-1", action="a2")
    await some_time(world, worker)
    assert (parked_rows(world), len(world.events(REQUEST))) == ({}, 1)


async def test_an_event_whose_row_does_not_fit_either_is_a_dead_letter_with_an_alarm(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    births.notify(world, "birth-1")
    worker = world.worker()
    await some_time(world, worker)
    worker.log.batch_bytes = 700
    births.register(world, "birth-1")
    await some_time(world, worker)
    assert [(letter["stage"], letter["error"]) for letter in letters(world)] == [("size", "TooLarge")]
    assert "TooLarge" in caplog.text
    assert not parked_rows(world)


async def test_a_case_of_a_version_this_worker_was_not_given_is_parked(world: World, faults: Faults) -> None:
    births.notify(world, "birth-1")
    await some_time(world, world.worker())
    from dataclasses import replace

    world.graph = replace(GRAPH, hash="another")
    births.register(world, "birth-1")
    births.notify(world, "birth-2")
    await some_time(world, world.worker())
    (entry,) = [parking.unpack(value) for value in parked_rows(world).values()]
    assert entry.failure.error == "UnknownVersion"
    assert "birth-2" in open_cases(world)


async def test_an_output_larger_than_an_event_may_be_parks_its_case(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    births.notify(world, "birth-1")
    births.register(world, "birth-1")

    def too_large(self: Codec, said: Sequence[tuple[type[Event], bytes]]) -> list[bytes]:
        for model, _ in said:
            raise EventRefused(f"{model.contract}: 300000 bytes")
        return []

    monkeypatch.setattr(Codec, "encode_json", too_large)  # all that comes has been written
    await some_time(world, world.worker())
    (entry,) = [parking.unpack(value) for value in parked_rows(world).values()]
    assert entry.failure.stage == "emit"
    assert "request.created" in entry.failure.error


async def test_outputs_are_checked_all_at_once_and_one_by_one_only_where_one_cannot_be_built(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"birth-{number}" for number in range(1, 10)]
    for name in names:
        births.notify(world, name)
        births.register(world, name)
    check, refused = Outputs.check, list[int]()

    def refusing(self: Outputs, emits: Sequence[Emit]) -> None:
        if any(emit.topic == REQUEST and b"birth-2" in bytes(emit.data) for emit in emits):
            refused.append(len(emits))
            raise Refused("made to be refused", field="made.up")
        check(self, emits)

    monkeypatch.setattr(Outputs, "check", refusing)
    await some_time(world, world.worker())
    at_once, alone = refused
    assert (at_once > 1, alone) == (True, 1)
    assert {key.split(b"\0")[0] for key in parked_rows(world)} == {b"!parked/birth-2"}
    assert sorted(record.key or b"" for record in world.stored(REQUEST)) == [
        n.encode() for n in names if n != "birth-2"
    ]


@pytest.mark.parametrize("error", [Unreachable("away"), MemoryError()])
async def test_an_outage_while_outputs_are_checked_ends_the_unit_and_parks_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    births.notify(world, "birth-1")
    births.register(world, "birth-1")
    check, outages = Outputs.check, [error]

    def away(self: Outputs, emits: Sequence[Emit]) -> None:
        if emits and outages:
            raise outages.pop()
        check(self, emits)

    monkeypatch.setattr(Outputs, "check", away)
    with pytest.raises(type(error)):
        await some_time(world, world.worker())
    assert not parked_rows(world)


async def test_a_case_the_archive_has_no_room_for_is_parked_before_it_closes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: Outputs, case: Case) -> None:
        raise Refused(f"too large: {case.id}", field="record")

    monkeypatch.setattr(Outputs, "check_closed", no_room)
    monkeypatch.setattr("agents.stepping._LARGEST_TRAIL", 1)
    whole(world, "birth-1")
    await some_time(world, world.worker())
    assert len(parked_rows(world)) == 1
    assert not world.stored(f"{GROUP}.archive")


async def _told(seed: int, *, trouble: bool) -> tuple[list[Any], list[Any]]:
    """All a workflow said and all it archived, of one history with or without bugs on the way."""
    faults, chance, fetches = Faults(), random.Random(f"bugs {seed}"), random.Random(f"fetches {seed}")
    world = World(GRAPH, runner=faults.runner(), intake=faults.intake())
    ids = [f"birth-{n}" for n in range(4)]
    offices = Offices(world, ids, random.Random(seed), told_again=True)
    world.skew_ms = {}
    worker = world.worker()
    for turn in range(STEPS):
        offices.go_on()
        if trouble and chance.random() < 0.7:
            case = chance.choice(ids)
            faults.events.add(f"{chance.choice('nrib')}-{case}")
            faults.outputs.add((case, chance.choice((REQUEST, MISSED))))
        if chance.random() < 0.03:
            faults.mend()
            tell(world, chance.choice(ids), action=f"a{turn}")
        if fetches.random() < 0.03:
            world.clock.advance(days=3)
        await worker.step(most=3, chance=fetches)
    faults.mend()
    for case in ids:
        tell(world, case, action=f"last-{case}")
    await some_time(world, worker, steps=6)
    said = sorted((r.topic, r.key, r.value, r.headers) for t in (REQUEST, MISSED) for r in world.stored(t))
    ended = [case_bytes.from_bytes(r.value or b"") for r in world.stored(f"{GROUP}.archive")]
    return said, sorted(
        (c.id, c.outcome, c.transitions, c.applied, [(m.topic, m.step, m.at, m.since) for m in c.trail]) for c in ended
    )


@pytest.mark.parametrize("seed", range(20))
async def test_once_released_all_that_a_case_says_is_what_it_says_unparked(seed: int) -> None:
    assert await _told(seed, trouble=True) == await _told(seed, trouble=False)


async def test_what_is_compared_has_been_parked_in_between(caplog: pytest.LogCaptureFixture) -> None:
    for seed in range(8, 12):
        said, ended = await _told(seed, trouble=True)
        assert said
        assert len(ended) == 4
    assert caplog.text.count("stage step") > 5
    assert caplog.text.count("stage emit") > 1
    assert caplog.text.count("stage timer") > 1


async def test_a_letter_on_another_partition_than_its_event_s_is_a_letter_again(world: World) -> None:
    births.notify(world, "birth-1")
    world.store("justice.birth.registered.v1", "birth-1", b"junk", [])
    worker = world.worker()
    await some_time(world, worker)
    (dead,) = world.stored(f"{GROUP}.dead")
    redrive(world, dead)
    (row,) = [r for r in world.stored(PARKED) if r.value]
    world.cluster.store(Partition(PARKED, 1 - row.partition), [Outgoing(row.key, row.value)])
    await some_time(world, worker)
    assert sorted(letter["error"] for letter in letters(world)) == ["EnvelopeRefused", "EnvelopeRefused", "Misplaced"]


async def test_a_letter_of_a_topic_no_longer_listened_to_is_a_letter_again(world: World) -> None:
    births.notify(world, "birth-1")
    births.register(world, "birth-1")
    await some_time(world, world.worker())
    (request,) = world.stored(REQUEST)
    now = world.clock.now()
    failure = Failure(stage="case", kind=Kind.REFUSED, error="unexpected", attempt=1, first=now, last=now)
    entry = parking.Entry(record=request, failure=failure, redrive=1, action="r1")
    row = Outgoing(parking.entry_key(entry), parking.pack(entry))
    world.cluster.store(Partition(PARKED, request.partition), [row])
    await some_time(world, world.worker())
    assert [(letter["stage"], letter["error"], letter["redrive"]) for letter in letters(world)] == [
        ("type", "NotListened", "1")
    ]


async def test_a_letter_comes_back_at_the_time_its_partition_has_reached(world: World, faults: Faults) -> None:
    """Not at its own: timers that fired meanwhile came before it, and the next deadline counts from now."""
    births.notify(world, "birth-1")
    faults.events.add("r-birth-1")
    births.register(world, "birth-1")
    worker = world.worker()
    await some_time(world, worker)
    tell(world, "birth-1", "drop")
    await some_time(world, worker)
    world.clock.advance(days=10)
    await some_time(world, worker)
    faults.mend()
    (dead,) = world.stored(f"{GROUP}.dead")
    redrive(world, dead)
    await some_time(world, worker)
    case = case_of(world, "birth-1")
    topics = [mark.topic.split(".")[2] for mark in case.trail]
    assert topics == ["notified", "missed", "registered", "created"]
    assert case.trail[2].at >= case.trail[1].at + 86_400_000_000


async def test_a_timer_that_alone_moves_a_step_on_cannot_be_dropped(
    world: World, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    births.notify(world, "birth-1")
    worker = world.worker()
    await worker.step()
    faults.outputs.add(("birth-1", MISSED))
    world.clock.advance(days=4)
    await some_time(world, worker)
    monkeypatch.setattr("agents.parked.without_timer", lambda *_: None)
    tell(world, "birth-1", "drop")
    await some_time(world, worker)
    (entry,) = [parking.unpack(value) for value in parked_rows(world).values()]
    assert (entry.failure.error, entry.failure.attempt) == ("CannotDrop", 2)


async def test_markers_that_leave_no_room_have_batches_of_their_own(world: World) -> None:
    worker = world.worker()
    for number in range(40):
        births.notify(world, f"birth-{number}", stillborn=True)
        births.register(world, f"birth-{number}", stillbirth=True)
        world.clock.advance(milliseconds=2)
    await worker.step()
    worker.log.batch_bytes = 1_000
    births.notify(world, "birth-99")
    for _ in range(4):
        await some_time(world, worker)
    entries = open_cases(world)
    assert all(isinstance(entries[f"birth-{number}"], Marker) for number in range(40))
    assert isinstance(entries["birth-99"], Stored)
    for rows in world.rows.values():
        assert sum(1 for key, _ in rows if key == b"!positions") > 5


async def test_an_event_stays_in_the_queue_when_a_timer_due_before_it_fails_at_the_release(
    world: World, faults: Faults
) -> None:
    births.notify(world, "birth-1")
    worker = world.worker()
    await worker.step()
    faults.unread.add("r-birth-1")
    births.register(world, "birth-1")
    await some_time(world, worker)
    world.clock.advance(days=10)
    births.identify(world, "birth-1")
    await some_time(world, worker)
    faults.mend()
    faults.outputs.add(("birth-1", MISSED))
    tell(world, "birth-1")
    await some_time(world, worker)
    entries = [parking.unpack(value).record.topic for value in parked_rows(world).values()]
    assert sorted(entries) == ["!timer", "interior.identity.entered.v1"]
    faults.mend()
    tell(world, "birth-1", action="a2")
    await some_time(world, worker)
    assert not parked_rows(world)
    assert "interior.identity.entered.v1" in [mark.topic for mark in case_of(world, "birth-1").trail]

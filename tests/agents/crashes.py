"""Births carried by workers that die at any await and by workers that wake up after another has taken over.

Used by `test_runner` (the runner leaves no anomaly, whatever the seed) and `test_runner_controls` (a runner without one
of its guards does). One seed is one history: who tells what when, which clocks differ, where a worker dies. The trap
it avoids: a property that holds because nothing it looks at ever happens.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from agents import case_bytes
from agents import compile as compiler
from agents.case_log import Marker, MemoryCaseLog, Stored
from agents.decide import Decider
from agents.intake import Intake
from agents.runner import Runner
from agents.shelf import recover
from agents.worker import PROCESSES
from bus.errors import Fenced
from bus.message import Partition, Record
from schemas.envelope import from_headers
from tests.agents import births
from tests.agents.faults import Faults
from tests.agents.operators import Operators
from tests.agents.world import CATALOGUE, GROUP, PARTITIONS, Worker, World, decoded

REQUEST = "portal.request.created.v1"
MISSED = "bus.deadline.missed.v1"
BIRTHS = 6
STEPS = 120
ROUNDS = 12  # of clearing up after trouble: a letter redriven before the one that opens its case comes back
LARGEST_SKEW_MS = 400  # two brokers then differ by less than the runner's GRACE_MS
GRAPH = compiler.compile_file(PROCESSES / "birth.yaml", CATALOGUE)

Tell = Callable[[World, str], None]
_NEXT: dict[Tell, Tell] = {
    births.notify: births.register,
    births.register: births.identify,
    births.identify: births.assign,
}


_TICKS = (*range(1, 10), 13, 21, *[10_000] * 4)  # turns of the loop until a worker dies; the last: it does not


async def kill_at(step: Coroutine[Any, Any, object], ticks: int) -> bool:
    """Run a step and kill it after so many turns of the loop; True when it had ended by itself."""
    before = asyncio.all_tasks()
    task = asyncio.create_task(step)
    for _ in range(ticks):
        await asyncio.sleep(0)
        if task.done():
            break
    if task.done():
        task.result()
        return True
    for dying in asyncio.all_tasks() - before:
        dying.cancel()
        with suppress(asyncio.CancelledError):
            await dying
    return False


async def anomalies(
    seed: int,
    *,
    runner: type[Runner] = Runner,
    case_log: type[MemoryCaseLog] = MemoryCaseLog,
    intake: type[Intake] = Intake,
    decider: type[Decider] = Decider,
    told_again: bool = True,
    shared: bool = False,
    trouble: bool = False,
) -> list[str]:
    """Live one history and say what is wrong with its end; a worker that failed is one more thing wrong.

    Args:
        seed: of the history. runner, case_log, intake, decider: what the workers are made of.
        told_again: whether offices tell some events twice. shared: whether two workers share the partitions.
        trouble: whether bugs come and go, and operators act (`operators`).
    """
    world = World(GRAPH, runner=runner, case_log=case_log, intake=intake)
    ids = [f"birth-{n}" for n in range(BIRTHS)]
    operators = None
    if trouble:
        faults = Faults(decider=decider)
        operators = Operators(world, faults, ids, random.Random(f"trouble {seed}"))
        world.runner, world.intake = faults.runner(runner), faults.intake(intake)
        world.case_log = operators.limited(case_log)
    try:
        turns = _Turns(world, ids, random.Random(seed), told_again=told_again, operators=operators)
        worker = await (_share if shared else _live)(world, turns)
        wrong = _wrong(world, ids) if operators is None else [*_wrong_in_outputs(world, ids), *operators.wrong()]
        return [*wrong, *await _repeated_by_a_clean_restart(world, worker)]
    except Exception as error:  # noqa: BLE001  # whatever ends a worker is what a control is looked at for
        return [f"a worker ended: {type(error).__name__}: {error}"]


async def _live(world: World, turns: _Turns) -> Worker:
    """One worker at a time owns everything; it dies, or is paused while another takes over."""
    chance = turns.chance
    worker = world.worker()
    paused: list[Worker] = []
    for _ in range(STEPS):
        turns.go_on()
        if not await kill_at(worker.step(most=3, chance=chance), chance.choice(_TICKS)):
            worker = world.worker()
        elif chance.random() < 0.1:
            paused.append(worker)
            worker = world.worker()
        if paused and chance.random() < 0.15:
            await _wake(paused, chance)
    await _come_to_rest(world, worker, turns)
    return worker


async def _share(world: World, turns: _Turns) -> Worker:
    """Two workers share the partitions; these are dealt anew while either dies or has not heard of it yet."""
    chance = turns.chance
    crew = [world.worker(), world.worker()]
    dealt: list[list[int]] = [[0], [1]]
    held: list[list[int] | None] = [None, None]
    for _ in range(STEPS):
        turns.go_on()
        if chance.random() < 0.1:
            first = chance.sample(range(PARTITIONS), chance.randrange(PARTITIONS + 1))
            dealt = [sorted(first), [n for n in range(PARTITIONS) if n not in first]]
        for index in chance.sample(range(2), 2):
            hears = held[index] is None or (held[index] != dealt[index] and chance.random() < 0.08)
            turn = crew[index].start(dealt[index]) if hears else crew[index].step(most=3, chance=chance)
            try:
                lives = await kill_at(turn, chance.choice(_TICKS) if chance.random() < 0.3 else 10_000)
            except Fenced:
                lives = False
            if not lives:
                crew[index], held[index] = world.worker(), None
            elif hears:
                held[index] = dealt[index]
    await crew[0].start()
    await _come_to_rest(world, crew[0], turns)
    return crew[0]


async def _come_to_rest(world: World, worker: Worker, turns: _Turns) -> None:
    assert not turns.offices.todo, "the history is too short for what is to be told"
    for _ in range(ROUNDS):
        for _ in range(6):
            world.clock.advance(seconds=2)
            await worker.step()
        if turns.operators is None or not turns.operators.clear_up():
            return


class _Turns:
    """Who acts between the workers' steps."""

    def __init__(
        self, world: World, ids: list[str], chance: random.Random, *, told_again: bool, operators: Operators | None
    ) -> None:
        self.chance = chance
        self.offices = Offices(world, ids, chance, told_again=told_again)
        self.operators = operators

    def go_on(self) -> None:
        """One turn."""
        self.offices.go_on()
        if self.operators is not None:
            self.operators.go_on()


class Offices:
    """Tell of births in any order, sometimes twice, each office by its own clock; now and then days go by."""

    def __init__(self, world: World, ids: list[str], chance: random.Random, *, told_again: bool) -> None:
        self.todo: list[tuple[Tell, str]] = [(births.notify, case) for case in ids]
        self._world = world
        self._chance = chance
        self._times = (1, 1, 2) if told_again else (1,)
        world.skew_ms = {topic: chance.randint(-LARGEST_SKEW_MS, LARGEST_SKEW_MS) for topic in sorted(GRAPH.listens)}

    def go_on(self) -> None:
        """Perhaps tell of something; let some time pass."""
        chance, world = self._chance, self._world
        if self.todo and chance.random() < 0.6:
            tell, case = self.todo.pop(chance.choice((-1, chance.randrange(len(self.todo)))))  # often quick to follow
            for _ in range(chance.choice(self._times)):
                tell(world, case)
            if tell in _NEXT:
                self.todo.append((_NEXT[tell], case))
        world.clock.advance(milliseconds=chance.choice((1, 10, 50, 400)))
        if chance.random() < 0.01:
            world.clock.advance(days=4)


async def _wake(paused: list[Worker], chance: random.Random) -> None:
    """Let a worker go on that does not know it has a successor; one that has learned it is gone."""
    former = paused[chance.randrange(len(paused))]
    try:
        await former.step(most=3, chance=chance)
    except Fenced:
        paused.remove(former)


def _wrong(world: World, ids: list[str]) -> list[str]:
    letters = [f"dead letter: {dict(record.headers)['dead_error']!r}" for record in world.stored(f"{GROUP}.dead")]
    return _wrong_in_outputs(world, ids) + letters


def _wrong_in_outputs(world: World, ids: list[str]) -> list[str]:
    entries = open_cases(world)
    found = [f"{case_id} is not closed" for case_id in ids if not isinstance(entries.get(case_id), Marker)]
    asked = Counter((r.key or b"").decode() for r in _once(world.stored(REQUEST)))
    if asked != Counter(ids):
        found.append(f"requests of one id each: {dict(asked)}")
    missed = Counter(((r.key or b"").decode(), decoded(r).step) for r in _once(world.stored(MISSED)))
    found += [f"{case_id}: deadline of {step} missed {n} times" for (case_id, step), n in missed.items() if n > 1]
    for topic in (REQUEST, MISSED):
        found += _two_in_one(world.stored(topic))
    return found + _wrong_in_archive(world, ids)


def _wrong_in_archive(world: World, ids: list[str]) -> list[str]:
    found: list[str] = []
    archive = {
        case.id: case for r in world.stored(f"{GROUP}.archive") for case in [case_bytes.from_bytes(r.value or b"")]
    }
    if set(archive) != set(ids):
        found.append(f"archived: {sorted(archive)}")
    for case in archive.values():
        if case.outcome != "completed":
            found.append(f"{case.id} ended as {case.outcome}")
        for mark in case.trail:
            if mark.id and mark.offset == -1:
                continue  # its acknowledgement was not seen before the worker died; `trace` looks it up by its id
            log = world.cluster.logs[Partition(mark.topic, mark.partition)]
            record = log[mark.offset] if 0 <= mark.offset < len(log) else None
            if record is None or record.key != case.id.encode() or mark.id not in {"", from_headers(record.headers).id}:
                found.append(f"{case.id}: the trail is wrong at {mark.step or mark.topic}")
    return found


def _once(records: list[Record]) -> list[Record]:
    """One record of each event id."""
    return list({from_headers(record.headers).id: record for record in records}.values())


def _two_in_one(records: list[Record]) -> list[str]:
    """Records of one event id that say different things."""
    first: dict[str, Record] = {}
    found = []
    for record in records:
        event_id = from_headers(record.headers).id
        before = first.setdefault(event_id, record)
        if (before.key, before.value, before.headers) != (record.key, record.value, record.headers):
            found.append(f"{record.topic}: id {event_id} stands for two events")
    return found


async def _repeated_by_a_clean_restart(world: World, worker: Worker) -> list[str]:
    await worker.runner.finish()
    before = {p: len(log) for p, log in world.cluster.logs.items()}
    later = world.worker()
    starts = await later.start()
    found = [f"{p.topic}[{p.number}] is read again from {at}" for p, at in starts.items() if at != before[p]]
    for _ in range(2):
        await later.step()
    after = {p: len(log) for p, log in world.cluster.logs.items()}
    return found + [f"{p.topic}[{p.number}] grew after a clean restart" for p in before if before[p] != after[p]]


def open_cases(world: World) -> dict[str, Stored | Marker]:
    """Every entry of the case log, as a worker would recover it."""
    found: dict[str, Stored | Marker] = {}
    for number in range(PARTITIONS):
        shelf = recover((n, k, v) for n, (k, v) in enumerate(world.rows.get(number, [])))
        found.update({c: e for c in shelf.entries if (e := shelf.get(c)) is not None})
    return found

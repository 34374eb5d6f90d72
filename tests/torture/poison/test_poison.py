"""No record stops a partition or a process: the corpus at every reader, on real Kafka, with a rebalance in between.

What a broker refuses to store is put into its answers by the proxy. Each reader is a process of its own (the stock
clients wedge, lose neighbours, or abort); the negative controls are these very runs without the splitter.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.torture import bars
from tests.torture.poison import stage
from tests.torture.poison.corpus_batches import BATCHES, bomb
from tests.torture.poison.corpus_events import EVENTS
from tests.torture.poison.corpus_refused import REFUSED
from tests.torture.poison.kit import OFFICE, READER, SDK, WORKFLOW, Evil, PoisonWorld
from tests.torture.poison.member import READY
from tests.torture.poison.stage import Due, Outcome, Place, Publisher
from tests.torture.poison.wire import ZSTD
from tests.torture.proxy import Proxies

pytestmark = [pytest.mark.kafka, pytest.mark.torture]
CORPUS = [*EVENTS, *BATCHES, *REFUSED]
KINDS = {"faust": WORKFLOW, "aiokafka": WORKFLOW, SDK: SDK, OFFICE: OFFICE, READER: READER}
SHARING = ("faust", "aiokafka", SDK, OFFICE) if bars.FULL else ("faust", SDK)
"""Those that are given a second member, and lose the first, in the midst of the corpus."""
STALL_S, ROOM_MB = 5.0, 256.0
PATIENCE_S = 60.0
"""Seconds without any progress after which a reader counts as stopped."""


@dataclass
class Member:
    """A reader's process and its notes."""

    process: subprocess.Popen[str]
    file: Path

    def notes(self) -> list[dict[str, object]]:
        """What it noted so far."""
        text = self.file.read_text() if self.file.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def ready(self) -> bool:
        """Whether it works."""
        return any(note["what"] == READY for note in self.notes())

    def end(self) -> tuple[int, str]:
        """End it in order; its exit code and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, said = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, said = self.process.communicate()
        return self.process.returncode, said


class Run:
    """One reader kind with its own topics behind a proxy."""

    def __init__(self, kind: str, bootstrap: str, agency: str, folder: Path) -> None:
        self.kind, self.reader = kind, KINDS[kind]
        self.proxies = Proxies(bootstrap)
        self.world = PoisonWorld(bootstrap, agency)
        self.folder = folder
        stage.create(self.world)
        self.publisher = Publisher(self.world, seed=bars.SEED)
        self.members: list[Member] = []
        self.left: list[Member] = []  # ended in order; what they noted counts
        self.badly_ended: list[str] = []
        self.due: list[Due] = []

    def close(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                member.process.kill()
            member.process.communicate()
        self.publisher.close()
        self.proxies.close()

    def start(self, *, stock: bool = False) -> Member:
        file = self.folder / f"{self.kind}-{len(self.members) + len(self.left)}.jsonl"
        command = [sys.executable, "-m", "tests.torture.poison.member", self.kind, self.proxies.bootstrap]
        command += [self.world.agency, str(file), *(["--stock"] if stock else [])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        member = Member(process, file)
        self.members.append(member)
        self.wait(member.ready, what="ready")
        return member

    def leave(self, member: Member) -> None:
        """End a member in order."""
        code, said = member.end()
        self.badly_ended += [f"a member ended with {code}: {said[-500:]}"] * (code != 0)
        self.members.remove(member)
        self.left.append(member)

    def wait(self, holds: Callable[[], bool], *, what: str, within_s: float = 30.0) -> None:
        give_up = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > give_up or any(m.process.poll() is not None for m in self.members):
                said = "".join(m.end()[1] for m in self.members)
                raise AssertionError(f"{self.kind}: not {what}; it said: {said[-2000:]}")
            time.sleep(0.1)

    def warm_up(self) -> None:
        """Have one honest record of each partition delivered: from here on it owns them all."""
        self.publish([], positions=0)
        self.wait(lambda: not self.outcome().missing(self.due), what="at work")

    def publish(self, evils: Sequence[Evil], *, positions: int) -> list[Due]:
        due = self.publisher.publish(evils, self.reader, positions=positions, ready=self.swap)
        self.due += due
        return due

    def swap(self) -> None:
        self.proxies.edit(*self.publisher.swaps)

    def outcome(self) -> Outcome:
        """What has become of everything so far."""
        outcome = Outcome()
        for member in (*self.left, *self.members):
            self._noted(member, outcome)
        if self.reader != READER:
            self._buried(outcome)
        if self.reader in (WORKFLOW, OFFICE):
            for record in self.world.read(self.world.topic("ordered")):
                outcome.got.setdefault((record.key or b"").decode(), []).append(record.timestamp / 1000)
        return outcome

    def _noted(self, member: Member, outcome: Outcome) -> None:
        """What a member wrote into its file."""
        before = set(outcome.got)  # a rebalance may repeat these here; within one member nothing may
        for note in member.notes():
            match note:
                case {"what": "got", "token": str(token), "t": float(t)}:
                    if token not in before:
                        outcome.got.setdefault(token, []).append(t)
                case {"what": "at", "partition": int(p), "offset": int(o), "t": float(t)}:
                    outcome.got.setdefault(self._tokens.get(Place(p, o), f"offset {o} of {p}"), []).append(t)
                case {"what": "dead", "partition": int(p), "offset": int(o), "t": float(t)}:
                    letter = (str(note["stage"]), str(note["cause"]), int(str(note["first"])), t)
                    outcome.dead.setdefault(Place(p, o), []).append(letter)
                case _:
                    pass

    def _buried(self, outcome: Outcome) -> None:
        """Its dead letters; those of one identity are one, as their readers have it. A workflow repeats none."""
        ids: set[bytes] = set()
        for record in self.world.read(f"{stage.groups(self.world)[self.reader]}.dead"):
            place, letter = stage.letter(record)
            identity = dict(record.headers)["dead_id"] or b""
            if identity not in ids or self.reader == WORKFLOW:
                outcome.dead.setdefault(place, []).append(letter)
            ids.add(identity)

    @property
    def _tokens(self) -> dict[Place, str]:
        return {d.place: d.token for d in self.due}

    def settle(self, *, patience_s: float = PATIENCE_S) -> Outcome:
        """Wait until everything has happened, or nothing did for `patience_s`."""
        left, moved = len(self.due) + 1, time.monotonic()
        while True:
            outcome = self.outcome()
            missing = len(outcome.missing(self.due))
            if missing < left:
                left, moved = missing, time.monotonic()
            alive = all(member.process.poll() is None for member in self.members)
            if not missing or not alive or time.monotonic() - moved > patience_s:
                return outcome
            time.sleep(0.5)


@pytest.fixture
def run_of(kafka: str, fresh: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    """Makes the run of a reader kind."""
    runs: list[Run] = []

    def make(kind: str) -> Run:
        runs.append(Run(kind, kafka, fresh("t"), tmp_path))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_neighbour_is_delivered_and_every_bad_record_is_one_dead_letter(
    kind: str, run_of: Callable[[str], Run], bar: Callable[..., None]
) -> None:
    evils = CORPUS if bars.FULL else [evil for evil in CORPUS[list(KINDS).index(kind) % 3 :: 3] if not evil.heavy]
    run = run_of(kind)
    first = run.start()
    run.warm_up()
    idle = stage.peak_mb(first.process.pid)
    alone = run.publish(evils, positions=bars.sized(3, 1))
    outcome = run.settle()
    stall = outcome.stall_s(alone)
    wrong = outcome.wrong(run.due)
    peak = stage.peak_mb(first.process.pid) if first.process.poll() is None else 0.0
    if not wrong and kind in SHARING:
        second = run.start()
        run.publish(evils, positions=bars.sized(3, 1))
        run.wait(lambda: second.ready() and first.process.poll() is None, what="shared")
        run.leave(first)
        outcome = run.settle()
        peak = max(peak, stage.peak_mb(second.process.pid) if second.process.poll() is None else 0.0)
        wrong += outcome.wrong(run.due)
    for member in list(run.members):
        run.leave(member)
    wrong += run.badly_ended
    if kind != READER:
        wrong += stage.misplaced(run.world, run.reader)
    bad = [d for d in run.due if d.stage]
    bar(
        f"Poison at {kind}",
        demanded=f"{len(evils)} kinds: neighbours once, bad ones one letter; stall < {STALL_S:g} s, +{ROOM_MB:g} MB",
        measured=f"{len(run.due) - len(bad)} delivered, {len(bad)} dead, {len(wrong)} wrong; "
        f"{stall:.1f} s, +{peak - idle:.0f} MB",
        ok=not wrong and stall < STALL_S and peak - idle < ROOM_MB,
        wrong=wrong[:20],
        stall_s=round(stall, 2),
        idle_mb=round(idle),
        peak_mb=round(peak),
    )


WEDGE, LIE, BOMB = "a header name with FF FE, none", "an offset +1,000,000 away, none", "256 MB of zeros"
CONTROLS = [*((kind, WEDGE) for kind in KINDS), ("aiokafka", LIE), ("aiokafka", BOMB)]


@pytest.mark.parametrize(("kind", "name"), CONTROLS if bars.FULL else [(SDK, WEDGE), ("aiokafka", LIE)])
def test_without_the_splitter_a_reader_stops_passes_over_neighbours_or_unpacks_a_bomb_whole(
    kind: str, name: str, run_of: Callable[[str], Run]
) -> None:
    run = run_of(kind)
    member = run.start(stock=True)
    run.warm_up()
    idle = stage.peak_mb(member.process.pid)
    evils = [bomb(ZSTD, 256 << 20)] if name == BOMB else [evil for evil in CORPUS if evil.name == name]
    due = run.publish(evils, positions=3)
    if name == BOMB:
        run.wait(lambda: stage.peak_mb(member.process.pid) > idle + ROOM_MB, what="larger by a bomb")
        return
    lost = run.settle(patience_s=5.0).missing(due)
    assert any(d.stage == "batch" for d in lost)
    assert any(d.name.startswith("a neighbour") for d in lost)

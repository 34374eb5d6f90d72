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
from tests.torture.poison.corpus_batches import BATCHES
from tests.torture.poison.corpus_events import EVENTS
from tests.torture.poison.corpus_refused import REFUSED
from tests.torture.poison.kit import OFFICE, READER, SDK, WORKFLOW, Evil, PoisonWorld
from tests.torture.poison.member import READY
from tests.torture.poison.stage import Due, Outcome, Place, Publisher
from tests.torture.proxy import Proxies

pytestmark = [pytest.mark.kafka, pytest.mark.torture]
CORPUS = [*EVENTS, *BATCHES, *REFUSED]
KINDS = {"faust": WORKFLOW, "aiokafka": WORKFLOW, SDK: SDK, OFFICE: OFFICE, READER: READER}
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
        self.due: list[Due] = []

    def close(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                member.process.kill()
            member.process.communicate()
        self.publisher.close()
        self.proxies.close()

    def start(self, *, stock: bool = False) -> Member:
        file = self.folder / f"{self.kind}-{len(self.members)}.jsonl"
        command = [sys.executable, "-m", "tests.torture.poison.member", self.kind, self.proxies.bootstrap]
        command += [self.world.agency, str(file), *(["--stock"] if stock else [])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        member = Member(process, file)
        self.members.append(member)
        self.wait(member.ready, what="ready")
        return member

    def wait(self, holds: Callable[[], bool], *, what: str, within_s: float = 30.0) -> None:
        give_up = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > give_up or any(m.process.poll() is not None for m in self.members):
                said = "".join(m.end()[1] for m in self.members)
                raise AssertionError(f"{self.kind}: not {what}; it said: {said[-2000:]}")
            time.sleep(0.1)

    def publish(self, evils: Sequence[Evil], *, positions: int) -> list[Due]:
        due = self.publisher.publish(evils, self.reader, positions=positions, ready=self.swap)
        self.due += due
        return due

    def swap(self) -> None:
        self.proxies.edit(*self.publisher.swaps)

    def outcome(self) -> Outcome:
        """What has become of everything so far."""
        outcome = Outcome()
        for note in (note for member in self.members for note in member.notes()):
            match note:
                case {"what": "got", "token": str(token), "t": float(t)}:
                    outcome.got.setdefault(token, []).append(t)
                case {"what": "at", "partition": int(p), "offset": int(o), "t": float(t)}:
                    outcome.got.setdefault(self._tokens.get(Place(p, o), f"offset {o} of {p}"), []).append(t)
                case {"what": "dead", "partition": int(p), "offset": int(o), "t": float(t)}:
                    letter = (str(note["stage"]), str(note["cause"]), int(str(note["first"])), t)
                    outcome.dead.setdefault(Place(p, o), []).append(letter)
                case _:
                    pass
        if self.reader == READER:
            return outcome
        for record in self.world.read(f"{stage.groups(self.world)[self.reader]}.dead"):
            place, letter = stage.letter(record)
            outcome.dead.setdefault(place, []).append(letter)
        if self.reader in (WORKFLOW, OFFICE):
            for record in self.world.read(self.world.topic("ordered")):
                outcome.got.setdefault((record.key or b"").decode(), []).append(record.timestamp / 1000)
        return outcome

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
            time.sleep(0.2)


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
    evils = CORPUS if bars.FULL else [evil for evil in CORPUS if not evil.heavy]
    run = run_of(kind)
    first = run.start()
    idle = stage.peak_mb(first.process.pid)
    alone = run.publish(evils, positions=bars.sized(3, 1))
    outcome = run.settle()
    stall = outcome.stall_s(alone)
    wrong = outcome.wrong(run.due)
    peak = stage.peak_mb(first.process.pid) if first.process.poll() is None else 0.0
    if not wrong and kind != READER:
        second = run.start()
        run.publish(evils, positions=bars.sized(3, 1))
        run.wait(lambda: second.ready() and first.process.poll() is None, what="shared")
        code, said = first.end()
        wrong += [f"the first member ended with {code}: {said[-500:]}"] * (code != 0)
        run.members.remove(first)
        outcome = run.settle()
        peak = max(peak, stage.peak_mb(second.process.pid) if second.process.poll() is None else 0.0)
        wrong += outcome.wrong(run.due)
    ends = [member.end() for member in run.members]
    wrong += [f"a member ended with {code}: {said[-500:]}" for code, said in ends if code != 0]
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

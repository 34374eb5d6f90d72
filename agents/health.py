"""Is this worker alive, is it ready, and must it end: pure rules over what the worker noted of itself.

`Pulse` is written by the hosts and the case log and read by `agents.health_server` and `agents.watchdog`, which run in
threads of their own: a worker whose event loop is blocked must still be able to say so. The traps it avoids: a page
that answers "healthy" whatever the worker does (F44); a member that heartbeats for ever and takes nothing (F20), which
lag alone shows minutes later. *Commit age* is the seconds since the group's commit of an input last moved while records
stand behind it; it is 0 where nothing waits, so an idle topic is never late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bus.message import Partition

UNIT, TAKEOVER, RELEASE = "unit", "takeover", "release"
_SAY_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From when on a worker is late (not live, not ready), and from when on it must end. All in seconds.

    A loop, a unit or a release that hangs would hold up the group: their ends lie below its rebalance timeout (30 s,
    `agents.membership`), so a stuck worker is gone before the group moves on and both believe to own a case.

    Args:
        loop_late, loop_end: since the event loop last turned.
        busy_late, busy_end: a unit, or giving partitions up; the runner's own limit for a unit (20 s) comes first.
        commit_late, commit_end: commit age.
        recovery: taking over the case store, over all partitions of an assignment.
        drain: from SIGTERM to the end.
    """

    loop_late: float = 5.0
    loop_end: float = 20.0
    busy_late: float = 10.0
    busy_end: float = 25.0
    commit_late: float = 15.0
    commit_end: float = 90.0
    recovery: float = 120.0
    drain: float = 15.0


@dataclass(frozen=True, slots=True)
class Recovering:
    """How far the case store of a partition has been read: log offsets, so holes of compaction count as read."""

    number: int
    read: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a worker has noted of itself at one moment. Times are seconds of one monotonic clock.

    Args:
        beat: the event loop's last turn.
        busy: what is under way, and since when.
        owned: case partitions taken over; None before the first assignment and after one was given up.
        waiting: inputs with records behind the group's commit, and since when that commit has not moved.
        behind: how many offsets lie between commit and known end, per input.
        units: finished. recovered_in: seconds of the last takeover; None before it.
        recovering: how far a takeover under way has come.
        draining: since when it has been told to stop.
        parked: cases that stand still. letters: dead letters written.
    """

    beat: float
    busy: Mapping[str, float] = field(default_factory=dict)
    owned: tuple[int, ...] | None = None
    waiting: Mapping[Partition, float] = field(default_factory=dict)
    behind: Mapping[Partition, int] = field(default_factory=dict)
    units: int = 0
    recovered_in: float | None = None
    recovering: Recovering | None = None
    draining: float | None = None
    parked: int = 0
    letters: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict. `reasons` say what is not well; `fatal` why the process must end now, and at once."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]
    fatal: str | None


def ages(facts: Facts, now: float) -> dict[Partition, float]:
    """Commit age per input in seconds; 0 where nothing waits."""
    return {p: now - facts.waiting[p] if p in facts.waiting else 0.0 for p in facts.behind}


def assess(facts: Facts, now: float, limits: Limits) -> Health:
    """Judge a worker by what it noted, at `now` (the same clock's seconds)."""
    late = list(_late(facts, now, limits))
    fatal = next(_fatal(facts, now, limits), None)
    unready = list(_unready(facts, now, limits))
    return Health(not late, not late and not unready, tuple(late + unready), fatal)


def _late(facts: Facts, now: float, limits: Limits) -> Iterator[str]:
    """Why it is not live."""
    if now - facts.beat > limits.loop_late:
        yield f"the event loop has not turned for {now - facts.beat:.0f} s"
    for what, since in facts.busy.items():
        if now - since > (limits.recovery if what == TAKEOVER else limits.busy_late):
            yield f"one {what} has taken {now - since:.0f} s"
    oldest = _oldest(facts, now)
    if oldest is not None and oldest[1] > limits.commit_end / 2:
        yield f"the commit of {oldest[0].topic}[{oldest[0].number}] has not moved for {oldest[1]:.0f} s"


def _unready(facts: Facts, now: float, limits: Limits) -> Iterator[str]:
    """Why it is not ready though it may live: assigned, recovered, committing, staying."""
    if facts.draining is not None:
        yield "it was told to stop"
    if facts.owned is None:
        told = facts.recovering
        if told is not None:
            yield f"it reads the case store of partition {told.number}: {told.read} of {told.end}"
        else:
            yield "it is taking partitions over" if TAKEOVER in facts.busy else "it has no assignment yet"
    oldest = _oldest(facts, now)
    if oldest is not None and limits.commit_late < oldest[1] <= limits.commit_end / 2:
        yield f"the commit of {oldest[0].topic}[{oldest[0].number}] has not moved for {oldest[1]:.0f} s"


def _fatal(facts: Facts, now: float, limits: Limits) -> Iterator[str]:
    """Why it must end."""
    if facts.draining is not None and now - facts.draining > limits.drain:
        yield f"it was told to stop {now - facts.draining:.0f} s ago and is not done"
    if now - facts.beat > limits.loop_end:
        yield f"its event loop has been blocked for {now - facts.beat:.0f} s"
    for what, since in facts.busy.items():
        if what != TAKEOVER and now - since > limits.busy_end:
            yield f"one {what} has taken {now - since:.0f} s"
        elif what == TAKEOVER and now - since > limits.recovery + limits.busy_end:  # its own deadline speaks first
            yield f"taking over has taken {now - since:.0f} s"
    oldest = _oldest(facts, now)
    if oldest is not None and oldest[1] > limits.commit_end:
        yield f"the commit of {oldest[0].topic}[{oldest[0].number}] has not moved for {oldest[1]:.0f} s"


def _oldest(facts: Facts, now: float) -> tuple[Partition, float] | None:
    """The input whose commit has stood still for longest, while this worker owns anything."""
    if facts.owned is None or not facts.waiting:
        return None
    partition, since = min(facts.waiting.items(), key=lambda item: item[1])
    return partition, now - since


class Pulse:
    """What a worker notes of itself while it works. Noting costs a few dictionary entries a unit.

    Written by the worker's loop and, on Faust, by its consumer thread; read by others. Readers copy whole dictionaries,
    which is one step of the interpreter, so there is no lock that a blocked loop could hold.

    Args:
        clock: monotonic seconds.
        say: takes a progress line of a long recovery.
    """

    def __init__(self, clock: Callable[[], float], *, say: Callable[[str], None] = lambda _: None) -> None:
        self._clock = clock
        self._say = say
        self._beat = clock()
        self._busy: dict[str, list[float]] = {}  # each since when, in a list of one: see `skip`
        self._owned: tuple[int, ...] | None = None
        self._ends: dict[Partition, int] = {}
        self._commits: dict[Partition, int] = {}
        self._waiting: dict[Partition, float] = {}
        self._units = 0
        self._recovered_in: float | None = None
        self._recovering: Recovering | None = None
        self._draining: float | None = None
        self._said = clock()
        self._parked = self._letters = 0

    def beat(self, *, parked: int = 0, letters: int = 0) -> None:
        """The event loop turns; so many cases stand still, so many dead letters were written."""
        self._parked, self._letters = parked, letters
        self._beat = self._clock()

    def skip(self, seconds: float) -> None:
        """The whole process was paused for so long: nothing of it is a fault of the worker's."""
        now = self._clock()
        self._beat = min(now, self._beat + seconds)
        for since in list(self._busy.values()):  # in place: what ends this very moment must not be put back
            since[0] = min(now, since[0] + seconds)
        self._waiting = {p: min(now, since + seconds) for p, since in dict(self._waiting).items()}

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Something that must end in time is under way: `UNIT`, `TAKEOVER` or `RELEASE`."""
        self._busy[what] = [self._clock()]
        try:
            yield
        finally:
            self._busy.pop(what, None)
            self._units += what == UNIT

    def lost(self) -> None:
        """The assignment was given up: nothing is owned until the next one has been taken over."""
        self._owned = self._recovering = None
        self._said = self._clock()
        self._waiting, self._ends, self._commits = {}, {}, {}

    def took_over(self, seeks: Mapping[Partition, int], numbers: Sequence[int], *, seconds: float) -> None:
        """An assignment was taken over in so many seconds; its inputs are read from `seeks`."""
        self._waiting, self._ends, self._commits = {}, {}, dict(seeks)
        self._owned = tuple(numbers)
        self._recovered_in = seconds
        self._recovering = None

    def loading(self, number: int, read: int, end: int) -> None:
        """The case store of partition `number` has been read up to offset `read` of `end`. Says so now and then."""
        self._recovering = Recovering(number, read, end)
        now = self._clock()
        if now - self._said >= _SAY_EVERY_S:
            self._said = now
            self._say(f"reading the case store of partition {number}: {read} of {end}")

    def saw(self, ends: Mapping[Partition, int]) -> None:
        """Inputs are known to reach to these end offsets."""
        now = self._clock()
        known, commits, waiting = self._ends, self._commits, self._waiting  # `lost` may take them away meanwhile
        for partition, end in ends.items():
            if partition not in commits:
                continue
            known[partition] = end
            if end > commits[partition]:
                waiting.setdefault(partition, now)
            else:
                waiting.pop(partition, None)

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """The group holds these next offsets."""
        now = self._clock()
        for partition, offset in offsets.items():
            before = self._commits.get(partition)
            if before is None or offset < before:  # not owned, or an answer that was overtaken
                continue
            self._commits[partition] = offset
            if self._ends.get(partition, 0) <= offset:
                self._waiting.pop(partition, None)
            elif offset > before:
                self._waiting[partition] = now

    def drain(self) -> None:
        """It was told to stop; the first call counts."""
        if self._draining is None:
            self._draining = self._clock()

    def facts(self) -> Facts:
        """A copy of all of it."""
        ends, commits = dict(self._ends), dict(self._commits)
        return Facts(
            beat=self._beat,
            busy={what: since[0] for what, since in dict(self._busy).items()},
            owned=self._owned,
            waiting=dict(self._waiting),
            behind={p: max(0, ends.get(p, 0) - offset) for p, offset in commits.items()},
            units=self._units,
            recovered_in=self._recovered_in,
            recovering=self._recovering,
            draining=self._draining,
            parked=self._parked,
            letters=self._letters,
        )

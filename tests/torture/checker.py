"""What is wrong with a history: the anomalies Jepsen looks for in queues, each found in one pass over the operations.

Called by the kill and fault tests. Pure. An event is (key, n): n counts up per key in the order of publishing, so that
an event, its place and its effect can be told apart without decoding anything. The kinds:

- lost-write: acknowledged, and not in the log when everything is over;
- unseen: acknowledged, and without effect for `within_s` after the later of its ack and the last healing;
- duplicate: an effect twice;
- nonmonotonic: an effect after that of a later event of its key;
- reordered-write: in the log, an event first stands behind a later one of its key;
- split-key: a key on two partitions of one topic;
- poll-skip, nonmonotonic-poll: within one session a reader passed over a stored record, or was given one again;
- inconsistent-offsets: one place in the log held two events, or an event's receipt names another place;
- aborted-read: every publish of it said that nothing was stored, and there it is;
- invented: nobody published it;
- early-commit: a position was committed before the effect of a record below it was durable.

Jepsen's cycles of transactions (G0, G1c) are left out: nothing here rests on a transaction of several records.
The trap it avoids: a checker that knows what the system is supposed to do by its own code. This one knows only names,
numbers and times.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.torture.history import Op

Event = tuple[str, int]
Lane = tuple[str, int]
KINDS = (
    "lost-write",
    "unseen",
    "duplicate",
    "nonmonotonic",
    "reordered-write",
    "split-key",
    "poll-skip",
    "nonmonotonic-poll",
    "inconsistent-offsets",
    "aborted-read",
    "invented",
    "early-commit",
)
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing that must not be: its kind, and what was seen, in words."""

    kind: str
    what: str


@dataclass(slots=True)
class _Seen:
    """A history, by what the checks ask for."""

    acks: list[Op] = field(default_factory=list)
    calls: Counter[Event] = field(default_factory=Counter)
    failures: Counter[Event] = field(default_factory=Counter)
    effects: list[Op] = field(default_factory=list)
    first_effect: dict[Event, int] = field(default_factory=dict)
    logs: dict[Lane, list[Op]] = field(default_factory=lambda: defaultdict(list))
    whole: set[str] = field(default_factory=set)  # topics that were read back whole
    polls: list[Op] = field(default_factory=list)
    commits: list[Op] = field(default_factory=list)
    healed: int = 0


def check(ops: Iterable[Op], *, within_s: float = 60.0) -> list[Anomaly]:
    """Every anomaly of a history.

    Args:
        ops: by time, as `history.load` gives them.
        within_s: how long after the last healing an acknowledged event may stay without effect, in seconds.
    """
    seen = _sorted_out(ops)
    return [
        *_lost(seen),
        *_unseen(seen, within_s),
        *_effects(seen),
        *_written(seen),
        *_polled(seen),
        *_inconsistent(seen),
        *_unasked(seen),
        *_early(seen),
    ]


def figures(ops: Sequence[Op]) -> dict[str, float]:
    """Counts, and seconds from ack to effect (median, p99, longest) and from the last healing to the last effect."""
    seen = _sorted_out(ops)
    waits = sorted((seen.first_effect[_event(a)] - a.t) / _NS for a in seen.acks if _event(a) in seen.first_effect)
    told: dict[str, float] = dict(Counter(op.did for op in ops))
    told["events"] = len({_event(ack) for ack in seen.acks})
    for name, share in (("p50_s", 0.5), ("p99_s", 0.99), ("longest_s", 1.0)):
        told[name] = round(waits[min(len(waits) - 1, int(share * len(waits)))], 3) if waits else 0.0
    last = max(seen.first_effect.values(), default=0)
    told["after_healing_s"] = round(max(0, last - seen.healed) / _NS, 3) if seen.healed else 0.0
    return told


def _sorted_out(ops: Iterable[Op]) -> _Seen:
    by: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        by[op.did].append(op)
    seen = _Seen(
        acks=by["acked"],
        effects=by["applied"],
        polls=by["polled"],
        commits=by["committed"],
        calls=Counter(_event(op) for op in by["called"]),
        failures=Counter(_event(op) for op in by["failed"]),
        whole={op.topic for op in by["read"]},
        healed=max((op.t for op in by["healed"]), default=0),
    )
    for op in seen.effects:
        seen.first_effect.setdefault(_event(op), op.t)
    for op in sorted(by["stored"], key=_offset):
        seen.logs[op.topic, op.partition].append(op)
    return seen


def _lost(seen: _Seen) -> Iterator[Anomaly]:
    stored = {(topic, *_event(op)) for (topic, _), log in seen.logs.items() for op in log}
    for ack in seen.acks:
        if ack.topic in seen.whole and (ack.topic, *_event(ack)) not in stored:
            yield Anomaly("lost-write", f"{_name(ack)} was acknowledged at {_place(ack)} and is not in the log")


def _unseen(seen: _Seen, within_s: float) -> Iterator[Anomaly]:
    told: set[Event] = set()
    for ack in seen.acks:
        event = _event(ack)
        if event in told:
            continue
        deadline = max(ack.t, seen.healed) + int(within_s * _NS)
        effect = seen.first_effect.get(event)
        if effect is None:
            told.add(event)
            yield Anomaly("unseen", f"{_name(ack)}, acknowledged at {_place(ack)}, had no effect")
        elif effect > deadline:
            told.add(event)
            yield Anomaly("unseen", f"{_name(ack)} had its effect {(effect - deadline) / _NS:.1f} s too late")


def _effects(seen: _Seen) -> Iterator[Anomaly]:
    done: set[Event] = set()
    latest: dict[str, int] = {}
    for op in seen.effects:
        if _event(op) in done:
            yield Anomaly("duplicate", f"{_name(op)} had its effect again by {op.actor}")
            continue
        done.add(_event(op))
        if op.n < latest.get(op.key, op.n):
            yield Anomaly("nonmonotonic", f"{_name(op)} had its effect after {op.key}#{latest[op.key]}")
        latest[op.key] = max(op.n, latest.get(op.key, op.n))


def _written(seen: _Seen) -> Iterator[Anomaly]:
    homes: dict[tuple[str, str], int] = {}
    for (topic, partition), log in seen.logs.items():
        latest: dict[str, int] = {}
        written: set[Event] = set()
        for op in log:
            if homes.setdefault((topic, op.key), partition) != partition:
                yield Anomaly("split-key", f"{op.key} stands at {_place(op)} and on partition {homes[topic, op.key]}")
            if _event(op) not in written and op.n < latest.get(op.key, op.n):
                yield Anomaly("reordered-write", f"{_name(op)} at {_place(op)} stands after {op.key}#{latest[op.key]}")
            written.add(_event(op))
            latest[op.key] = max(op.n, latest.get(op.key, op.n))


def _polled(seen: _Seen) -> Iterator[Anomaly]:
    offsets = {lane: [op.offset for op in log] for lane, log in seen.logs.items()}
    before: dict[tuple[str, str, int], int] = {}
    for op in seen.polls:
        at = (op.actor, op.topic, op.partition)
        last = before.get(at)
        before[at] = op.offset
        if last is None:
            continue
        if op.offset <= last:
            yield Anomaly("nonmonotonic-poll", f"{op.actor} was given {_place(op)} after offset {last}")
            continue
        log = offsets.get((op.topic, op.partition), [])
        passed = bisect_right(log, last)
        if passed < len(log) and log[passed] < op.offset:
            yield Anomaly("poll-skip", f"{op.actor} was given {_place(op)} after {last}, never {log[passed]}")


def _inconsistent(seen: _Seen) -> Iterator[Anomaly]:
    held: dict[tuple[str, int, int], Op] = {}
    everything = (op for ops in (*seen.logs.values(), seen.acks, seen.polls) for op in ops)
    for op in everything:
        if op.offset < 0:
            continue  # accepted by an outbox: it has no place yet
        first = held.setdefault((op.topic, op.partition, op.offset), op)
        if _event(first) != _event(op):
            yield Anomaly(
                "inconsistent-offsets", f"{_place(op)} is {_name(first)} ({first.did}), {_name(op)} ({op.did})"
            )


def _unasked(seen: _Seen) -> Iterator[Anomaly]:
    """Events that nobody published, or that nobody can have stored."""
    there = {_event(op): op for ops in (*seen.logs.values(), seen.polls, seen.effects) for op in ops}
    for event, op in there.items():
        if event not in seen.calls:
            yield Anomaly("invented", f"{_name(op)} was {op.did}, and nobody published it")
        elif seen.failures[event] >= seen.calls[event]:
            yield Anomaly("aborted-read", f"{_name(op)} was {op.did}, and publishing it failed")


def _early(seen: _Seen) -> Iterator[Anomaly]:
    done: dict[Lane, int] = {}  # records of the lane that a commit has covered
    for commit in seen.commits:
        lane = (commit.topic, commit.partition)
        log = seen.logs.get(lane, [])
        index = done.get(lane, 0)
        while index < len(log) and log[index].offset < commit.offset:
            op = log[index]
            effect = seen.first_effect.get(_event(op))
            if effect is None or effect > commit.t:
                yield Anomaly(
                    "early-commit", f"{commit.actor} committed {_place(commit)} before {_name(op)} had effect"
                )
            index += 1
        done[lane] = index


def _event(op: Op) -> Event:
    return op.key, op.n


def _offset(op: Op) -> int:
    return op.offset


def _name(op: Op) -> str:
    return f"{op.key}#{op.n}"


def _place(op: Op) -> str:
    return f"{op.topic}[{op.partition}]@{op.offset}"

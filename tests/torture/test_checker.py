"""The checker of the kill and fault tests is silent on what is right and names each thing that is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.torture import checker
from tests.torture.history import Did, Op, merged

S = 1_000_000_000
TOPIC = "t"


@dataclass
class Ideal:
    """A queue that is right, under publishers that try again, readers that begin anew and late acknowledgements."""

    chance: random.Random
    partitions: int = 2
    now: int = S
    ops: list[Op] = field(default_factory=list)
    logs: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    applied: set[tuple[str, int]] = field(default_factory=set)

    def note(self, actor: str, did: Did, *, at: tuple[int, int] = (-1, -1), event: tuple[str, int] = ("", -1)) -> None:
        self.now += self.chance.randrange(1, S // 100)
        topic = "" if did in {"applied", "healed"} else TOPIC
        self.ops.append(Op(self.now, actor, did, topic, *at, *event))

    def publish(self, key: str, n: int) -> None:
        """Until it is acknowledged: it may fail before it is stored, or be stored without an answer."""
        partition = int(key[1:]) % self.partitions
        log = self.logs.setdefault(partition, [])
        while True:
            self.note("publisher", "called", event=(key, n))
            outcome = self.chance.choice(("acked", "acked", "failed", "unknown", "stored, unknown", "killed"))
            if outcome in {"acked", "stored, unknown"}:
                log.append((key, n))
            if outcome == "acked":
                self.note("publisher", "acked", at=(partition, len(log) - 1), event=(key, n))
                return
            if outcome != "killed":
                self.note("publisher", "unknown" if "unknown" in outcome else "failed", event=(key, n))

    def consume(self, session: str) -> None:
        """From the last commit to some place in the middle; sometimes killed before it commits."""
        for partition, log in self.logs.items():
            start = self.committed.get(partition, 0)
            end = self.chance.randint(start, len(log))
            for offset in range(start, end):
                key, n = log[offset]
                self.note(session, "polled", at=(partition, offset), event=(key, n))
                if (key, n) not in self.applied:
                    self.applied.add((key, n))
                    self.note(session, "applied", event=(key, n))
            if self.chance.random() < 0.7:
                self.committed[partition] = end
                self.note(session, "committed", at=(partition, end))

    def end(self) -> list[Op]:
        self.note("director", "healed")
        for partition, log in self.logs.items():
            for event in log[self.committed.get(partition, 0) :]:
                if event not in self.applied:
                    self.applied.add(event)
                    self.note("c/last", "applied", event=event)
        for partition, log in self.logs.items():
            for offset, event in enumerate(log):
                self.note("reader", "stored", at=(partition, offset), event=event)
        self.note("reader", "read")
        return merged(self.ops)


def ideal(seed: int, *, keys: int = 4, each: int = 6) -> list[Op]:
    queue = Ideal(random.Random(seed))
    left = {f"k{number}": 1 for number in range(keys)}
    session = 0
    while left:
        key = queue.chance.choice(sorted(left))
        queue.publish(key, left[key])
        left[key] += 1
        if left[key] > each:
            del left[key]
        if queue.chance.random() < 0.3:
            session += 1
            queue.consume(f"c/{session}")
    return queue.end()


@given(st.integers(0, 2**32))
def test_an_ideal_history_has_no_anomaly(seed: int) -> None:
    assert checker.check(ideal(seed)) == []


def kinds(ops: list[Op], **given: float) -> set[str]:
    return {anomaly.kind for anomaly in checker.check(merged(ops), **given)}


def call(n: int, key: str = "a", t: int = 1) -> Op:
    return Op(t, "p", "called", TOPIC, -1, -1, key, n)


def ack(n: int, offset: int, key: str = "a", t: int = 2) -> Op:
    return Op(t, "p", "acked", TOPIC, 0, offset, key, n)


def stored(n: int, offset: int, key: str = "a", partition: int = 0) -> Op:
    return Op(9 * S, "r", "stored", TOPIC, partition, offset, key, n)


def applied(n: int, t: int = 5, key: str = "a") -> Op:
    return Op(t, "c/1", "applied", "", -1, -1, key, n)


def polled(n: int, offset: int, t: int = 4, actor: str = "c/1") -> Op:
    return Op(t, actor, "polled", TOPIC, 0, offset, "a", n)


READ = Op(9 * S, "r", "read", TOPIC)
RIGHT = [
    *(call(n) for n in (1, 2, 3)),
    *(ack(n, n) for n in (1, 2, 3)),
    *(polled(n, n) for n in (1, 2, 3)),
    *(applied(n, 4 + n) for n in (1, 2, 3)),
    Op(8, "c/1", "committed", TOPIC, 0, 4),
    Op(8, "d", "healed"),
    *(stored(n, n) for n in (1, 2, 3)),
    READ,
]

Wrong = Callable[[list[Op]], list[Op]]
WRONGS: dict[str, Wrong] = {
    "lost-write": lambda ops: [op for op in ops if not (op.did in {"stored", "polled", "applied"} and op.n == 3)],
    "unseen": lambda ops: [op for op in ops if not (op.did == "applied" and op.n == 3)],
    "duplicate": lambda ops: [*ops, applied(2, 8)],
    "nonmonotonic": lambda ops: [op._replace(t=7 - op.n) if op.did == "applied" else op for op in ops],
    "reordered-write": lambda ops: [op._replace(offset=9 - op.offset) if op.did == "stored" else op for op in ops],
    "split-key": lambda ops: [*ops, stored(3, 0, partition=1)],
    "poll-skip": lambda ops: [op for op in ops if not (op.did == "polled" and op.n == 2)],
    "nonmonotonic-poll": lambda ops: [*ops, polled(1, 1, t=8)],
    "inconsistent-offsets": lambda ops: [
        op._replace(offset=2) if op.did == "acked" and op.n == 3 else op for op in ops
    ],
    "aborted-read": lambda ops: [op._replace(did="failed") if op.did == "acked" and op.n == 2 else op for op in ops],
    "invented": lambda ops: [op for op in ops if not (op.did == "called" and op.n == 2)],
    "early-commit": lambda ops: [op._replace(t=6) if op.did == "committed" else op for op in ops],
}


def test_there_is_a_wrong_history_for_each_kind() -> None:
    assert checker.check(RIGHT) == []
    assert set(WRONGS) == set(checker.KINDS)


@pytest.mark.parametrize("kind", checker.KINDS)
def test_each_anomaly_is_found(kind: str) -> None:
    assert kind in kinds(WRONGS[kind](RIGHT))


@pytest.mark.parametrize("kind", ["duplicate", "nonmonotonic", "poll-skip", "aborted-read", "invented", "split-key"])
def test_what_is_wrong_in_one_way_is_told_in_one_way(kind: str) -> None:
    assert kinds(WRONGS[kind](RIGHT)) == {kind}


def test_an_effect_later_than_a_minute_after_the_healing_is_unseen() -> None:
    late = [op._replace(t=61 * S + 8) if op.did == "applied" and op.n == 3 else op for op in RIGHT]
    late = [op for op in late if op.did != "committed"]
    assert kinds(late) == {"unseen"}
    assert kinds(late, within_s=61.5) == set()


def test_an_event_acknowledged_after_the_healing_has_its_minute_from_then() -> None:
    late = [op._replace(t=50 * S) if op.did == "acked" and op.n == 3 else op for op in RIGHT if op.did != "committed"]
    late = [op._replace(t=100 * S) if op.did == "applied" and op.n == 3 else op for op in late]
    assert kinds(late) == set()


def test_a_new_session_may_begin_anew_and_further_on() -> None:
    assert (
        kinds([*RIGHT, polled(1, 1, t=8, actor="c/2"), polled(2, 2, t=8, actor="c/2"), polled(3, 3, 8, "c/3")]) == set()
    )


def test_a_log_that_was_not_read_back_proves_no_loss() -> None:
    assert kinds([op for op in RIGHT if op.did not in {"stored", "read"}]) == set()


def test_a_publish_that_failed_and_then_succeeded_is_right() -> None:
    failed = Op(1, "p", "failed", TOPIC, -1, -1, "a", 2)
    assert kinds([call(2), failed, *RIGHT]) == set()
    assert kinds([call(2, t=3), failed._replace(t=3), *RIGHT]) == set()


@given(st.integers(0, 2**32), st.integers(0, 10_000), st.sampled_from(["acked", "applied", "stored"]))
def test_an_operation_taken_out_of_or_doubled_in_an_ideal_history_is_missed(seed: int, pick: int, did: str) -> None:
    ops = ideal(seed)
    places = [index for index, op in enumerate(ops) if op.did == did]
    index = places[pick % len(places)]
    if did == "stored":  # a write that was acknowledged there; its repeats may stand elsewhere
        lost = (ops[index].key, ops[index].n)
        without = [op for op in ops if not (op.did == did and (op.key, op.n) == lost)]
        assert "lost-write" in kinds(without)
    elif did == "applied":
        assert "unseen" in kinds([*ops[:index], *ops[index + 1 :]])
        assert "duplicate" in kinds([*ops, ops[index]])
    else:
        moved = ops[index]._replace(offset=ops[index].offset + 10_000, key="k0", n=10_000)
        assert "lost-write" in kinds([*ops, moved])


def test_the_figures_say_how_long_effects_took() -> None:
    told = checker.figures(RIGHT)
    assert told["events"] == 3
    assert told["acked"] == 3
    assert told["longest_s"] == 0.0
    slow = [op._replace(t=3 * S) if op.did == "applied" and op.n == 3 else op for op in RIGHT]
    assert checker.figures(merged(slow))["longest_s"] == pytest.approx(3.0)
    assert checker.figures(merged(slow))["after_healing_s"] == pytest.approx(3.0)

"""When a worker is alive, ready, and when it must end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.health import RELEASE, TAKEOVER, UNIT, Facts, Limits, Pulse, Recovering, ages, assess
from bus.message import Partition

LIMITS = Limits()
A, B = Partition("a.x.y.v1", 0), Partition("a.x.y.v1", 1)
WELL = Facts(beat=100.0, owned=(0, 1), behind={A: 0, B: 0})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(clock)


def test_a_worker_that_owns_and_commits_is_live_and_ready() -> None:
    health = assess(WELL, 101.0, LIMITS)
    assert (health.live, health.ready, health.reasons, health.fatal) == (True, True, (), None)


@pytest.mark.parametrize(
    ("facts", "now", "reason"),
    [
        (WELL, 106.0, "the event loop has not turned for 6 s"),
        (replace(WELL, busy={UNIT: 89.0}), 100.0, "one unit has taken 11 s"),
        (replace(WELL, busy={RELEASE: 89.0}), 100.0, "one release has taken 11 s"),
        (replace(WELL, busy={TAKEOVER: -21.0}, owned=None), 100.0, "one takeover has taken 121 s"),
        (replace(WELL, waiting={B: 54.0, A: 60.0}), 100.0, "the commit of a.x.y.v1[1] has not moved for 46 s"),
    ],
)
def test_what_is_late_is_not_live_and_says_why(facts: Facts, now: float, reason: str) -> None:
    health = assess(facts, now, LIMITS)
    assert not health.live
    assert not health.ready
    assert reason in health.reasons


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(WELL, owned=None), "it has no assignment yet"),
        (replace(WELL, owned=None, busy={TAKEOVER: 99.0}), "it is taking partitions over"),
        (
            replace(WELL, owned=None, recovering=Recovering(3, 10, 90)),
            "it reads the case store of partition 3: 10 of 90",
        ),
        (replace(WELL, waiting={A: 80.0}), "the commit of a.x.y.v1[0] has not moved for 20 s"),
        (replace(WELL, draining=99.0), "it was told to stop"),
    ],
)
def test_what_is_not_there_yet_is_live_but_not_ready(facts: Facts, reason: str) -> None:
    health = assess(facts, 100.0, LIMITS)
    assert health.live
    assert not health.ready
    assert health.reasons == (reason,)
    assert health.fatal is None


@pytest.mark.parametrize(
    ("facts", "now", "reason"),
    [
        (WELL, 121.0, "its event loop has been blocked for 21 s"),
        (replace(WELL, busy={UNIT: 74.0}), 100.0, "one unit has taken 26 s"),
        (replace(WELL, busy={TAKEOVER: -46.0}), 100.0, "taking over has taken 146 s"),
        (replace(WELL, waiting={A: 9.0}), 100.0, "the commit of a.x.y.v1[0] has not moved for 91 s"),
        (replace(WELL, draining=84.0), 100.0, "it was told to stop 16 s ago and is not done"),
    ],
)
def test_what_is_beyond_its_limit_must_end(facts: Facts, now: float, reason: str) -> None:
    assert assess(facts, now, LIMITS).fatal == reason


def test_a_worker_ends_before_the_group_moves_on_without_it() -> None:
    from agents.membership import HostSettings

    rebalance_s = HostSettings(bootstrap="b", group="g", topics=frozenset()).rebalance_timeout_ms / 1000
    assert max(LIMITS.loop_end, LIMITS.busy_end) < rebalance_s


def test_a_worker_without_partitions_waits_beside_the_others_and_is_ready() -> None:
    assert assess(Facts(beat=100.0, owned=()), 100.0, LIMITS).ready


def test_commit_age_runs_while_records_wait_and_starts_again_when_the_commit_moves(pulse: Pulse, clock: Clock) -> None:
    pulse.took_over({A: 5, B: 0}, [0], seconds=0.5)
    clock.now = 10
    pulse.saw({A: 8, B: 0})
    clock.now = 13
    assert ages(pulse.facts(), clock.now) == {A: 3.0, B: 0.0}
    pulse.committed({A: 6})
    clock.now = 14
    assert ages(pulse.facts(), clock.now)[A] == 1.0
    assert pulse.facts().behind == {A: 2, B: 0}
    pulse.committed({A: 6})  # the same offset again is no progress
    clock.now = 15
    assert ages(pulse.facts(), clock.now)[A] == 2.0
    pulse.committed({A: 8})
    assert ages(pulse.facts(), clock.now)[A] == 0.0


def test_what_is_not_owned_any_more_is_never_late(pulse: Pulse, clock: Clock) -> None:
    pulse.took_over({A: 0}, [0], seconds=0.1)
    pulse.saw({A: 8})
    pulse.lost()
    pulse.saw({A: 9})
    pulse.committed({A: 9})
    clock.now = 1_000
    pulse.beat()
    assert assess(pulse.facts(), clock.now, LIMITS).fatal is None
    assert not assess(pulse.facts(), clock.now, LIMITS).ready


def test_a_pause_of_the_whole_process_is_nobody_s_fault(pulse: Pulse, clock: Clock) -> None:
    pulse.took_over({A: 0}, [0], seconds=0.1)
    pulse.saw({A: 8})
    with pulse.busy(UNIT):
        clock.now = 500
        assert assess(pulse.facts(), clock.now, LIMITS).fatal is not None
        pulse.skip(499.5)
        assert assess(pulse.facts(), clock.now, LIMITS).live
    assert pulse.facts().units == 1


def test_what_ends_while_a_pause_is_being_counted_is_under_way_no_longer(pulse: Pulse, clock: Clock) -> None:
    clock.now = 1
    under_way = pulse.busy(RELEASE)
    under_way.__enter__()

    class Seconds(float):
        def __radd__(self, since: float) -> float:
            if since == 1:
                under_way.__exit__(None, None, None)  # the loop's thread, in the middle of the watchdog's sum
            return since + float(self)

    clock.now = 500
    pulse.skip(Seconds(499.5))
    assert pulse.facts().busy == {}


def test_an_assignment_that_is_lost_while_ends_are_noted_is_no_error(pulse: Pulse) -> None:
    class Ends(dict[Partition, int]):
        def __setitem__(self, partition: Partition, end: int) -> None:
            pulse.lost()  # the loop's thread, in the middle of the consumer's

    pulse.took_over({A: 0, B: 0}, [0], seconds=0)
    pulse._ends = Ends()
    pulse.saw({A: 8, B: 9})
    assert pulse.facts().waiting == {}


def test_a_takeover_that_was_overtaken_reads_no_case_store_any_more(pulse: Pulse, clock: Clock) -> None:
    pulse.loading(2, 10, 120)
    pulse.lost()
    assert assess(pulse.facts(), clock.now, LIMITS).reasons == ("it has no assignment yet",)


def test_a_unit_that_raises_is_under_way_no_longer(pulse: Pulse) -> None:
    with pytest.raises(ValueError, match="broke"), pulse.busy(UNIT):
        raise ValueError("broke")
    assert pulse.facts().busy == {}


def test_a_long_recovery_says_how_far_it_is_now_and_then(clock: Clock) -> None:
    said: list[str] = []
    pulse = Pulse(clock, say=said.append)
    for read in range(0, 120, 10):
        clock.now = read / 10
        pulse.loading(2, read, 120)
    assert said == [
        "reading the case store of partition 2: 50 of 120",
        "reading the case store of partition 2: 100 of 120",
    ]
    assert "110 of 120" in assess(pulse.facts(), clock.now, LIMITS).reasons[-1]


def test_only_the_first_order_to_stop_starts_its_budget(pulse: Pulse, clock: Clock) -> None:
    pulse.drain()
    clock.now = 9
    pulse.drain()
    assert pulse.facts().draining == 0


moves = st.lists(
    st.tuples(st.sampled_from(["saw", "committed", "wait"]), st.sampled_from([A, B]), st.integers(0, 9)), max_size=40
)


@settings(deadline=None)
@given(moves)
def test_an_input_has_an_age_only_while_its_commit_is_behind_its_end(steps: list[tuple[str, Partition, int]]) -> None:
    clock = Clock()
    pulse = Pulse(clock)
    pulse.took_over({A: 0, B: 0}, [0], seconds=0)
    for what, partition, number in steps:
        clock.now += 1
        if what != "wait":
            getattr(pulse, what)({partition: number})
    facts = pulse.facts()
    for partition, age in ages(facts, clock.now + 1).items():
        assert (age > 0) == (facts.behind[partition] > 0)
        assert age <= clock.now + 1

from __future__ import annotations

import logging
import threading

import pytest

from bus.deadline import Deadline
from bus.testing import eventually


class Moments:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_handler_that_takes_too_long_is_one_alarm_with_its_place_and_its_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    moments = Moments()
    deadline = Deadline(60, monotonic=moments)
    secret = "a citizen's name"

    def hang_here() -> None:
        assert secret
        for _ in range(2):
            deadline.look()

    deadline.begin("a.b.c.v1[2] offset 17")
    moments.seconds = 59
    with caplog.at_level(logging.ERROR):
        hang_here()
        assert not deadline.late
        moments.seconds = 60
        hang_here()
    assert deadline.late
    (alarm,) = caplog.messages
    assert "a.b.c.v1[2] offset 17" in alarm
    assert "hang_here" in alarm
    assert "60 s" in alarm
    assert secret not in alarm


def test_a_handler_that_ends_in_time_or_at_last_is_not_late_any_more() -> None:
    moments = Moments()
    deadline = Deadline(60, monotonic=moments)
    deadline.look()
    assert not deadline.late
    deadline.begin("x")
    moments.seconds = 100
    deadline.look()
    assert deadline.late
    deadline.end()
    deadline.look()
    assert not deadline.late


def test_an_alarm_that_comes_as_its_handler_ends_leaves_nothing_late_behind() -> None:
    deadline: Deadline
    asked = 0

    def ending() -> float:
        """The handler ends between the watcher's look at it and what the watcher says."""
        nonlocal asked
        asked += 1
        if asked == 2:
            deadline.end()
        return 100.0 * asked

    deadline = Deadline(60, monotonic=ending)
    deadline.begin("x")
    deadline.look()
    assert not deadline.late


def test_a_thread_of_its_own_watches_as_long_as_the_block_lasts() -> None:
    def watchers() -> int:
        return sum(thread.name == "agencybus-deadline" for thread in threading.enumerate())

    before = watchers()
    with Deadline(0.05) as deadline:
        deadline.begin("x")
        eventually(lambda: deadline.late, within_s=10)
        assert watchers() == before + 1
    eventually(lambda: watchers() == before, within_s=10)


def test_without_a_deadline_nobody_watches() -> None:
    before = threading.active_count()
    with Deadline(None) as deadline:
        deadline.begin("x")
        deadline.look()
        assert not deadline.late
        assert threading.active_count() == before


def test_a_handler_whose_thread_has_ended_is_named_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    moments = Moments()
    deadline = Deadline(1, monotonic=moments)
    thread = threading.Thread(target=lambda: deadline.begin("x"))
    thread.start()
    thread.join()
    moments.seconds = 2
    deadline.look()
    assert "ended" in caplog.text

"""One event of one case: stepped, or parked with its place; what says nothing about the event is raised."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agents.case_bytes import Damaged
from agents.decision import TOO_LARGE, Rules
from agents.machine import Arrival, Rejected
from agents.shelf import Shelf
from agents.stepping import Stepper
from bus.errors import Unreachable
from bus.message import Record
from tests.agents.crashes import GRAPH

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
RECORD = Record("a.b.c.v1", 0, 7, 0, b"c", b"v", ())
NOTHING: Any = None


class Raising(Stepper):
    """Its step raises what it is given."""

    error: Exception

    def _step(self, arrival: Arrival) -> None:
        raise self.error


def stepper(error: Exception | None = None, *, too_large: int = 0) -> Raising:
    rules = Rules({}, GRAPH, NOTHING, NOTHING)
    if too_large:
        rules.too_large[RECORD.topic, 0, 7, ""] = too_large
    made = Raising(rules, Shelf(), number=0, limit=1, now=NOW)
    if error is not None:
        made.error = error
    return made


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        Unreachable("away"),
        ConnectionError(),
        Rejected("late", "closed"),
        Damaged("a chapter cannot be read."),
    ],
)
def test_what_says_nothing_about_the_event_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        stepper(error)._try(NOTHING, RECORD)


def test_a_bug_is_a_failure_that_names_its_class_only() -> None:
    failure = stepper(RuntimeError("SYN-secret"))._try(NOTHING, RECORD)
    assert failure is not None
    assert (failure.stage, failure.error, failure.attempt, failure.first) == ("step", "RuntimeError", 1, NOW)


def test_what_did_not_fit_alone_is_parked_without_another_try_and_then_a_letter() -> None:
    one = stepper(too_large=1)
    failure = one._try(NOTHING, RECORD)
    assert failure is not None
    assert (failure.stage, failure.error) == ("size", TOO_LARGE)
    one._park("c", RECORD, failure)
    assert list(one.decision.queues) == ["c"]
    two = stepper(too_large=2)
    two._park("c", RECORD, failure)
    assert [(letter.stage, letter.error) for letter in two.decision.dead] == [("size", TOO_LARGE)]
    assert not two.decision.rows


def test_a_queue_takes_each_entry_once_and_leaves_what_is_kept_untouched() -> None:
    one = stepper()
    one._park("c", RECORD, one._failure("step", "KeyError"))
    kept = Shelf()
    kept.queue("c", one.decision.queues["c"])
    two = Stepper(one._rules, kept, number=0, limit=9, now=NOW)
    assert two._held("c")
    assert not two._queue_behind("c", RECORD)
    assert two._queue_behind("c", Record("a.b.c.v1", 0, 8, 1, b"c", b"v", ()))
    assert [w.entry.queued for w in two.decision.queues["c"]] == [False, True]
    assert len(kept.parked["c"]) == 1

"""One event of a log: what the file states and what a default supplies stay apart."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from connectors.log_event import NOTHING, UNNAMED, LogEvent


def test_an_event_that_states_nothing_has_empty_attributes_that_nobody_can_fill() -> None:
    event = LogEvent(case="c", activity=UNNAMED, time=None, line=5)
    assert event.attributes is event.defaults is event.case_attributes is event.case_defaults is NOTHING
    with pytest.raises(TypeError):
        event.attributes["deadline"] = "2011-01-01"  # type: ignore[index]  # that is what is shown
    with pytest.raises(FrozenInstanceError):
        event.case = "d"  # type: ignore[misc]  # as above


def test_a_default_does_not_make_two_events_alike() -> None:
    stated = LogEvent(case="c", activity="a", time=None, line=5, case_attributes={"deadline": "2011-01-01"})
    supplied = LogEvent(case="c", activity="a", time=None, line=5, case_defaults={"deadline": "2011-01-01"})
    assert stated != supplied
    assert "deadline" not in supplied.case_attributes

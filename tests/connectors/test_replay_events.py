"""What a replay says and counts: case ids, run ids, deadlines, tallies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import CheckFailed, UsageError
from connectors.log_event import LogEvent
from connectors.merge_sort import Ordered
from connectors.replay_events import MAX_EVENT, Deadlines, Tally, case_of, publication, run_id
from schemas import names
from schemas.recorded import ActivityRecorded

NOW = datetime(2026, 11, 24, 8, 5, tzinfo=UTC)
PATH = Path("log.xes")


def _ordered(sequence: int = 1, **case_attributes: str) -> Ordered:
    return Ordered(
        case="c/1",
        activity="look",
        time=NOW,
        sequence=sequence,
        last=False,
        line=7,
        attributes={"org:group": "g"},
        defaults={"x": "default"},
        case_attributes=case_attributes,
        case_defaults={"deadline": "1970-01-01T00:00:00Z"},
    )


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), unique=True, max_size=20))
def test_any_case_name_gives_a_case_id_of_its_own(texts: list[str]) -> None:
    ids = [names.case_id(case_of("r1", text)) for text in texts]
    assert len(set(ids)) == len(texts)
    assert all(case.startswith("r1/") for case in ids)


def test_a_run_is_made_from_the_time_or_given() -> None:
    assert run_id(None, now=NOW, token="ab12") == "20261124T080500-ab12"
    assert run_id("may-1", now=NOW, token="") == "may-1"
    for bad in ("", "a b", "a/b", "-a", "a-", "x" * 65, "ə"):
        with pytest.raises(UsageError, match="--run"):
            run_id(bad, now=NOW, token="")


def test_an_event_is_said_with_its_case_time_and_deadline() -> None:
    due = NOW + timedelta(days=1)
    said = publication(_ordered(deadline="soon"), run="r1", deadline=due)
    assert said.case == "r1/c%2F1"
    assert said.time == NOW
    assert said.event == ActivityRecorded(
        run="r1",
        activity="look",
        sequence=1,
        last=False,
        deadline=due,
        attributes={"org:group": "g"},
        case_attributes={"deadline": "soon"},
    )


def test_a_default_never_arms_a_deadline() -> None:
    deadlines = Deadlines(PATH, None)
    assert deadlines.take(_ordered()) is None
    assert deadlines.take(_ordered(deadline="2011-01-01T00:00:00Z")) == datetime(2011, 1, 1, tzinfo=UTC)
    assert deadlines.take(_ordered(deadline="n/a")) is None
    assert deadlines.passed_over == 1


def test_a_named_deadline_that_is_no_time_is_found_before_anything_is_published() -> None:
    event = LogEvent(case="a", activity="x", time=NOW, line=9, case_attributes={"due": "n/a"})
    with pytest.raises(CheckFailed, match=r"log\.xes:9: due: 'n/a' is no time"):
        list(Deadlines(PATH, "due").checked([event]))
    assert list(Deadlines(PATH, None).checked([event])) == [event]


def test_an_event_too_large_for_a_record_is_found_before_anything_is_published() -> None:
    texts = {f"k{n}": "ə" * 60_000 for n in range(MAX_EVENT // 120_000 + 1)}
    event = LogEvent(case="a", activity="x", time=NOW, line=9, attributes=texts)
    with pytest.raises(CheckFailed, match=r"log\.xes:9: .*larger"):
        list(Deadlines(PATH, None).checked([event]))


def test_tallies_name_each_difference() -> None:
    one, two = Tally(), Tally()
    for tally in (one, two):
        tally.add("x", time=NOW, opens=True, closes=False)
        tally.add("y", time=NOW + timedelta(hours=1), opens=False, closes=True)
    assert two.differences(one) == []
    two.add("x", time=NOW - timedelta(hours=1), opens=True, closes=True)
    found = "; ".join(two.differences(one))
    for words in ("cases: published 1, followed 2", "events: published 2, followed 3", "first", "'x': published 1"):
        assert words in found

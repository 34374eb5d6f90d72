"""Recorded cases."""

from __future__ import annotations

from schemas.recorded import ActivityFollowed, ActivityRecorded
from tests.schemas.contract_cases import refuses, requires

RECORDED = {"run": "r1", "activity": "Confirmation of receipt", "sequence": 1, "last": False, "attributes": {"a": ""}}
REQUIRED = ("run", "activity", "sequence", "last")


def test_run_activity_place_and_end_are_required() -> None:
    requires(ActivityRecorded, RECORDED, *REQUIRED)
    requires(ActivityFollowed, {k: RECORDED[k] for k in REQUIRED}, *REQUIRED)


def test_values_outside_their_kind_are_refused_at_the_field() -> None:
    refuses(ActivityRecorded, RECORDED, "sequence", 0, 2**31, "1", 1.5)
    refuses(ActivityRecorded, RECORDED, "activity", "", "x" * 1001)
    refuses(ActivityRecorded, RECORDED, "attributes", {"": "x"}, {"a": 1}, {"a": None}, {"a": "x" * 65537}, [])
    refuses(ActivityRecorded, RECORDED, "case_attributes", {"a": {"b": "c"}})
    refuses(ActivityRecorded, RECORDED, "run", "", "a b")


def test_their_topics_are_those_of_the_replay() -> None:
    assert ActivityRecorded.topic("replay") == "replay.activity.recorded.v1"
    assert ActivityFollowed.topic("replay") == "replay.activity.followed.v1"

"""What the bus says itself."""

from __future__ import annotations

from schemas.bus_events import DeadlineMissed
from schemas.event import PersonalData
from tests.schemas.contract_cases import refuses, requires

MISSED = {"process": "birth", "step": "id_entry", "owner": "social-fund", "due": "2026-03-04T05:06:07Z"}


def test_a_missed_deadline_names_process_step_owner_and_time() -> None:
    requires(DeadlineMissed, MISSED, *MISSED)
    refuses(DeadlineMissed, MISSED, "owner", "", "Social Fund", "a_b")
    refuses(DeadlineMissed, MISSED, "due", "2026-03-04T05:06:07")


def test_it_says_nothing_of_a_person() -> None:
    assert DeadlineMissed.personal_data is PersonalData.NONE
    assert DeadlineMissed.topic("bus") == "bus.deadline.missed.v1"

"""What the bus says itself."""

from __future__ import annotations

from bus import topology
from schemas.bus_events import LETTERS_AT_ONCE, DeadlineMissed, OperatorActed
from schemas.catalogue import standard
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


ACTED = {
    "action": "0123456789abcdef",
    "act": "drop",
    "group": "workflow.birth",
    "part": 1,
    "planned": 1,
    "letters": ["fedcba9876543210"],
    "by": "operator",
}


def test_what_an_operator_did_names_the_action_the_group_and_each_letter() -> None:
    requires(OperatorActed, ACTED, *ACTED)
    refuses(OperatorActed, ACTED, "action", "", "0123456789ABCDEF", "0123456789abcde")
    refuses(OperatorActed, ACTED, "letters", [""], ["fedcba9876543210"] * (LETTERS_AT_ONCE + 1))
    refuses(OperatorActed, ACTED, "act", "delete")
    refuses(OperatorActed, ACTED, "part", 0)
    refuses(OperatorActed, ACTED, "reason", "", "x" * 501)


def test_what_an_operator_did_stays_for_good_and_says_nothing_of_a_person() -> None:
    assert OperatorActed.personal_data is PersonalData.NONE
    assert OperatorActed.topic("bus") == "bus.operator.acted.v1"
    found = topology.load(topology.STANDARD, standard()).wanted["bus.operator.acted.v1"]
    assert (found.config["retention.ms"], found.config["cleanup.policy"]) == ("-1", "delete")

"""The birth process: twins, stillbirth, unknown father, foreign parent."""

from __future__ import annotations

from typing import Any

from schemas.birth import BenefitAssigned, BirthNotified, BirthRegistered, IdentityEntered
from schemas.event import PersonalData
from tests.schemas.contract_cases import refuses, requires

NOTIFIED: dict[str, Any] = {
    "child": "ps-0001",
    "mother": "AZ-0001",
    "born_at": "2026-03-04T05:06:07Z",
    "sex": "female",
    "plurality": 2,
    "birth_order": 2,
    "stillborn": False,
    "weight_g": 2400,
    "facility": "clinic-1",
    "mother_citizenship": "GE",
}
REGISTERED: dict[str, Any] = {
    "record_number": "2026/17",
    "stillbirth": False,
    "person": "AZ-0003",
    "mother": "AZ-0001",
    "father_recorded": False,
    "registered_on": "2026-03-04",
}
ASSIGNED: dict[str, Any] = {
    "person": "AZ-0003",
    "request_id": "r-1",
    "amount": "600.00",
    "currency": "AZN",
    "assigned_on": "2026-03-04",
}


def test_a_birth_is_notified_without_father_but_with_all_else() -> None:
    requires(BirthNotified, NOTIFIED, *NOTIFIED)


def test_facts_of_a_birth_that_cannot_be_are_refused_at_the_field() -> None:
    refuses(BirthNotified, NOTIFIED, "weight_g", 199, 9001, 2400.5, "2400", None)
    refuses(BirthNotified, NOTIFIED, "plurality", 0, 11)
    refuses(BirthNotified, NOTIFIED, "birth_order", 0, 3, 11)
    refuses(BirthNotified, NOTIFIED, "born_at", "2026-03-04T05:06:07", "2026-03-04", 0.5)
    refuses(BirthNotified, NOTIFIED, "sex", "f", None)
    refuses(BirthNotified, NOTIFIED, "mother_citizenship", "Georgia", "ge")
    refuses(BirthNotified, NOTIFIED, "stillborn", "no", 0, None)


def test_a_live_birth_has_a_personal_number_and_a_stillbirth_has_none() -> None:
    requires(BirthRegistered, REGISTERED, *REGISTERED)
    refuses(BirthRegistered, REGISTERED, "person", None, "")
    refuses(BirthRegistered, {**REGISTERED, "stillbirth": True, "person": None}, "person", "AZ-0003")


def test_a_name_keeps_its_script_and_takes_no_control_character() -> None:
    refuses(BirthRegistered, {**REGISTERED, "given_name": "Əli"}, "given_name", "", "a\u0000", "x" * 101)


def test_an_identity_entry_needs_all_its_fields() -> None:
    good = {"person": "AZ-0003", "document_number": "I-1", "entered_on": "2026-03-04"}
    requires(IdentityEntered, good, *good)


def test_a_benefit_is_money_with_two_decimals_in_a_currency() -> None:
    requires(BenefitAssigned, ASSIGNED, *ASSIGNED)
    refuses(BenefitAssigned, ASSIGNED, "amount", "-1.00", "1.001", "10000000000.00", "NaN", None)
    refuses(BenefitAssigned, ASSIGNED, "currency", "manat", "")


def test_each_fact_has_one_publisher_and_its_class_of_personal_data() -> None:
    assert (BirthNotified.agencies, BirthNotified.personal_data) == (("health",), PersonalData.SENSITIVE)
    assert (BirthRegistered.agencies, BirthRegistered.personal_data) == (("justice",), PersonalData.IDENTIFYING)
    assert (IdentityEntered.agencies, IdentityEntered.personal_data) == (("interior",), PersonalData.IDENTIFYING)
    assert (BenefitAssigned.agencies, BenefitAssigned.personal_data) == (("social-fund",), PersonalData.SENSITIVE)

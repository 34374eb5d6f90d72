"""Requests: created, completed, rejected."""

from __future__ import annotations

from schemas.event import PersonalData
from schemas.requests import RequestCompleted, RequestCreated, RequestRejected
from tests.schemas.contract_cases import refuses, requires

CREATED = {
    "request_id": "r-1",
    "kind": "birth_benefit",
    "subject": "AZ-0001",
    "applicant": "AZ-0002",
    "channel": "online",
}
REJECTED = {"request_id": "r-1", "kind": "x", "subject": "AZ-0001", "reason_code": "late", "reason": "Too late."}


def test_a_request_needs_number_kind_and_subject_only() -> None:
    requires(RequestCreated, CREATED, "request_id", "kind", "subject")
    requires(
        RequestCompleted, {"request_id": "r-1", "kind": "x", "subject": "AZ-0001"}, "request_id", "kind", "subject"
    )


def test_a_rejection_needs_its_reason_in_code_and_words() -> None:
    requires(RequestRejected, REJECTED, "request_id", "kind", "subject", "reason_code", "reason")
    refuses(RequestRejected, REJECTED, "reason", "", 7, None)
    refuses(RequestRejected, REJECTED, "reason_code", "Too Late", "")


def test_values_outside_their_kind_are_refused_at_the_field() -> None:
    refuses(RequestCreated, CREATED, "request_id", "", "a b", 7, None)
    refuses(RequestCreated, CREATED, "subject", "abc", "Name Surname")
    refuses(RequestCreated, CREATED, "channel", "pigeon", None)
    refuses(RequestCreated, CREATED, "wanted_by", "2026-01-01T00:00:00", "soon")
    refuses(RequestCreated, CREATED, "surname", "x")


def test_the_portal_and_the_deciding_agencies_publish_them() -> None:
    for model in (RequestCreated, RequestCompleted, RequestRejected):
        assert {"portal", "social-fund", "justice", "interior"} <= set(model.agencies)
        assert model.personal_data is PersonalData.PSEUDONYMOUS

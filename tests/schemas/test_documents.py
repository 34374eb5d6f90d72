"""Documents: issued, revoked."""

from __future__ import annotations

from schemas.documents import DocumentIssued, DocumentRevoked
from schemas.event import PersonalData
from tests.schemas.contract_cases import refuses, requires

ISSUED = {"kind": "id_card", "number": "D/1", "holder": "AZ-0001", "issued_on": "2026-03-04"}
REVOKED = {"kind": "id_card", "number": "D/1", "holder": "AZ-0001", "revoked_on": "2026-03-04", "reason_code": "lost"}


def test_what_names_a_document_is_required() -> None:
    requires(DocumentIssued, ISSUED, *ISSUED)
    requires(DocumentRevoked, REVOKED, *REVOKED)


def test_values_outside_their_kind_are_refused_at_the_field() -> None:
    refuses(DocumentIssued, ISSUED, "issued_on", "2026-02-30", "yesterday", True, None)
    refuses(DocumentIssued, ISSUED, "kind", "ID card")
    refuses(DocumentIssued, ISSUED, "number", "")
    refuses(DocumentRevoked, REVOKED, "holder", "")
    refuses(DocumentRevoked, REVOKED, "reason", "")


def test_issuers_publish_them_as_identifying_data() -> None:
    for model in (DocumentIssued, DocumentRevoked):
        assert {"justice", "interior", "portal"} <= set(model.agencies)
        assert model.personal_data is PersonalData.IDENTIFYING

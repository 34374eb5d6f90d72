"""One valid, synthetic payload per contract, as JSON data: the seed of the fuzz and of command tests."""

from __future__ import annotations

from typing import Any

VALID: dict[str, dict[str, Any]] = {
    "request.created": {"request_id": "R-1", "kind": "birth_benefit", "subject": "SYN-0001", "channel": "online"},
    "request.completed": {"request_id": "R-1", "kind": "birth_benefit", "subject": "SYN-0001", "note": "Hazırdır"},
    "request.rejected": {
        "request_id": "R-1",
        "kind": "birth_benefit",
        "subject": "SYN-0001",
        "reason_code": "not_resident",
        "reason": "Synthetic reason",
        "appeal_by": "2026-03-01T00:00:00Z",
    },
    "document.issued": {"kind": "passport", "number": "N-1", "holder": "SYN-0001", "issued_on": "2026-01-05"},
    "document.revoked": {
        "kind": "passport",
        "number": "N-1",
        "holder": "SYN-0001",
        "revoked_on": "2026-01-05",
        "reason_code": "lost",
    },
    "birth.notified": {
        "child": "SYN-0001",
        "mother": "SYN-0002",
        "father": None,
        "born_at": "2026-01-05T03:04:05+04:00",
        "sex": "female",
        "plurality": 2,
        "birth_order": 1,
        "stillborn": False,
        "weight_g": 3100,
        "facility": "CLINIC-7",
        "mother_citizenship": "AZ",
    },
    "birth.registered": {
        "record_number": "J-1",
        "stillbirth": False,
        "person": "SYN-0001",
        "mother": "SYN-0002",
        "father_recorded": False,
        "registered_on": "2026-01-06",
        "given_name": "Aytən",
    },
    "identity.entered": {"person": "SYN-0001", "document_number": "I-1", "entered_on": "2026-01-07"},
    "benefit.assigned": {
        "person": "SYN-0001",
        "request_id": "R-1",
        "kind": "birth_benefit",
        "amount": "500.00",
        "currency": "AZN",
        "assigned_on": "2026-01-08",
    },
    "deadline.missed": {"process": "birth", "step": "registered", "owner": "justice", "due": "2026-01-06T00:00:00Z"},
    "operator.acted": {
        "action": "00c0ffee00c0ffee",
        "act": "drop",
        "group": "workflow.birth",
        "part": 1,
        "planned": 1,
        "letters": ["0123456789abcdef"],
        "by": "operator",
        "reason": "sent again by the clinic",
    },
    "activity.recorded": {
        "run": "run-1",
        "activity": "Confirmation of receipt",
        "sequence": 1,
        "last": False,
        "deadline": "2026-02-01T00:00:00Z",
        "attributes": {"org:resource": "Resource21"},
        "case_attributes": {"channel": "Internet"},
    },
    "activity.followed": {"run": "run-1", "activity": "Confirmation of receipt", "sequence": 1, "last": True},
}

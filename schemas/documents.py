"""A document comes into force or leaves it; the paper itself never travels.

Published by whichever agency issues documents, each on its own topic. The trap it avoids: a number alone names no
document, since two agencies may use the same one; kind, number and the topic's owner together do.
"""

from __future__ import annotations

from datetime import date

from schemas.event import Event, PersonalData
from schemas.fields import Code, PersonRef, Reference, Text

_ISSUERS = ("portal", "health", "justice", "interior", "social-fund")


class DocumentIssued(Event, contract="document.issued", agencies=_ISSUERS, personal_data=PersonalData.IDENTIFYING):
    """A document was issued and is in force."""

    kind: Code
    """Kind of document, such as birth_certificate."""

    number: Reference
    """Number of the document at its issuer."""

    holder: PersonRef
    """The person it belongs to."""

    issued_on: date
    """Day of issue."""

    valid_until: date | None = None
    """Last day of validity; absent when it does not expire."""

    request_id: Reference | None = None
    """The request it answers, if there was one."""


class DocumentRevoked(Event, contract="document.revoked", agencies=_ISSUERS, personal_data=PersonalData.IDENTIFYING):
    """A document is no longer in force."""

    kind: Code
    """Kind of document, as issued."""

    number: Reference
    """Number of the document at its issuer."""

    holder: PersonRef
    """The person it belonged to."""

    revoked_on: date
    """First day on which it is not valid."""

    reason_code: Code
    """The reason from the issuer's code list."""

    reason: Text | None = None
    """The reason in words for people."""

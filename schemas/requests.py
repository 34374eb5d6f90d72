"""What becomes of a request: created, then completed or rejected.

Published by the portal when a citizen asks, or by an agency or workflow that opens a request of its own accord; the
agency that decides publishes the end. The trap it avoids: a rejection without a reason the citizen can read.
"""

from __future__ import annotations

from enum import StrEnum

from schemas.event import Event, PersonalData
from schemas.fields import Code, Moment, PersonRef, Reference, Text

_DECIDERS = ("portal", "health", "justice", "interior", "social-fund")


class Channel(StrEnum):
    """How a request came in."""

    ONLINE = "online"
    COUNTER = "counter"
    POST = "post"
    AUTOMATIC = "automatic"
    OTHER = "other"


class RequestCreated(Event, contract="request.created", agencies=_DECIDERS, personal_data=PersonalData.PSEUDONYMOUS):
    """Someone asks an agency for something, or a workflow asks on their behalf."""

    request_id: Reference
    """Number of the request, unique at its publisher."""

    kind: Code
    """What is asked for, such as birth_benefit."""

    subject: PersonRef
    """The person the request is about."""

    applicant: PersonRef | None = None
    """The person who asks, when another than the subject."""

    channel: Channel = Channel.AUTOMATIC
    """How the request came in; automatic when no one had to ask."""

    reason: Text | None = None
    """Why it is asked, in words for people."""

    wanted_by: Moment | None = None
    """When an answer is needed, if there is such a time."""


class RequestCompleted(
    Event, contract="request.completed", agencies=_DECIDERS, personal_data=PersonalData.PSEUDONYMOUS
):
    """A request was granted and carried out."""

    request_id: Reference
    """Number of the request, as its creator gave it."""

    kind: Code
    """What was asked for."""

    subject: PersonRef
    """The person the request was about."""

    result: Reference | None = None
    """Number of what came of it: a document, a record, a payment."""

    note: Text | None = None
    """Words for the applicant."""


class RequestRejected(Event, contract="request.rejected", agencies=_DECIDERS, personal_data=PersonalData.PSEUDONYMOUS):
    """A request was refused, with the reason."""

    request_id: Reference
    """Number of the request, as its creator gave it."""

    kind: Code
    """What was asked for."""

    subject: PersonRef
    """The person the request was about."""

    reason_code: Code
    """The reason from the agency's code list."""

    reason: Text
    """The reason in words for the applicant."""

    appeal_by: Moment | None = None
    """Until when the decision can be contested, if it can."""

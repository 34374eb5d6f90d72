"""Events of recorded case logs (XES, CSV), replayed as if they happened now.

Published by `agencybus replay`; the following workflow answers with ActivityFollowed. The trap it avoids: a log's
attributes have names and types of their own, so they travel as text under the path that led to them, never as fields.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.event import Event, PersonalData
from schemas.fields import Moment, Reference

_Activity = Annotated[str, Field(min_length=1, max_length=1000)]
_Sequence = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Key = Annotated[str, Field(min_length=1, max_length=1000)]
_Value = Annotated[str, Field(max_length=65536)]


class ActivityRecorded(
    Event, contract="activity.recorded", agencies=("replay",), personal_data=PersonalData.IDENTIFYING
):
    """One event of one case of a recorded log."""

    run: Reference
    """Id of the replay; part of every case id of it."""

    activity: _Activity
    """What was done: the log's concept:name."""

    sequence: _Sequence
    """Place of the event in its case, counted from 1."""

    last: bool
    """Whether the case has no further event."""

    deadline: Moment | None = None
    """When the case was due by its own attribute; on the first event only."""

    attributes: dict[_Key, _Value] = Field(default_factory=dict)
    """Attributes of the event as text, nested ones under their path."""

    case_attributes: dict[_Key, _Value] = Field(default_factory=dict)
    """Attributes of the case as text; on the first event only."""


class ActivityFollowed(
    Event, contract="activity.followed", agencies=("replay",), personal_data=PersonalData.PSEUDONYMOUS
):
    """The workflow took note of a recorded activity."""

    run: Reference
    """Id of the replay."""

    activity: _Activity
    """What was done."""

    sequence: _Sequence
    """Place of the event in its case, counted from 1."""

    last: bool
    """Whether the case ended with it."""

"""What the bus itself has to say, on its own topics.

Published by workflow workers and by operators' commands (`bus.redrive`, `bus.release`) under the owner name `bus`. The
trap it avoids: a missed deadline or an operator's note that names a person; the case id in the envelope, or a letter's
id, is enough to find one with the rights to look.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.event import Event, PersonalData
from schemas.fields import Code, Moment

_Owner = Annotated[str, Field(max_length=64, pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]


class DeadlineMissed(Event, contract="deadline.missed", agencies=("bus",), personal_data=PersonalData.NONE):
    """A step of a process was not done by its deadline."""

    process: Code
    """Name of the process definition."""

    step: Code
    """Name of the step in it."""

    owner: _Owner
    """The agency that owns the step."""

    due: Moment
    """When it was due."""


class OperatorAct(StrEnum):
    """What an operator did."""

    REDRIVE = "redrive"
    DROP = "drop"
    UNDO = "undo"
    RELEASE = "release"
    DISCARD = "discard"
    OTHER = "other"


ActionId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
LETTERS_AT_ONCE = 100
"""Letters one record names: few enough that an interrupted action repeats little, many enough that it is quick."""


class OperatorActed(Event, contract="operator.acted", agencies=("bus",), personal_data=PersonalData.NONE):
    """An operator acted on dead letters or parked records; a large action says so in several parts, each when done."""

    action: ActionId
    """Id of the action; all its parts carry it."""

    act: OperatorAct
    """redrive, drop and undo are of dead letters; release and discard of parked records."""

    group: Annotated[str, Field(min_length=1, max_length=249)]
    """The consumer group whose letters or parked records they are."""

    part: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """Which part of the action this is, from 1."""

    planned: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """How many letters or records the whole action was to take in this group."""

    letters: Annotated[list[ActionId], Field(max_length=LETTERS_AT_ONCE)]
    """Ids of the letters, or of the parked records, that this part did."""

    by: Annotated[str, Field(min_length=1, max_length=100)]
    """Who acted: an account or a role."""

    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Why, in the operator's words; names no citizen."""

    undone: ActionId | None = None
    """Of an undo: the action whose letters are open again."""

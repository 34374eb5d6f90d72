"""What the bus itself has to say, on its own topics.

Published by workflow workers under the owner name `bus`. The trap it avoids: a missed deadline that names a person;
the case id in the envelope is enough to find one with the rights to look.
"""

from __future__ import annotations

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

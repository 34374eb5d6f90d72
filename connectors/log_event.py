"""One event of a recorded log, as the readers (`xes`, `csv_log`) give it and the sort and the replay take it.

The trap it avoids: a value that the file states and a value that only a ``<global>`` default supplies look alike once
they are in one dictionary. They stay apart here, so that a default can be shown and never arms a deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})  # shared: most events have no defaults
UNNAMED = "UNKNOWN"  # the word the published logs' own defaults use for a missing concept:name


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """What happened in one case at one moment, with where the file says so.

    Args:
        case: name of the case, unique in the log.
        activity: ``concept:name`` of the event, or `UNNAMED`.
        time: aware, UTC; None when the file states none (a default is no time).
        attributes: what the file states of the event, flat: nested keys joined by ``/``.
        defaults: event attributes the file does not state and a ``<global>`` default supplies.
        case_attributes: what the file states of the case; on the first event read of it, maybe on later ones too.
        case_defaults: as `defaults`, of the case.
        line: 1-based line of the file where the event starts.
    """

    case: str
    activity: str
    time: datetime | None
    line: int
    attributes: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    defaults: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    case_attributes: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    case_defaults: Mapping[str, str] = field(default_factory=lambda: NOTHING)

"""The bus's errors: each says what happened, what to do, and the exit code the command line returns.

Raised everywhere above `schemas`; `bus.cli.main` turns one into a sentence and an exit code, never a traceback. Exit
codes: 1 failed, 2 usage, 3 check failed, 4 unreachable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bus import printable

MAX_SHOWN = 20  # findings of one file on a screen; the number of the others is said


class BusError(Exception):
    """Base of the errors a user sees.

    Args:
        message: what happened, one sentence.
        remedy: what to do about it, one sentence; printed after the message.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(BusError):
    """The command or call was put together wrongly."""

    exit_code = 2


class Unreachable(BusError):
    """A broker or file server does not answer; trying again later may work."""

    exit_code = 4


class Refused(BusError):
    """A rule says no: an invalid payload, a foreign topic, an unsafe setting.

    Args:
        field: the field, header or setting at fault, e.g. ``data.weight_g``.
    """

    def __init__(self, message: str, *, field: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.field = field


class OutcomeUnknown(BusError):
    """No answer before the deadline: the event may or may not be stored. Publishing the same id again is safe (F69).

    Args:
        event_id: the id to use again.
    """

    def __init__(self, message: str, *, event_id: str) -> None:
        super().__init__(message, remedy="Publish the same id again: readers keep one of two.")
        self.event_id = event_id


class Fenced(BusError):
    """Another owner has taken this partition; what this process still holds must not be written."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One fault in a checked file. `line` is 1-based, 0 when the whole file is meant.

    As text it is one line that is safe to print, whatever the file holds; message and fix are clipped to
    `bus.printable.MAX_TEXT` characters.
    """

    file: str
    line: int
    rule: str
    message: str
    fix: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable.clipped(self.message))
        object.__setattr__(self, "fix", printable.clipped(self.fix))

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return printable.line(f"{place}: {self.message} [{self.rule}] {self.fix}".rstrip())


def listed(findings: Sequence[Finding]) -> str:
    """Findings as lines; after the first `MAX_SHOWN` only how many more there are."""
    shown = [str(finding) for finding in findings[:MAX_SHOWN]]
    left = len(findings) - len(shown)
    return "\n".join([*shown, *([f"… and {left:,} more findings."] if left else [])])


class CheckFailed(BusError):
    """A file was read and found wrong; carries every finding.

    Args:
        findings: at least one.
    """

    exit_code = 3

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(listed(findings))
        self.findings = findings

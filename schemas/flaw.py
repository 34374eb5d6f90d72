"""One thing wrong with a schema. What lint and the compatibility check return and `agencybus schema` prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Flaw:
    """A finding about a schema.

    Args:
        path: the field by dots, with ``[]`` for list items and ``{}`` for map values; empty for the whole schema.
        rule: short name of the rule, for filters and tests.
        message: what is wrong, one sentence.
        fix: what to write instead.
    """

    path: str
    rule: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path or 'schema'}: {self.message} [{self.rule}] {self.fix}"

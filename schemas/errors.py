"""Errors of the schema side. Every other schemas module raises these; nothing here imports anything of ours."""

from __future__ import annotations


class SchemaSideError(Exception):
    """Base of everything the `schemas` package raises on bad input."""


class NameRefused(SchemaSideError, ValueError):
    """A name (agency, topic, case id) is outside the grammar of `schemas.names`."""


class EnvelopeRefused(SchemaSideError, ValueError):
    """CloudEvents headers are missing, malformed or doubled.

    Args:
        field: the header or attribute at fault, e.g. ``ce_time``.
        reason: one clause in plain words.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Poison(SchemaSideError, ValueError):
    """Bytes that are not one canonical encoding of their schema; any hostile input ends here and nowhere else."""


class SchemaRefused(SchemaSideError, ValueError):
    """A model or schema uses what Avro cannot carry exactly, or what our lint forbids."""


class SchemaFileRefused(SchemaRefused):
    """An `.avsc` file is no schema.

    Args:
        file: its path. line: 1-based, 0 when the whole file is meant. reason: one clause.
    """

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}:{line}: {reason}" if line else f"{file}: {reason}")
        self.file = file
        self.line = line
        self.reason = reason


class UnknownType(SchemaSideError, LookupError):
    """No event type of that topic or contract is in the catalogue."""


class EventRefused(SchemaSideError, ValueError):
    """An event is valid but cannot be carried: too large, or a value no encoding exists for."""

"""The base of every typed event: frozen, strict, refuses unknown fields.

Contracts (`schemas.birth`, `schemas.requests`, ...) subclass `Event`; the catalogue collects them. The trap it
avoids: pydantic's lax mode turns "7" into 7, so two agencies could read one payload differently.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from schemas import names
from schemas.errors import SchemaRefused


class PersonalData(StrEnum):
    """How much an event says about a person; drives topics, masking and retention."""

    NONE = "none"
    PSEUDONYMOUS = "pseudonymous"
    IDENTIFYING = "identifying"
    SENSITIVE = "sensitive"


class Part(BaseModel):
    """A nested part of an event, under the same rules as `Event` itself."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        ser_json_bytes="base64",  # bytes need not be UTF-8
        val_json_bytes="base64",
    )


class Event(Part):
    """A typed fact. Subclasses state their contract in the class line.

    Args of the class line:
        contract: ``<entity>.<fact>``, e.g. ``birth.registered``.
        major: version of the contract; a breaking change is a new major on a new topic.
        agencies: who may publish it; each gets its own topic ``<agency>.<contract>.v<major>``.
        personal_data: the class of personal data it carries.

    Raises:
        SchemaRefused: when the class line names no agency; NameRefused when a name is outside the grammar.
    """

    contract: ClassVar[str]
    major: ClassVar[int]
    agencies: ClassVar[tuple[str, ...]]
    personal_data: ClassVar[PersonalData]

    def __init_subclass__(
        cls,
        *,
        contract: str,
        agencies: tuple[str, ...],
        personal_data: PersonalData,
        major: int = 1,
        **kwargs: Any,
    ) -> None:
        """Check and keep what the class line says."""
        super().__init_subclass__(**kwargs)
        cls.contract = names.contract(contract)
        cls.major = major
        cls.agencies = tuple(names.agency(a) for a in agencies)
        cls.personal_data = personal_data
        if not agencies:
            raise SchemaRefused(f"{cls.__name__}: name at least one agency that publishes {contract}")

    @classmethod
    def topic(cls, agency: str) -> str:
        """Return the topic on which `agency` publishes this event.

        Raises:
            SchemaRefused: when that agency is not a publisher of the contract.
        """
        if agency not in cls.agencies:
            raise SchemaRefused(f"{agency} does not publish {cls.contract}; publishers: {', '.join(cls.agencies)}")
        return f"{agency}.{cls.contract}.v{cls.major}"

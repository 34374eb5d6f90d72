"""The emitter refuses what Avro cannot carry exactly, naming the field and what to write instead."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AwareDatetime, Field, StringConstraints, create_model

from schemas.errors import SchemaRefused
from schemas.event import Event, Part, PersonalData
from schemas.shape import MAX_DEPTH, Choice, Leaf, Many, Maybe, Money, Table, shape_of
from tests.schemas.samples import Colour, Everything, Place


def with_field(annotation: Any, default: Any = ..., description: str | None = "A field.") -> type[Event]:
    """A contract with the one field `x`."""
    field = Field(default, description=description)
    return create_model(
        "Sample",
        __base__=Event,
        __doc__="A sample.",
        __cls_kwargs__={"contract": "a.b", "agencies": ("lab",), "personal_data": PersonalData.NONE},
        x=(annotation, field),
    )


class Empty(Part):
    """Nothing."""


class Undocumented(Part):
    x: str
    """A field."""


class Bare(StrEnum):
    """Without fallback."""

    A = "a"


class Spaced(StrEnum):
    """With a value that is no Avro name."""

    A = "a b"
    UNKNOWN = "unknown"


class Mute(StrEnum):
    UNKNOWN = "unknown"


MANY = StrEnum("MANY", [f"v{i}" for i in range(64)] + ["unknown"])  # type: ignore[misc]


class Loop(Part):
    """Contains itself."""

    next: Loop | None = None
    """The next one."""


def deep(levels: int) -> Any:
    annotation: Any = str
    for _ in range(levels):
        annotation = list[annotation]
    return annotation


Cents = Annotated[Decimal, Field(max_digits=5, decimal_places=2)]

REFUSED: list[tuple[Any, Any, str]] = [
    (float, ..., "floats round"),
    (datetime, ..., "without a zone"),
    (time, ..., "use str"),
    (Any, ..., "state a type"),
    (None, ..., "drop the field"),
    (Decimal, ..., "max_digits"),
    (Annotated[Decimal, Field(max_digits=5)], ..., "decimal_places"),
    (Annotated[Decimal, Field(max_digits=29, decimal_places=2)], ..., "at most 28"),
    (Cents, Decimal("1.00"), "default"),
    (bytes, b"x", "default"),
    (AwareDatetime, datetime.fromisoformat("2026-01-01T00:00:00Z"), "default"),
    (str | None, ..., "= None"),
    (str | None, "x", "= None"),
    (str | int, ..., "one type per field"),
    (str | int | None, None, "one type per field"),
    (Literal["a"], ..., "use str"),
    (set[str], ..., "use str"),
    (tuple[str, ...], ..., "use str"),
    (dict[int, str], ..., "text keys"),
    (Empty, ..., "no fields"),
    (list[Empty], ..., "no bytes"),
    (Undocumented, ..., "docstring for Undocumented"),
    (Bare, ..., "'unknown' or 'other'"),
    (Spaced, ..., "letters"),
    (Mute, ..., "docstring for Mute"),
    (MANY, ..., "at most 64"),
    (Loop, ..., "contains itself"),
    (deep(MAX_DEPTH), ..., "deeper than 16"),
    (list[str], ["a"], "default"),
    (Place, Place.model_construct(street="x", since=date(2026, 1, 1)), "default"),
    (Annotated[str, StringConstraints(strip_whitespace=True)], ..., "rewriting"),
    (Annotated[str, StringConstraints(to_lower=True)] | None, None, "rewriting"),
]


@pytest.mark.parametrize(("annotation", "default", "said"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_avro_cannot_carry_is_refused_with_the_field_named(annotation: Any, default: Any, said: str) -> None:
    with pytest.raises(SchemaRefused, match=r"Sample\.x") as caught:
        shape_of(with_field(annotation, default))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "default", "shape"),
    [
        (str, "x", Leaf("string")),
        (bytes, ..., Leaf("bytes")),
        (AwareDatetime, ..., Leaf("moment")),
        (Cents, ..., Money(5, 2)),
        (Cents | None, None, Maybe(Money(5, 2))),
        (Annotated[Decimal | None, Field(max_digits=5, decimal_places=2)], None, Maybe(Money(5, 2))),
        (list[Cents], ..., Many(Money(5, 2))),
        (dict[str, bool], ..., Table(Leaf("boolean"))),
        (Colour, Colour.RED, Choice(Colour, "agencybus.a.Colour", "A colour.", "unknown")),
        (deep(MAX_DEPTH - 2), ..., None),
    ],
)
def test_what_it_can_carry_keeps_its_limits(annotation: Any, default: Any, shape: Any) -> None:
    slot = shape_of(with_field(annotation, default)).slots[0]
    assert shape is None or slot.shape == shape
    assert slot.optional == (default is not ...)


def test_a_field_without_docstring_is_refused() -> None:
    with pytest.raises(SchemaRefused, match="docstring under the field"):
        shape_of(with_field(str, description=None))


def test_a_field_with_an_alias_or_a_letter_beyond_ascii_is_refused() -> None:
    for field in ({"x": (str, Field(alias="y", description="A."))}, {"ə": (str, Field(description="A."))}):
        model: Any = create_model(
            "Sample",
            __base__=Event,
            __doc__="A sample.",
            __cls_kwargs__={"contract": "a.b", "agencies": ("lab",), "personal_data": PersonalData.NONE},
            **field,  # type: ignore[call-overload]
        )
        with pytest.raises(SchemaRefused, match="no alias"):
            shape_of(model)


def test_more_than_500_fields_are_refused() -> None:
    fields: Any = {f"f{i}": (str, Field(description="A.")) for i in range(251)}
    half = create_model("Half", __base__=Part, __doc__="Half.", **fields)
    with pytest.raises(SchemaRefused, match="500"):
        shape_of(_two(half))


def _two(part: type[Part]) -> Any:
    return create_model(
        "Two",
        __base__=Event,
        __doc__="Two.",
        __cls_kwargs__={"contract": "a.b", "agencies": ("lab",), "personal_data": PersonalData.NONE},
        one=(part, Field(description="One.")),
        two=(part, Field(description="Two.")),
    )


def test_two_classes_of_one_name_are_refused() -> None:
    other = create_model("Place", __base__=Part, __doc__="Another.", x=(str, Field(description="A.")))
    model: Any = create_model(
        "Two",
        __base__=Event,
        __doc__="Two.",
        __cls_kwargs__={"contract": "a.b", "agencies": ("lab",), "personal_data": PersonalData.NONE},
        one=(Place, Field(description="One.")),
        two=(other, Field(description="Two.")),
    )
    with pytest.raises(SchemaRefused, match="two classes are called Place"):
        shape_of(model)


def test_names_live_in_the_entitys_namespace() -> None:
    assert shape_of(Everything).name == "agencybus.sample.Everything"

"""What kind of value a field holds, read from the pydantic annotation of an event model.

`agents.evaluate` asks it for the fields of an expression, `agents.mapping` for the fields of an emitted event. The
trap it avoids: two fields that are both text but not of one shape; the bounds of a field (length, pattern, range)
belong to its kind.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from agents.expression import ExpressionFault

Word = Literal["bool", "int", "number", "text", "time", "date", "duration", "null", "list", "object", "other"]


@dataclass(frozen=True, slots=True)
class Type:
    """The kind of a value.

    Args:
        word: the kind itself. nullable: whether the value may be missing.
        choices: for an enumeration, its values.
        bounds: length, pattern and range rules, as text.
        model: for an object, its model; otherwise the annotation behind `list` and `other`.
    """

    word: Word
    nullable: bool = False
    choices: tuple[str, ...] = ()
    bounds: frozenset[str] = frozenset()
    model: Any = None

    def __str__(self) -> str:
        return f"{self.word} or null" if self.nullable and self.word != "null" else self.word


_SIMPLE: dict[Any, Word] = {
    bool: "bool",
    int: "int",
    float: "number",
    Decimal: "number",
    str: "text",
    datetime: "time",
    AwareDatetime: "time",
    date: "date",
    type(None): "null",
}


def of_field(info: FieldInfo) -> Type:
    """The type of a model's field."""
    found = of(info.annotation)
    return replace(found, bounds=found.bounds | _bounds(info.metadata))


def of(annotation: Any) -> Type:  # noqa: PLR0911  # one return per kind of annotation
    """The type of an annotation such as ``Annotated[str, Field(max_length=4)] | None``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        found = of(inner)
        return replace(found, bounds=found.bounds | _bounds(metadata))
    if origin in {Union, types.UnionType}:
        arms = [arm for arm in get_args(annotation) if arm is not type(None)]
        if len(arms) == 1:
            return replace(of(arms[0]), nullable=True)
        return Type("other", nullable=len(arms) < len(get_args(annotation)), model=annotation)
    if annotation in _SIMPLE:
        return Type(_SIMPLE[annotation])
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return Type("text", choices=tuple(str(member.value) for member in annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Type("object", model=annotation)
    if origin in {list, tuple, set, frozenset}:
        return Type("list", model=annotation)
    return Type("other", model=annotation)


def _bounds(metadata: Any) -> frozenset[str]:
    """Length, range and pattern rules, each as text; validators that only normalise do not count."""
    found: set[str] = set()
    for rule in metadata:
        if isinstance(rule, FieldInfo):
            found |= _bounds(rule.metadata)
        elif type(rule).__module__.partition(".")[0] in {"annotated_types", "pydantic"} and not callable(
            getattr(rule, "func", None)
        ):
            found.add(repr(rule))
    return frozenset(found)


def of_path(model: type[BaseModel], path: str, said: str) -> Type:
    """The type of a dotted path of fields from `model`.

    Args:
        model: where the path starts.
        path: names joined by dots.
        said: how the designer wrote it, for the message.

    Raises:
        ExpressionFault: a field is unknown, with near matches, or a value that is no object is asked for fields.
    """
    nullable = False
    current: Any = model
    found = Type("object", model=model)
    for part in path.split("."):
        if found.word != "object":
            raise ExpressionFault(f"{said}: {found.word} has no fields", "Leave out what follows the last dot.")
        fields = current.model_fields
        if part not in fields:
            near = get_close_matches(part, fields, n=3, cutoff=0.5)
            known = f"Did you mean {' or '.join(near)}?" if near else f"Fields: {', '.join(sorted(fields))}."
            raise ExpressionFault(f"{said}: {current.__name__} has no field {part!r}", known)
        found = of_field(fields[part])
        nullable = nullable or found.nullable
        current = found.model
    return replace(found, nullable=nullable)

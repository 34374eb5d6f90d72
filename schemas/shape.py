"""What a contract is made of, once pydantic's annotations are read: one tree that everything else is derived from.

Called by `schemas.avro` (the schema), `schemas.writer` and `schemas.reader` (the generated code). The trap it avoids:
a schema that says less than the model (a Decimal as text, a time cut to milliseconds), so that what is read is not
what was written. Whatever Avro cannot carry exactly is refused here, with the field and what to write instead.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from inspect import cleandoc
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin
from uuid import UUID

from pydantic import AwareDatetime
from pydantic.fields import FieldInfo

from schemas.errors import SchemaRefused
from schemas.event import Event, Part

MAX_DEPTH = 16  # research/trust.md section 4: a decoder recurses once per level
MAX_FIELDS = 500  # same place: bounds what one small payload can build
MAX_SYMBOLS = 64  # so that a symbol is one byte on the wire
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # Avro 1.12 specification, "Names"
_FALLBACKS = ("unknown", "other")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value without parts: ``string``, ``long``, ``boolean``, ``bytes``, ``date``, ``moment`` or ``uuid``."""

    kind: str


@dataclass(frozen=True, slots=True)
class Money:
    """A decimal of at most `precision` digits, `scale` of them behind the point."""

    precision: int
    scale: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One of an enumeration's values; `fallback` is what an older reader makes of a newer symbol."""

    enum: type[StrEnum]
    name: str
    doc: str
    fallback: str


@dataclass(frozen=True, slots=True)
class Many:
    """A list."""

    item: Shape


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping from text."""

    value: Shape


@dataclass(frozen=True, slots=True)
class Maybe:
    """A value that may be absent."""

    item: Shape


@dataclass(frozen=True, slots=True)
class Slot:
    """A field: `default` is its Avro form and counts only when `optional`."""

    name: str
    shape: Shape
    doc: str
    optional: bool
    default: Any


@dataclass(frozen=True, slots=True)
class Group:
    """A record: an event or a nested part of one."""

    model: type[Part]
    name: str
    doc: str
    slots: tuple[Slot, ...]


Shape: TypeAlias = Leaf | Money | Choice | Many | Table | Maybe | Group

_LEAVES: dict[object, Leaf] = {
    str: Leaf("string"),
    int: Leaf("long"),
    bool: Leaf("boolean"),
    bytes: Leaf("bytes"),
    date: Leaf("date"),
    UUID: Leaf("uuid"),
    AwareDatetime: Leaf("moment"),
}
_INSTEAD: dict[object, str] = {
    float: "floats round; write Decimal with max_digits and decimal_places, or a whole number of a smaller unit",
    datetime: "a time without a zone is ambiguous; write schemas.fields.Moment",
    type(None): "nothing to carry; drop the field",
    Any: "state a type",
}


def shape_of(model: type[Event]) -> Group:
    """Read a contract.

    Args:
        model: the contract; names in it get the namespace ``agencybus.<entity>``.

    Raises:
        SchemaRefused: naming the field, when a type, default, name or size cannot be carried exactly, or a
            docstring is missing.
    """
    return _Walk(namespace(model)).group(model, where=model.__name__, depth=1)


def namespace(model: type[Event]) -> str:
    """Return the Avro namespace of a contract: ``agencybus.`` and its entity, hyphens as underscores."""
    return f"agencybus.{model.contract.split('.')[0].replace('-', '_')}"


class _Walk:
    """One reading of one contract; remembers the names and fields it met.

    Args:
        namespace: where every name of the contract lives.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._named: dict[str, type] = {}
        self._open: list[type[Part]] = []
        self._fields = 0

    def group(self, model: type[Part], *, where: str, depth: int) -> Group:
        """The shape of `model`.

        Args:
            model: the contract or a part of it.
            where: names the place in errors, dotted.
            depth: how deep it lies, 1 for a contract.

        Raises:
            SchemaRefused: it contains itself, has no fields, or a name or field breaks a rule of `schemas.shape`.
        """
        if model in self._open:
            raise SchemaRefused(f"{where}: {model.__name__} contains itself; a decoder would recurse without bound")
        if not model.model_fields:
            raise SchemaRefused(f"{where}: {model.__name__} has no fields; a list of it would cost no bytes")
        name = self._name(model, where)
        self._open.append(model)
        slots = tuple(self._slot(n, f, where=f"{where}.{n}", depth=depth) for n, f in model.model_fields.items())
        self._open.pop()
        return Group(model, name, _doc(model, where), slots)

    def _name(self, cls: type, where: str) -> str:
        name = f"{self._namespace}.{cls.__name__}"
        if self._named.setdefault(name, cls) is not cls:
            raise SchemaRefused(f"{where}: two classes are called {cls.__name__}; rename one")
        return name

    def _slot(self, name: str, field: FieldInfo, *, where: str, depth: int) -> Slot:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise SchemaRefused(f"{where}: more than {MAX_FIELDS} fields; split the event")
        if not _NAME.fullmatch(name) or field.alias or field.validation_alias or field.serialization_alias:
            raise SchemaRefused(f"{where}: use ASCII letters, digits and _ for a field name, and no alias")
        if not field.description:
            raise SchemaRefused(f"{where}: write a docstring under the field; it is what other agencies read")
        shape = self._shape(field.annotation, field.metadata, where=where, depth=depth)
        optional, default = _default(field, shape, where)
        return Slot(name, shape, " ".join(field.description.split()), optional, default)

    def _shape(self, annotation: Any, metadata: Iterable[Any], *, where: str, depth: int) -> Shape:
        if depth >= MAX_DEPTH:
            raise SchemaRefused(f"{where}: nested deeper than {MAX_DEPTH}; flatten the event")
        metadata = list(_flat(metadata))
        if get_origin(annotation) is Annotated:
            inner, *more = get_args(annotation)
            return self._shape(inner, [*metadata, *_flat(more)], where=where, depth=depth)
        _refuse_rewriting(metadata, where)
        args = get_args(annotation)
        if get_origin(annotation) in {Union, types.UnionType}:
            return Maybe(self._optional(args, metadata, where=where, depth=depth + 1))
        if get_origin(annotation) is list:
            return Many(self._shape(args[0], (), where=f"{where}[]", depth=depth + 1))
        if get_origin(annotation) is dict:
            if self._shape(args[0], (), where=where, depth=depth) != Leaf("string"):
                raise SchemaRefused(f"{where}: Avro maps have text keys; write dict[str, ...]")
            return Table(self._shape(args[1], (), where=f"{where}{{}}", depth=depth + 1))
        return self._plain(annotation, metadata, where=where, depth=depth)

    def _optional(self, args: tuple[Any, ...], metadata: list[Any], *, where: str, depth: int) -> Shape:
        others = [a for a in args if a is not type(None)]
        if len(others) != 1 or len(args) != 2:
            raise SchemaRefused(f"{where}: only X | None; write one type per field")
        return self._shape(others[0], metadata, where=where, depth=depth)

    def _plain(self, annotation: Any, metadata: list[Any], *, where: str, depth: int) -> Shape:
        if leaf := _LEAVES.get(annotation):
            return leaf
        if annotation is Decimal:
            return _money(metadata, where)
        if isinstance(annotation, type) and issubclass(annotation, StrEnum):
            return self._choice(annotation, where)
        if isinstance(annotation, type) and issubclass(annotation, Part):
            return self.group(annotation, where=where, depth=depth + 1)
        instead = _INSTEAD.get(
            annotation, "use str, int, bool, Decimal, date, Moment, UUID, a StrEnum, Part, list, dict"
        )
        raise SchemaRefused(f"{where}: {getattr(annotation, '__name__', annotation)}: {instead}")

    def _choice(self, enum: type[StrEnum], where: str) -> Choice:
        symbols = [member.value for member in enum]
        if len(symbols) > MAX_SYMBOLS or not all(_NAME.fullmatch(s) for s in symbols):
            raise SchemaRefused(
                f"{where}: {enum.__name__}: at most {MAX_SYMBOLS} values of ASCII letters, digits and _"
            )
        fallback = next((f for f in _FALLBACKS if f in symbols), None)
        if fallback is None:
            raise SchemaRefused(
                f"{where}: {enum.__name__} needs a value 'unknown' or 'other': what older readers make of newer values"
            )
        return Choice(enum, self._name(enum, where), _doc(enum, where), fallback)


def _doc(cls: type, where: str) -> str:
    text = cls.__dict__.get("__doc__")
    if not text:
        raise SchemaRefused(f"{where}: write a docstring for {cls.__name__}; it is what other agencies read")
    return " ".join(cleandoc(text).split("\n\n")[0].split())


def _flat(metadata: Iterable[Any]) -> Iterable[Any]:
    """Open the FieldInfo objects that stand inside Annotated, down to single constraints."""
    for entry in metadata:
        if isinstance(entry, FieldInfo):
            yield from _flat(entry.metadata)
        else:
            yield entry


def _refuse_rewriting(metadata: list[Any], where: str) -> None:
    """A constraint that changes the text would make what is read differ from what was written."""
    for entry in metadata:
        if any(getattr(entry, name, None) for name in ("strip_whitespace", "to_lower", "to_upper")):
            raise SchemaRefused(f"{where}: rewriting text hides what was sent; use a pattern instead")


def _money(metadata: list[Any], where: str) -> Money:
    digits = [m.max_digits for m in metadata if getattr(m, "max_digits", None) is not None]
    places = [m.decimal_places for m in metadata if getattr(m, "decimal_places", None) is not None]
    if not digits or not places or not 0 <= places[-1] <= digits[-1] <= 28:
        raise SchemaRefused(f"{where}: Decimal needs max_digits (at most 28) and decimal_places")
    return Money(digits[-1], places[-1])


def _default(field: FieldInfo, shape: Shape, where: str) -> tuple[bool, Any]:
    """Return whether a field has a default, and its Avro form."""
    if isinstance(shape, Maybe):
        if field.is_required() or field.get_default(call_default_factory=True, validated_data={}) is not None:
            raise SchemaRefused(f"{where}: what may be absent has the default None; write `= None`")
        return True, None
    if field.is_required():
        return False, None
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(shape, Choice) and isinstance(default, shape.enum):
        return True, default.value
    if shape in {Leaf("string"), Leaf("long"), Leaf("boolean")} and isinstance(default, str | int):
        return True, default
    if isinstance(shape, Many | Table) and default in ([], {}):
        return True, default
    raise SchemaRefused(f"{where}: Avro cannot carry this default exactly; make it `X | None` with `= None`")

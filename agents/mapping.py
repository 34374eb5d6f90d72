"""Builds the function that fills an emitted event, and proves that what it fills fits the event's model.

Called by `agents.gather` for every `with`. What is a literal and what a reference is decided by form alone: text that
begins with ``=`` is an expression, text of the shape ``name.field`` is a reference, anything else is a literal (write
``= 'a.b'`` for literal text with that shape). The trap it avoids: a misspelt name that goes out as a literal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from agents import evaluate, kinds
from agents.evaluate import Checked, Scope
from agents.expression import Const, ExpressionFault, Path, parse
from agents.graph import Fill, Json, Values
from agents.kinds import Type
from schemas.source import Source

_REFERENCE = re.compile(r"[a-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_ASSIGNABLE = frozenset({("int", "number")})


@dataclass(frozen=True, slots=True)
class Mapped:
    """A checked mapping.

    Args:
        fill: its function. paths: what it reads. form: what it does as text, for the content hash.
    """

    fill: Fill
    paths: frozenset[Path]
    form: str


@dataclass(frozen=True, slots=True)
class MappingFault:
    """One fault, with the field at fault (empty: the mapping as a whole)."""

    field: str
    message: str
    fix: str


def build(model: type[BaseModel], given: Mapping[str, Any], scope: Scope) -> Mapped | list[MappingFault]:
    """Check `given` against `model` and build its function.

    Args:
        model: the event's contract.
        given: field -> literal, reference or expression, as under ``with``.
        scope: what the expressions can name.

    Returns:
        The mapping, or everything that is wrong with it.
    """
    faults: list[MappingFault] = []
    source = Source()
    parts: list[str] = []
    paths: set[Path] = set()
    form: list[str] = []
    for name, value in given.items():
        try:
            read, used, text = _field(model, name, value, scope)
        except ExpressionFault as fault:
            faults.append(MappingFault(name, fault.message, fault.fix))
            continue
        parts.append(f"{name!r}: {_written(read, source)}")
        paths |= used
        form.append(f"{name}: {text}")
    for name, info in model.model_fields.items():
        if info.is_required() and name not in given:
            faults.append(MappingFault("", f"{model.__name__} needs the field {name!r}", f"Add {name} under `with`."))
    if faults:
        return faults
    source.put("def fill(values):", 0)
    source.put(f"return {{{', '.join(parts)}}}", 1)
    return Mapped(source.run(title=f"fields of {model.__name__}")[0]["fill"], frozenset(paths), "; ".join(sorted(form)))


def _written(read: Path | Callable[[Values], Json], source: Source) -> str:
    """A field's value as Python source: a reference stands there itself, anything else is called."""
    if isinstance(read, Path):
        return f"values[{read.name!r}][{read.field!r}]"
    name = source.fresh()
    source.scope[name] = read
    return f"{name}(values)"


def _field(
    model: type[BaseModel], name: str, value: Any, scope: Scope
) -> tuple[Path | Callable[[Values], Json], frozenset[Path], str]:
    info = model.model_fields.get(name)
    if info is None:
        near = get_close_matches(name, model.model_fields, n=3, cutoff=0.5)
        known = f"Did you mean {' or '.join(near)}?" if near else f"Fields: {', '.join(sorted(model.model_fields))}."
        raise ExpressionFault(f"{model.__name__} has no field {name!r}", known)
    text = _expression(value)
    if text is None:
        _literal(name, info, value)
        return (lambda _: value), frozenset(), f"literal {to_json(value).decode()}"
    part = evaluate.check(parse(text), scope)
    if isinstance(part.tree, Const):
        constant = part.run({})
        _literal(name, info, constant if isinstance(constant, (str, int, bool)) or constant is None else str(constant))
    else:
        _assignable(name, text, part, kinds.of_field(info))
    read = part.tree if isinstance(part.tree, Path) else evaluate.as_json(part)  # what a path names is JSON already
    return read, part.paths, repr(part.tree)


def _expression(value: Any) -> str | None:
    """The text of an expression or reference, None for a literal."""
    if not isinstance(value, str):
        return None
    if value.startswith("="):
        return value[1:]
    return value if _REFERENCE.fullmatch(value) else None


def _literal(name: str, info: FieldInfo, value: Any) -> None:
    field: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(field)
    try:
        adapter.validate_json(to_json(value), strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ExpressionFault(f"{name}: {value!r} does not fit: {reason}", "Write a value the field allows.") from None


def _assignable(name: str, text: str, part: Checked, wanted: Type) -> None:
    found = part.type
    said = text.strip()
    if found.nullable and not wanted.nullable:
        raise ExpressionFault(
            f"{name}: {said} may be missing, but the field is required",
            f"Ask before: a switch arm with `when: {said} is null`, or `where: {said} is not null` on the listen.",
        )
    if found.word != wanted.word and (found.word, wanted.word) not in _ASSIGNABLE:
        raise ExpressionFault(f"{name}: {said} is {found.word}, the field takes {wanted.word}", "Map another field.")
    if found.word in {"object", "list", "other"} and found.model != wanted.model:
        raise ExpressionFault(f"{name}: {said} is another {found.word} than the field takes", "Map its fields.")
    if wanted.choices and not (found.choices and set(found.choices) <= set(wanted.choices)):
        raise ExpressionFault(
            f"{name}: {said} can have values the field does not allow", f"Allowed: {', '.join(wanted.choices)}."
        )
    loose = wanted.bounds - found.bounds
    if loose and not found.choices:
        raise ExpressionFault(
            f"{name}: {said} is not bound to the rules of the field ({', '.join(sorted(loose))})",
            "Map a field of the same kind, such as a Reference to a Reference.",
        )

"""Checks an expression against the events in scope and turns it into a function of the case's values.

Called by `agents.walk` for guards, `agents.timing` for deadlines and `agents.mapping` for what is emitted. A missing
value makes every order comparison false, equals nothing but another missing value, and makes a sum missing. The trap it
avoids: text compared with a number or a code that no list holds, which is silently never true.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from itertools import product
from math import prod
from typing import Any, TypeAlias

from agents import kinds
from agents.expression import (
    All,
    AnyOf,
    Comparison,
    Const,
    Duration,
    ExpressionFault,
    In,
    IsNull,
    Not,
    Path,
    Sum,
    Tree,
)
from agents.graph import Guard, Json, Values
from agents.kinds import Type
from schemas.envelope import format_time
from schemas.event import Event

Run: TypeAlias = Callable[[Values], Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICRO
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICRO
_DAY = 86_400 * 1_000_000
_ORDERED = frozenset({"int", "number", "text", "time", "date", "duration"})
_SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
MAX_COMBINATIONS = 4096
CASE_FIELDS: Mapping[str, Type] = {"id": Type("text"), "opened": Type("time")}
DEADLINE_FIELDS: Mapping[str, Type] = {"due": Type("time")}


@dataclass(frozen=True, slots=True)
class Binding:
    """A name in scope.

    Args:
        source: the topic of the event behind it, or ``case`` or ``deadline``.
        fields: its event model, or the fields themselves.
        certain: whether it is bound on every way that leads here.
    """

    source: str
    fields: type[Event] | Mapping[str, Type]
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression can name at one place of a process.

    Args:
        names: the bindings. present: paths known not to be missing here, since a condition has asked.
    """

    names: Mapping[str, Binding]
    present: frozenset[Path] = frozenset()

    def bind(self, name: str, binding: Binding) -> Scope:
        """The scope with one more name; what was known of an older binding of that name is forgotten."""
        return Scope({**self.names, name: binding}, frozenset(path for path in self.present if path.name != name))

    def knowing(self, paths: Iterable[Path]) -> Scope:
        """The scope in which these paths are known not to be missing."""
        return Scope(self.names, self.present | frozenset(paths))

    @staticmethod
    def merged(scopes: list[Scope]) -> Scope:
        """What holds whichever of the ways was taken."""
        names: dict[str, Binding] = {}
        for scope in scopes:
            names.update(scope.names)
        for name, binding in names.items():
            sure = all(
                (found := s.names.get(name)) and found.certain and found.source == binding.source for s in scopes
            )
            names[name] = Binding(binding.source, binding.fields, certain=sure)
        return Scope(names, frozenset.intersection(*(s.present for s in scopes)))


@dataclass(frozen=True, slots=True)
class Checked:
    """A checked expression.

    Args:
        tree: what was parsed. type: what it gives. run: its function, times as microseconds since 1970.
        paths: every path it reads.
    """

    tree: Tree
    type: Type
    run: Run
    paths: frozenset[Path] = field(default_factory=frozenset)

    def guard(self) -> Guard:
        """The condition as a function; a missing value counts as false."""
        run = self.run
        return lambda values: run(values) is True


def check(tree: Tree, scope: Scope) -> Checked:  # noqa: PLR0911  # one return per kind of node
    """Check `tree` in `scope`.

    Raises:
        ExpressionFault: an unknown or perhaps unbound name, an unknown field, or kinds that do not go together.
    """
    match tree:
        case Const():
            return Checked(tree, _constant(tree), _just(tree.value))
        case Duration():
            return Checked(tree, Type("duration"), _just(tree.seconds * 1_000_000))
        case Path():
            found = type_of(tree, scope)
            return Checked(tree, found, _reader(tree, found), frozenset({tree}))
        case Not():
            part = _boolean(check(tree.of, scope))
            return Checked(tree, Type("bool"), _negated(part.run), part.paths)
        case All() | AnyOf():
            return _joined(tree, scope)
        case IsNull():
            part = check(tree.of, scope)
            return Checked(tree, Type("bool"), _missing(part), part.paths)
        case In():
            return _listed(tree, scope)
        case Comparison():
            return _compared(tree, scope)
        case Sum():
            return _summed(tree, scope)


def condition(tree: Tree, scope: Scope) -> Checked:
    """Check `tree` as a condition.

    Raises:
        ExpressionFault: as `check`, or when it is no condition.
    """
    return _boolean(check(tree, scope))


def type_of(path: Path, scope: Scope) -> Type:
    """The type of a path in scope.

    Raises:
        ExpressionFault: as `check`.
    """
    binding = scope.names.get(path.name)
    if binding is None:
        near = get_close_matches(path.name, scope.names, n=3, cutoff=0.5)
        known = f"Did you mean {' or '.join(near)}?" if near else f"Names here: {', '.join(sorted(scope.names))}."
        raise ExpressionFault(f"{path}: nothing is named {path.name!r} at this place", known)
    if not binding.certain:
        raise ExpressionFault(
            f"{path}: {path.name!r} is not bound on every way that leads here",
            "Use it inside the branch that binds it, or bind it before the branches part.",
        )
    if not path.field:
        raise ExpressionFault(f"{path}: a whole event is no value", f"Name a field of it: {path.name}.<field>.")
    if isinstance(binding.fields, Mapping):
        if path.field not in binding.fields:
            raise ExpressionFault(
                f"{path} is unknown", f"Known: {', '.join(f'{path.name}.{f}' for f in binding.fields)}."
            )
        return binding.fields[path.field]
    if path.field == "time" and "time" not in binding.fields.model_fields:
        return Type("time")
    found = kinds.of_path(binding.fields, path.field, str(path))
    return replace(found, nullable=False) if path in scope.present else found


def present_if(tree: Tree, *, holds: bool) -> frozenset[Path]:
    """The paths that cannot be missing when `tree` is true (`holds`) or false."""
    match tree:
        case Not():
            return present_if(tree.of, holds=not holds)
        case IsNull(of=Path() as path):
            return frozenset() if holds else frozenset({path})
        case All() if holds:
            return frozenset().union(*(present_if(part, holds=True) for part in tree.parts))
        case AnyOf() if not holds:
            return frozenset().union(*(present_if(part, holds=False) for part in tree.parts))
    return frozenset()


def uncovered(conditions: list[Checked], scope: Scope) -> tuple[str | None, list[int]] | None:
    """Whether conditions cover every value, when they speak of finitely many.

    Returns:
        None when that cannot be decided (numbers, text, times); else an example no condition covers (None: all are
        covered) and the places of conditions that are never the first to hold.
    """
    paths = sorted({path for part in conditions for path in part.paths}, key=str)
    domains = [_domain(path, conditions, scope) for path in paths]
    if any(not domain for domain in domains) or prod(len(domain) for domain in domains) > MAX_COMBINATIONS:
        return None
    guards = [part.guard() for part in conditions]
    hit: set[int] = set()
    example: str | None = None
    for choice in product(*domains):
        values: dict[str, dict[str, Json]] = {}
        for path, value in zip(paths, choice, strict=True):
            values.setdefault(path.name, {})[path.field] = value
        first = next((place for place, guard in enumerate(guards) if guard(values)), None)
        if first is not None:
            hit.add(first)
        elif example is None:
            example = ", ".join(f"{path} = {value}" for path, value in zip(paths, choice, strict=True)) or "always"
    return example, [place for place in range(len(conditions)) if place not in hit]


def _domain(path: Path, conditions: list[Checked], scope: Scope) -> list[Json]:
    """The values that matter of a path, empty when they cannot be listed."""
    found = type_of(path, scope)
    domain: list[Json]
    if found.word == "bool":
        domain = [True, False]
    elif found.choices:
        domain = list(found.choices)
    elif all(_asks_only_null(part.tree, path) for part in conditions):
        domain = ["present"]
    else:
        return []
    return [*domain, None] if found.nullable else domain


def _asks_only_null(tree: Tree, path: Path) -> bool:
    """Whether every use of `path` in `tree` asks no more than whether it is missing."""
    match tree:
        case Path():
            return tree != path
        case IsNull(of=Path()) | Const() | Duration():
            return True
        case Not() | IsNull() | In():
            return _asks_only_null(tree.of, path)
        case All() | AnyOf():
            return all(_asks_only_null(part, path) for part in tree.parts)
        case Comparison() | Sum():
            return _asks_only_null(tree.left, path) and _asks_only_null(tree.right, path)


def _just(value: Any) -> Run:
    return lambda _: value


def _constant(tree: Const) -> Type:
    if tree.value is None:
        return Type("null", nullable=True)
    if isinstance(tree.value, bool):
        return Type("bool")
    if isinstance(tree.value, int):
        return Type("int")
    return Type("text") if isinstance(tree.value, str) else Type("number")


def _micros(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // _MICRO


def _days(text: str) -> int:
    return (date.fromisoformat(text) - _EPOCH.date()).days * _DAY


def _reader(path: Path, found: Type) -> Run:
    name, key = path.name, path.field
    convert: Callable[[Any], Any] | None = {"time": _micros, "date": _days}.get(found.word)
    if found.word == "number":
        convert = lambda value: Decimal(str(value))  # noqa: E731  # one of three converters
    if convert is None:
        return lambda values: values[name][key]

    def converted(values: Values) -> Any:
        value = values[name][key]
        return None if value is None else convert(value)

    return converted


def _boolean(part: Checked) -> Checked:
    if part.type.word != "bool":
        raise ExpressionFault(f"{part.type} is no condition", "Compare it with something, such as name.field == 'x'.")
    return part


def _negated(run: Run) -> Run:
    return lambda values: run(values) is not True


def _missing(part: Checked) -> Run:
    if isinstance(part.tree, Path):
        name, key = part.tree.name, part.tree.field
        return lambda values: values[name][key] is None
    run = part.run
    return lambda values: run(values) is None


def _joined(tree: All | AnyOf, scope: Scope) -> Checked:
    """And, or. A later part knows what the earlier ones have asked."""
    parts: list[Checked] = []
    for branch in tree.parts:
        parts.append(_boolean(check(branch, scope)))
        scope = scope.knowing(present_if(branch, holds=isinstance(tree, All)))
    runs = tuple(part.run for part in parts)
    paths = frozenset().union(*(part.paths for part in parts))
    if isinstance(tree, All):
        return Checked(tree, Type("bool"), lambda values: all(run(values) is True for run in runs), paths)
    return Checked(tree, Type("bool"), lambda values: any(run(values) is True for run in runs), paths)


def _listed(tree: In, scope: Scope) -> Checked:
    part = check(tree.of, scope)
    items = frozenset(_matching(part.type, check(item, scope)).run({}) for item in tree.among)
    run = part.run
    return Checked(tree, Type("bool"), lambda values: run(values) in items, part.paths)


def _compared(tree: Comparison, scope: Scope) -> Checked:
    left, right = check(tree.left, scope), check(tree.right, scope)
    if "null" in {left.type.word, right.type.word}:
        raise ExpressionFault("a comparison with null", "Write `is null` or `is not null`.")
    right = _matching(left.type, right)
    left = _matching(right.type, left)
    ordered = tree.sign not in {"==", "!="}
    if ordered and left.type.word not in _ORDERED:
        raise ExpressionFault(f"{left.type} has no order", "Write == or !=.")
    if left.type.word in {"object", "list", "other"}:
        raise ExpressionFault(f"{left.type} cannot be compared", "Compare a field of it.")
    one, two, sign = left.run, right.run, _SIGNS[tree.sign]

    def compared(values: Values) -> bool:
        a, b = one(values), two(values)
        return not (ordered and (a is None or b is None)) and sign(a, b)

    return Checked(tree, Type("bool"), compared, left.paths | right.paths)


def _matching(wanted: Type, part: Checked) -> Checked:
    """`part` as something comparable with `wanted`: a text literal becomes a time or a date, a code is looked up.

    Raises:
        ExpressionFault: when it is not comparable.
    """
    literal = part.tree.value if isinstance(part.tree, Const) else None
    if isinstance(literal, str) and wanted.word in {"time", "date"}:
        try:
            value = _micros(literal) if wanted.word == "time" else _days(literal)
        except (ValueError, TypeError):
            shape = "2026-01-31T12:00:00Z" if wanted.word == "time" else "2026-01-31"
            raise ExpressionFault(f"{literal!r} is no {wanted.word}", f"Write it as '{shape}'.") from None
        return Checked(part.tree, Type(wanted.word), _just(value))
    if isinstance(literal, str) and wanted.choices and literal not in wanted.choices:
        near = get_close_matches(literal, wanted.choices, n=1)
        fix = f"Did you mean '{near[0]}'?" if near else f"Values: {', '.join(wanted.choices)}."
        raise ExpressionFault(f"{literal!r} is none of the values this field can have", fix)
    if {part.type.word, wanted.word} in ({"int", "number"}, {part.type.word}):
        return part
    raise ExpressionFault(f"{wanted.word} and {part.type.word} cannot be compared", "Compare two values of one kind.")


_SUMS: Mapping[tuple[str, str, str], kinds.Word] = {
    ("time", "+", "duration"): "time",
    ("time", "-", "duration"): "time",
    ("time", "-", "time"): "duration",
    ("date", "+", "duration"): "date",
    ("date", "-", "duration"): "date",
    ("date", "-", "date"): "duration",
    ("duration", "+", "duration"): "duration",
    ("duration", "-", "duration"): "duration",
    ("int", "+", "int"): "int",
    ("int", "-", "int"): "int",
}


def _summed(tree: Sum, scope: Scope) -> Checked:
    left, right = check(tree.left, scope), check(tree.right, scope)
    kind = _SUMS.get((left.type.word, tree.sign, right.type.word))
    if kind is None and {left.type.word, right.type.word} <= {"int", "number"}:
        kind = "number"
    if kind is None:
        raise ExpressionFault(
            f"{left.type.word} {tree.sign} {right.type.word} means nothing", "Add a stretch of time, e.g. + 3 days."
        )
    if kind == "date" and isinstance(right.tree, Duration) and right.tree.seconds % 86_400:
        raise ExpressionFault("a date has no hours", "Add whole days.")
    one, two = left.run, right.run
    plus = tree.sign == "+"

    def summed(values: Values) -> Any:
        a, b = one(values), two(values)
        if a is None or b is None:
            return None
        return a + b if plus else a - b

    nullable = left.type.nullable or right.type.nullable
    return Checked(tree, Type(kind, nullable), summed, left.paths | right.paths)


def as_json(part: Checked) -> Callable[[Values], Json]:
    """The value of an expression as JSON: times as RFC 3339 in UTC, dates as ISO 8601, decimals as text."""
    run = part.run
    if part.type.word == "time":
        return lambda values: _or_none(run(values), lambda us: format_time(_moment(us)))
    if part.type.word == "date":
        return lambda values: _or_none(run(values), lambda us: _moment(us).date().isoformat())
    if part.type.word == "number":
        return lambda values: _or_none(run(values), str)
    return run


def _moment(us: int) -> datetime:
    """The time `us` microseconds from 1970, held within the years 1 to 9999 that a datetime knows."""
    return _EPOCH + max(_FIRST, min(_LAST, us)) * _MICRO


def _or_none(value: Any, text: Callable[[Any], str]) -> str | None:
    return None if value is None else text(value)

"""The text of a condition or value, parsed into a small tree. No evaluation here, and never Python's eval.

`agents.evaluate` checks the tree against the event models and turns it into a function. The grammar, weakest first:

    or  ->  and  ->  not  ->  comparison  ->  sum  ->  atom
    comparison:  sum [ == | != | < | <= | > | >= sum ]  |  sum [not] in [a, b, ...]  |  sum is [not] null
    sum:         atom { + | - atom }
    atom:        name.field.field | 'text' | "text" | 12 | 1.5 | true | false | null | 3 days | (or)

The traps it avoids: chained comparisons that mean something else than they seem to (refused), and hostile input: the
length and the depth of a text are bounded before any recursion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal as Words
from typing import NamedTuple, TypeAlias

MAX_LENGTH = 2000
MAX_DEPTH = 32

Compare: TypeAlias = Words["==", "!=", "<", "<=", ">", ">="]
_COMPARE = ("==", "!=", "<", "<=", ">", ">=")
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)(?![A-Za-z0-9_.])"
    r"|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<path>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)"
    r"|(?P<sign>==|!=|<=|>=|[<>()\[\],+-]))"
)


class ExpressionFault(Exception):
    """A text that is no expression, or one that does not fit the events it speaks of.

    Args:
        message: what is wrong. fix: what to write instead.
    """

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Const:
    """A text, number, truth value or null."""

    value: str | int | Decimal | bool | None


@dataclass(frozen=True, slots=True)
class Duration:
    """A stretch of time in whole seconds."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Path:
    """A field of a bound event: the name, then field names joined by dots."""

    name: str
    field: str

    def __str__(self) -> str:
        return f"{self.name}.{self.field}" if self.field else self.name


@dataclass(frozen=True, slots=True)
class Not:
    """True when `of` is not."""

    of: Tree


@dataclass(frozen=True, slots=True)
class All:
    """``and``."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """``or``."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two values and a sign between them."""

    sign: Compare
    left: Tree
    right: Tree


@dataclass(frozen=True, slots=True)
class In:
    """Whether a value is one of those listed."""

    of: Tree
    among: tuple[Const, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    """Whether a value is missing."""

    of: Tree


@dataclass(frozen=True, slots=True)
class Sum:
    """Plus or minus, on numbers, times and stretches of time."""

    sign: Words["+", "-"]
    left: Tree
    right: Tree


Tree: TypeAlias = Const | Duration | Path | Not | All | AnyOf | Comparison | In | IsNull | Sum


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


def parse(text: str) -> Tree:
    """Parse one expression.

    Raises:
        ExpressionFault: when it is empty, too long, too deep or not in the grammar.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionFault(f"the expression is longer than {MAX_LENGTH} characters", "Split it into several steps.")
    parser = _Parser(_tokens(text))
    tree = parser.either()
    parser.done()
    return tree


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    place = 0
    end = len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            rest = text[place:].lstrip()
            raise ExpressionFault(f"{rest[:20]!r} is not understood (character {place + 1})", _hint(rest))
        tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
        place = found.end()
    return tokens


def _hint(rest: str) -> str:
    if rest.startswith("="):
        return "Write == to compare."
    if rest.startswith(("&", "|", "!")):
        return "Write and, or, not."
    if rest.startswith(("'", '"')):
        return "Close the quotation mark."
    return "Use names, quoted text, numbers, == != < <= > >=, and, or, not, in [..], is null, + and -."


@dataclass(slots=True)
class _Parser:
    """Recursive descent; `depth` bounds the recursion."""

    tokens: list[_Token]
    at: int = 0
    depth: int = field(default=0)

    def peek(self) -> str:
        """The next token's text, "" at the end; quoted text never equals a keyword since it keeps its quotes."""
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def take(self, *texts: str) -> bool:
        """Take the next tokens if they are these."""
        found = tuple(token.text for token in self.tokens[self.at : self.at + len(texts)])
        if found != texts:
            return False
        self.at += len(texts)
        return True

    def need(self, text: str) -> None:
        if not self.take(text):
            raise ExpressionFault(
                f"expected {text!r} before {self.peek() or 'the end'!r}", f"Write the missing {text}."
            )

    def done(self) -> None:
        if self.at < len(self.tokens):
            token = self.tokens[self.at]
            raise ExpressionFault(
                f"{token.text[:40]!r} is too much (character {token.place + 1})",
                "Join conditions with and/or; compare two values at a time.",
            )

    def either(self) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionFault(
                f"the expression nests deeper than {MAX_DEPTH} levels", "Split it into several steps."
            )
        parts = [self.both()]
        while self.take("or"):
            parts.append(self.both())
        self.depth -= 1
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def both(self) -> Tree:
        parts = [self.negation()]
        while self.take("and"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def negation(self) -> Tree:
        count = 0
        while self.take("not"):
            count += 1
        tree = self.comparison()
        return Not(tree) if count % 2 else tree

    def comparison(self) -> Tree:
        left = self.sum()
        if self.take("is", "not", "null"):
            return Not(IsNull(left))
        if self.take("is", "null"):
            return IsNull(left)
        if self.take("not", "in"):
            return Not(In(left, self.among()))
        if self.take("in"):
            return In(left, self.among())
        for sign in _COMPARE:
            if self.take(sign):
                return Comparison(sign, left, self.sum())  # type: ignore[arg-type]  # the table holds the signs
        return left

    def among(self) -> tuple[Const, ...]:
        self.need("[")
        items: list[Const] = []
        while not items or self.take(","):
            item = self.atom()
            if not isinstance(item, Const) or item.value is None:
                raise ExpressionFault("a list holds text, numbers, true and false only", "Write, e.g., in ['a', 'b'].")
            items.append(item)
        self.need("]")
        return tuple(items)

    def sum(self) -> Tree:
        left = self.atom()
        while self.peek() in {"+", "-"}:
            sign: Words["+", "-"] = "+" if self.take("+") else "-"
            if sign == "-":
                self.at += 1
            left = Sum(sign, left, self.atom())
        return left

    def atom(self) -> Tree:
        if self.at >= len(self.tokens):
            raise ExpressionFault("the expression ends too early", "Write a name.field, a text or a number.")
        token = self.tokens[self.at]
        self.at += 1
        if token.kind == "text":
            return Const(token.text[1:-1])
        if token.kind == "number":
            return self.number(token.text)
        if token.kind == "path":
            return self.word(token.text)
        if token.text == "(":
            tree = self.either()
            self.need(")")
            return tree
        if token.text == "-" and self.at < len(self.tokens) and self.tokens[self.at].kind == "number":
            return Const(-self.magnitude())
        raise ExpressionFault(f"{token.text!r} is out of place", "Write a name.field, a text or a number here.")

    def magnitude(self) -> int | Decimal:
        """Take the number after a minus sign."""
        text = self.tokens[self.at].text
        self.at += 1
        return Decimal(text) if "." in text else int(text)

    def number(self, text: str) -> Tree:
        unit = self.peek().removesuffix("s")
        if unit in UNITS and self.tokens[self.at].kind == "path":
            if "." in text or len(text) > 9:
                raise ExpressionFault(f"{text} {self.peek()} is no whole number of days", "Write a whole number.")
            self.at += 1
            return Duration(int(text) * UNITS[unit])
        return Const(Decimal(text) if "." in text else int(text))

    def word(self, text: str) -> Tree:
        if text in {"true", "false", "null"}:
            return Const({"true": True, "false": False, "null": None}[text])
        if text in {"and", "or", "not", "in", "is"}:
            raise ExpressionFault(f"{text!r} is out of place", "Write a name.field, a text or a number here.")
        name, _, rest = text.partition(".")
        return Path(name, rest)

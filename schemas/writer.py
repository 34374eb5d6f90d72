"""Writes, as Python source, the function that turns one contract's events into Avro bytes.

Called by the codec once per contract. The obvious way (model_dump, then fastavro) walks the event twice and asks of
every value what it is; the generated function knows. The trap it avoids: bytes of its own invention, so the tests hold
it byte for byte to fastavro.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

from schemas.shape import Choice, Group, Leaf, Many, Maybe, Money, Shape, Table
from schemas.source import Source
from schemas.varint import LAST, long

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = date(1970, 1, 1).toordinal()
EXACT = Context(prec=60, traps=[InvalidOperation, Inexact])  # wider than any contract's 28 digits, and never rounds
_DAYS: dict[date, bytes] = {}  # as the reader's: most events are about a few thousand days
_MOST_DAYS = 4096
_LAST_MICRO = (datetime.max.replace(tzinfo=UTC) - EPOCH).days * 86_400_000_000 + 86_399_999_999
_FIRST_MICRO = (datetime.min.replace(tzinfo=UTC) - EPOCH).days * 86_400_000_000


def moment(value: datetime) -> bytes:
    """Encode a time as microseconds since 1970 UTC.

    Raises:
        OverflowError: when it lies outside the years 1 to 9999 in UTC.
    """
    since = value - EPOCH
    micros = since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds
    if not _FIRST_MICRO <= micros <= _LAST_MICRO:
        raise OverflowError("lies outside the years 1 to 9999 in UTC")
    return long(micros)


def day(value: date) -> bytes:
    """Encode a day, and keep its bytes for the next event."""
    if len(_DAYS) >= _MOST_DAYS:
        _DAYS.clear()
    raw = _DAYS[value] = long(value.toordinal() - EPOCH_DAY)
    return raw


def text(value: str) -> bytes:
    """Encode text: its length in UTF-8, then the bytes. Raises UnicodeEncodeError on a lone surrogate."""
    raw = value.encode()
    return long(len(raw)) + raw


def money(value: Decimal, unit: Decimal, scale: int, limit: int) -> bytes:
    """Encode the digits of a decimal, with the sign bit always spare: as fastavro and `avro` do.

    Args:
        value: the decimal.
        unit: one of its last place.
        scale: how many places it has.
        limit: what its digits, read as a whole number, stay below.

    Raises:
        OverflowError: when it has more digits. DecimalException: when it has more places, or is no number.
    """
    unscaled = int(value.quantize(unit, None, EXACT).scaleb(scale, EXACT))
    if not -limit < unscaled < limit:
        raise OverflowError("has more digits than its contract allows")
    size = (unscaled.bit_length() + 8) >> 3
    return LAST[size << 1] + unscaled.to_bytes(size, "big", signed=True)


def compile_writer(group: Group) -> tuple[Callable[[Any], bytes], str]:
    """Return the writer of a contract, event -> Avro bytes without frame, and its source.

    The writer raises OverflowError, UnicodeEncodeError or decimal.DecimalException on values that validation would
    have refused.
    """
    source = _Writer()
    source.put("def write(event):", 0)
    source.put("out = []", 1)
    source.group(group, "event", 1)
    source.flush(1)
    source.put("return b''.join(out)", 1)
    source.scope |= {
        "last": LAST,
        "long": long,
        "text": text,
        "moment": moment,
        "money": money,
        "days": _DAYS,
        "day": day,
    }
    scope, code = source.run(title=f"writer of {group.name}")
    writer: Callable[[Any], bytes] = scope["write"]
    return writer, code


class _Writer(Source):
    """Lines that write one contract. What is written one after the other is gathered, and joins the output at once."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []

    def flush(self, depth: int) -> None:
        """Add what is gathered to the output; before every line that branches, and behind the last."""
        if self._parts:
            self.put(f"out += ({', '.join(self._parts)},)", depth)
            self._parts.clear()

    def group(self, group: Group, value: str, depth: int) -> None:
        for slot in group.slots:
            self.shape(slot.shape, f"{value}.{slot.name}", depth)

    def shape(self, shape: Shape, value: str, depth: int) -> None:
        match shape:
            case Group():
                name = self.fresh()
                self.put(f"{name} = {value}", depth)
                self.group(shape, name, depth)
            case Maybe(item):
                self.flush(depth)
                name = self.fresh()
                self.put(f"{name} = {value}", depth)
                self.put(f"if {name} is None:", depth)
                self.put("out += (b'\\x00',)", depth + 1)
                self.put("else:", depth)
                self._parts.append("b'\\x02'")
                self.shape(item, name, depth + 1)
                self.flush(depth + 1)
            case Many(item):
                self._block(f"for {(name := self.fresh())} in ", "", value, depth)
                self.shape(item, name, depth + 2)
                self.flush(depth + 2)
                self._parts.append("b'\\x00'")
            case Table(item):
                key, name = self.fresh(), self.fresh()
                self._block(f"for {key}, {name} in ", ".items()", value, depth)
                self._parts.append(f"text({key})")
                self.shape(item, name, depth + 2)
                self.flush(depth + 2)
                self._parts.append("b'\\x00'")
            case Choice():
                table = f"symbols_{self.fresh()}"
                self.scope[table] = {member: long(i) for i, member in enumerate(shape.enum)}
                self._parts.append(f"{table}[{value}]")
            case Money(precision, scale):
                self._parts.append(f"money({value}, {self._unit(scale)}, {scale}, {10**precision})")
            case Leaf(kind):
                self._leaf(kind, value, depth)

    def _unit(self, scale: int) -> str:
        name = f"unit_{scale}"
        self.scope[name] = EXACT.scaleb(EXACT.create_decimal(1), -scale)
        return name

    def _block(self, head: str, tail: str, value: str, depth: int) -> None:
        """Open a list or map: nothing when empty, else its count and one block."""
        self.flush(depth)
        name = self.fresh()
        self.put(f"{name} = {value}", depth)
        self.put(f"if {name}:", depth)
        self.put(f"out += (long(len({name})),)", depth + 1)
        self.put(f"{head}{name}{tail}:", depth + 1)

    def _sized(self, raw: str) -> None:
        """Bytes behind their length, which the table knows below 8,192."""
        size = self.fresh()
        self._parts.append(f"last[{size}] if ({size} := len({raw}) << 1) < 16384 else long(len({raw}))")
        self._parts.append(raw)

    def _leaf(self, kind: str, value: str, depth: int) -> None:
        match kind:
            case "string":
                raw = self.fresh()
                self.put(f"{raw} = {value}.encode()", depth)
                self._sized(raw)
            case "bytes":
                raw = self.fresh()
                self.put(f"{raw} = {value}", depth)
                self._sized(raw)
            case "long":
                self._parts.append(f"long({value})")
            case "boolean":
                self._parts.append(f"b'\\x01' if {value} else b'\\x00'")
            case "date":
                self._parts.append(f"days.get({value}) or day({value})")
            case "moment":
                self._parts.append(f"moment({value})")
            case "uuid":
                self._parts.append(f"b'\\x48', str({value}).encode()")
            case _:
                raise AssertionError(f"a leaf without a writer: {kind}")

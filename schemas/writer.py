"""Writes, as Python source, the function that turns one contract's events into Avro bytes.

Called by the codec once per contract. The obvious way (model_dump, then fastavro) walks the event twice and asks of
every value what it is; the generated function knows. The trap it avoids: bytes of its own invention, so the tests hold
it byte for byte to fastavro.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Context, Inexact, InvalidOperation
from typing import Any

from schemas.shape import Choice, Group, Leaf, Many, Maybe, Money, Shape, Table
from schemas.source import Source
from schemas.varint import long

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = date(1970, 1, 1).toordinal()
EXACT = Context(prec=60, traps=[InvalidOperation, Inexact])  # wider than any contract's 28 digits, and never rounds
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


def text(value: str) -> bytes:
    """Encode text: its length in UTF-8, then the bytes. Raises UnicodeEncodeError on a lone surrogate."""
    raw = value.encode()
    return long(len(raw)) + raw


def money(unscaled: int) -> bytes:
    """Encode the digits of a decimal, with the sign bit always spare: as fastavro and `avro` do."""
    size = (unscaled.bit_length() + 8) >> 3
    return long(size) + unscaled.to_bytes(size, "big", signed=True)


def compile_writer(group: Group) -> tuple[Callable[[Any], bytes], str]:
    """Return the writer of a contract, event -> Avro bytes without frame, and its source.

    The writer raises OverflowError, UnicodeEncodeError or decimal.DecimalException on values that validation would
    have refused.
    """
    source = _Writer()
    source.put("def write(event):", 0)
    source.put("out = []", 1)
    source.put("add = out.append", 1)
    source.group(group, "event", 1)
    source.put("return b''.join(out)", 1)
    source.scope |= {"long": long, "text": text, "moment": moment, "money": money, "EXACT": EXACT}
    scope, code = source.run(title=f"writer of {group.name}")
    writer: Callable[[Any], bytes] = scope["write"]
    return writer, code


class _Writer(Source):
    """Lines that write one contract."""

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
                name = self.fresh()
                self.put(f"{name} = {value}", depth)
                self.put(f"if {name} is None:", depth)
                self.put("add(b'\\x00')", depth + 1)
                self.put("else:", depth)
                self.put("add(b'\\x02')", depth + 1)
                self.shape(item, name, depth + 1)
            case Many(item):
                self._block(f"for {(name := self.fresh())} in ", "", value, depth)
                self.shape(item, name, depth + 2)
                self.put("add(b'\\x00')", depth)
            case Table(item):
                key, name = self.fresh(), self.fresh()
                self._block(f"for {key}, {name} in ", ".items()", value, depth)
                self.put(f"add(text({key}))", depth + 2)
                self.shape(item, name, depth + 2)
                self.put("add(b'\\x00')", depth)
            case Choice():
                table = f"symbols_{self.fresh()}"
                self.scope[table] = {member: long(i) for i, member in enumerate(shape.enum)}
                self.put(f"add({table}[{value}])", depth)
            case Money():
                self.put(
                    f"add(money(int({value}.quantize({self._unit(shape)}, None, EXACT).scaleb({shape.scale}, EXACT))))",
                    depth,
                )
            case Leaf(kind):
                self._leaf(kind, value, depth)

    def _unit(self, money: Money) -> str:
        name = f"unit_{money.scale}"
        self.scope[name] = EXACT.scaleb(EXACT.create_decimal(1), -money.scale)
        return name

    def _block(self, head: str, tail: str, value: str, depth: int) -> None:
        """Open a list or map: nothing when empty, else its count and one block."""
        name = self.fresh()
        self.put(f"{name} = {value}", depth)
        self.put(f"if {name}:", depth)
        self.put(f"add(long(len({name})))", depth + 1)
        self.put(f"{head}{name}{tail}:", depth + 1)

    def _leaf(self, kind: str, value: str, depth: int) -> None:
        match kind:
            case "string":
                raw = self.fresh()
                self.put(f"{raw} = {value}.encode()", depth)
                self.put(f"add(long(len({raw})))", depth)
                self.put(f"add({raw})", depth)
            case "bytes":
                self.put(f"add(long(len({value})))", depth)
                self.put(f"add({value})", depth)
            case "long":
                self.put(f"add(long({value}))", depth)
            case "boolean":
                self.put(f"add(b'\\x01' if {value} else b'\\x00')", depth)
            case "date":
                self.put(f"add(long({value}.toordinal() - {EPOCH_DAY}))", depth)
            case "moment":
                self.put(f"add(moment({value}))", depth)
            case "uuid":
                self.put(f"add(text(str({value})))", depth)
            case _:
                raise AssertionError(f"a leaf without a writer: {kind}")

"""Writes, as Python source, the function that turns one contract's Avro bytes into the values of its fields.

Called by the codec once per contract, for bytes written under the contract's own schema. It accepts one encoding of
each value and no other (shortest numbers, one block per list, booleans 0 or 1, symbols in range, strict UTF-8, no
doubled keys), so what it accepts encodes to the same bytes again without doing so. The trap it avoids: slices past the
end are silently short in Python; every such read leaves the place beyond the end, which the last line refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from schemas.errors import Poison
from schemas.shape import Choice, Group, Leaf, Many, Maybe, Money, Shape, Table
from schemas.source import Source
from schemas.varint import read_eight, read_long, read_size
from schemas.writer import EPOCH, EPOCH_DAY, EXACT

_DAYS: dict[bytes, date] = {}  # days by their three bytes: most events are about a few thousand days
_MOST_DAYS = 4096
# by a value's first byte; 0 or None where the byte alone does not say, which is left to the functions below
_STEPS = tuple(1 + (byte >> 1) if byte < 128 and not byte & 1 else 0 for byte in range(256))  # over a short text
_SMALL = tuple((byte >> 1) ^ -(byte & 1) if byte < 128 else None for byte in range(256))  # the number in one byte
_FLAGS = (False, True)
_UUID_LENGTH = 36
_UUID_TEXT = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch  # what str() of a UUID gives


def read_day(data: bytes, at: int) -> tuple[date, int]:
    """Decode a day, and keep it for the next event. Raises ValueError or OverflowError outside the years 1 to 9999."""
    number, end = read_long(data, at)
    day = date.fromordinal(number + EPOCH_DAY)
    if end - at == 3:
        if len(_DAYS) >= _MOST_DAYS:
            _DAYS.clear()
        _DAYS[data[at:end]] = day
    return day, end


def read_moment(data: bytes, at: int) -> tuple[datetime, int]:
    """Decode a time in UTC. Raises OverflowError outside the years 1 to 9999."""
    micros, at = read_eight(data, at)
    return EPOCH + timedelta(0, 0, micros), at


def read_text(data: bytes, at: int) -> tuple[str, int]:
    """Decode text of any length. Raises UnicodeDecodeError, or Poison when its length is wrong."""
    size, at = read_size(data, at)
    return data[at : at + size].decode(), at + size


def money(raw: bytes, scale: int, limit: int) -> Decimal:
    """Decode the digits of a decimal below `limit`. Raises Poison when they are more or not in the writer's form."""
    unscaled = int.from_bytes(raw, "big", signed=True)
    if not -limit < unscaled < limit:
        raise Poison("a decimal has more digits than its schema says")
    if len(raw) != (unscaled.bit_length() + 8) >> 3:
        raise Poison("a decimal is not in its shortest form")
    return Decimal(unscaled).scaleb(-scale, EXACT)


def read_uuid(data: bytes, at: int) -> tuple[UUID, int]:
    """Decode a UUID. Raises Poison when its text is not the one canonical form."""
    end = at + 1 + _UUID_LENGTH
    text = data[at + 1 : end]
    if data[at] != 2 * _UUID_LENGTH or _UUID_TEXT(text) is None:
        raise Poison("a UUID is not in its canonical form")
    return UUID(int=int(text.replace(b"-", b""), 16)), end


def compile_reader(group: Group) -> tuple[Callable[[bytes, int], dict[str, Any]], str]:
    """Return the reader of a contract, (bytes, start) -> values by field name, and its source.

    The reader raises Poison, IndexError, KeyError, ValueError or OverflowError on anything but one canonical encoding
    from `start` to the end of the bytes.
    """
    source = _Reader()
    source.put("def read(data, at):", 0)
    result = source.group(group, 1)
    source.put("if at != len(data):", 1)
    source.put("raise Poison('bytes are left over or missing at the end')", 2)
    source.put(f"return {result}", 1)
    source.scope |= {
        "Poison": Poison,
        "read_long": read_long,
        "read_size": read_size,
        "read_moment": read_moment,
        "read_day": read_day,
        "read_uuid": read_uuid,
        "money": money,
        "read_text": read_text,
        "days": _DAYS,
        "steps": _STEPS,
        "small": _SMALL,
        "flags": _FLAGS,
    }
    scope, code = source.run(title=f"reader of {group.name}")
    reader: Callable[[bytes, int], dict[str, Any]] = scope["read"]
    return reader, code


class _Reader(Source):
    """Lines that read one contract."""

    def group(self, group: Group, depth: int) -> str:
        """Read a record's fields; return the expression of its dict."""
        parts = [f"{slot.name!r}: {self.value(slot.shape, depth)}" for slot in group.slots]
        return "{" + ", ".join(parts) + "}"

    def value(self, shape: Shape, depth: int) -> str:
        """Read one value; return the expression that holds it."""
        if isinstance(shape, Group):
            return self.group(shape, depth)
        name = self.fresh()
        match shape:
            case Maybe(item):
                self._maybe(item, name, depth)
            case Many(item):
                self._block(name, "[]", depth)
                self.put(f"{name}.append({self.value(item, depth + 2)})", depth + 2)
                self._close(depth)
            case Table(item):
                self._table(item, name, depth)
            case Choice():
                self.scope[f"member_{name}"] = {2 * i: member for i, member in enumerate(shape.enum)}
                self.put(f"{name} = member_{name}[data[at]]", depth)
                self.put("at += 1", depth)
            case Money():
                self._money(shape, name, depth)
            case Leaf(kind):
                self._leaf(kind, name, depth)
        return name

    def _maybe(self, item: Shape, name: str, depth: int) -> None:
        branch = self.fresh()
        self.put(f"{branch} = data[at]", depth)
        self.put("at += 1", depth)
        self.put(f"if {branch} == 0:", depth)
        self.put(f"{name} = None", depth + 1)
        self.put(f"elif {branch} == 2:", depth)
        self.put(f"{name} = {self.value(item, depth + 1)}", depth + 1)
        self.put("else:", depth)
        self.put("raise Poison('a union has no such branch')", depth + 1)

    def _block(self, name: str, empty: str, depth: int) -> None:
        """Open a list or map: a count, then that many items; each takes at least a byte, so the count is bounded."""
        count = self.fresh()
        self.put(f"{name} = {empty}", depth)
        self.put(f"{count}, at = read_size(data, at)", depth)
        self.put(f"if {count}:", depth)
        self.put(f"for _ in range({count}):", depth + 1)

    def _close(self, depth: int) -> None:
        self.put("if data[at]:", depth + 1)
        self.put("raise Poison('a list or map has more than one block')", depth + 2)
        self.put("at += 1", depth + 1)

    def _table(self, item: Shape, name: str, depth: int) -> None:
        self._block(name, "{}", depth)
        key = self.fresh()
        self._leaf("string", key, depth + 2)
        self.put(f"if {key} in {name}:", depth + 2)
        self.put("raise Poison('a map has one key twice')", depth + 3)
        self.put(f"{name}[{key}] = {self.value(item, depth + 2)}", depth + 2)
        self._close(depth)

    def _text(self, name: str, depth: int) -> None:
        """Read text, the short case in place. A step past the end leaves `at` there, for the last line to refuse."""
        self.put(f"{name} = at + steps[data[at]]", depth)
        self.put(f"if {name} == at:", depth)
        self.put(f"{name}, at = read_text(data, at)", depth + 1)
        self.put("else:", depth)
        self.put(f"{name}, at = data[at + 1:{name}].decode(), {name}", depth + 1)

    def _money(self, shape: Money, name: str, depth: int) -> None:
        """Read a decimal: 28 digits take 12 bytes, so its length is one byte, even, below 32."""
        self.put(f"{name} = data[at]", depth)
        self.put(f"if {name} > 31 or {name} & 1:", depth)
        self.put("raise Poison('a decimal is too long')", depth + 1)
        self.put("at += 1", depth)
        self.put(f"{name} >>= 1", depth)
        self.put(f"at += {name}", depth)
        self.put(f"{name} = money(data[at - {name}:at], {shape.scale}, {10**shape.precision})", depth)

    def _leaf(self, kind: str, name: str, depth: int) -> None:
        match kind:
            case "string":
                self._text(name, depth)
            case "bytes":
                self.put(f"{name}, at = read_size(data, at)", depth)
                self.put(f"at += {name}", depth)
                self.put(f"{name} = data[at - {name}:at]", depth)
            case "long":
                self.put(f"{name} = small[data[at]]", depth)
                self.put(f"if {name} is None:", depth)
                self.put(f"{name}, at = read_long(data, at)", depth + 1)
                self.put("else:", depth)
                self.put("at += 1", depth + 1)
            case "boolean":
                self.put(f"{name} = flags[data[at]]", depth)
                self.put("at += 1", depth)
            case "date":
                self.put(f"{name} = days.get(data[at:at + 3])", depth)
                self.put(f"if {name} is None:", depth)
                self.put(f"{name}, at = read_day(data, at)", depth + 1)
                self.put("else:", depth)
                self.put("at += 3", depth + 1)
            case "moment" | "uuid":
                self.put(f"{name}, at = read_{kind}(data, at)", depth)
            case _:
                raise AssertionError(f"a leaf without a reader: {kind}")

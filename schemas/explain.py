"""Says where the bytes of an event stop being one: the field, the byte, and why; and what the bytes before it say.

Called by `bus.letter_opening` for `agencybus dlq show`, never on the hot path. The codec says what is wrong in a
sentence; somebody who must mend a publisher needs the place. The trap it avoids: an explanation that differs from the
codec's verdict; this walk keeps the generated reader's rules (a property test holds the two together), and the
contract's own validator judges the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import DecimalException
from typing import Any

from pydantic import ValidationError

from schemas import avro, reader, scan
from schemas.errors import Poison, SchemaRefused
from schemas.event import Event
from schemas.shape import Choice, Group, Leaf, Many, Maybe, Money, Shape, Table
from schemas.varint import read_long, read_size

_FRAME = 5  # 0x00 and a 32-bit schema id
_MOST = 2_000  # spots kept: a list of a million items need not be listed to find its fault
_LEAVES = {
    "string": reader.read_text,
    "long": read_long,
    "date": reader.read_day,
    "moment": reader.read_moment,
    "uuid": reader.read_uuid,
}


@dataclass(frozen=True, slots=True)
class Spot:
    """One value in the bytes.

    Args:
        path: the field, dotted; numbers count list items, a map's keys stand as they are.
        at: its first byte, counted from the start of the record's value. end: the byte after it.
        value: what it says.
    """

    path: str
    at: int
    end: int
    value: Any


@dataclass(frozen=True, slots=True)
class Fault:
    """Where and why the bytes are no event.

    Args:
        path: the field, as in `Spot`; ``frame`` or ``schema id`` before the first one, ``end`` after the last.
        at: the byte, from the start of the record's value.
        reason: a clause; never a part of the bytes.
    """

    path: str
    at: int
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was found: values in the order of their bytes (at most 2,000), and the first fault, None of a good event."""

    spots: tuple[Spot, ...]
    fault: Fault | None


class _Stop(Exception):  # carries a finding out of the walk, not an error
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def explain(value: bytes, model: type[Event], *, writers: Mapping[int, dict[str, Any]] | None = None) -> Explanation:
    """Walk the value of a record by the contract of its topic.

    Args:
        value: with its Confluent frame.
        model: the contract.
        writers: schemas of other versions by id; of bytes written by one of them only the place of a fault is found.

    Raises:
        SchemaRefused: the contract itself cannot be read.
    """
    shape, schema = avro.shape_and_schema(model)
    if len(value) < _FRAME or value[0] != 0:
        return Explanation((), Fault("frame", 0, "no Confluent frame: 0x00 and four bytes of schema id"))
    number = int.from_bytes(value[1:_FRAME], "big")
    if number != avro.schema_id(schema):
        return Explanation((), _of_another_writer(value, number, (writers or {}).get(number)))
    walk = _Walk(value)
    try:
        model.model_validate(walk.whole(shape))
    except _Stop as stop:
        return Explanation(tuple(walk.spots), stop.fault)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        path = ".".join(map(str, first["loc"]))
        at = next((spot.at for spot in walk.spots if spot.path == path), _FRAME)
        return Explanation(tuple(walk.spots), Fault(path or "event", at, first["msg"]))
    return Explanation(tuple(walk.spots), None)


def _of_another_writer(value: bytes, number: int, schema: dict[str, Any] | None) -> Fault | None:
    """The fault of bytes that another version wrote: unknown schema, or the place where its scan ends."""
    if schema is None:
        return Fault("schema id", 1, f"{number} is not known: not this contract's, and not in the topic _schemas")
    try:
        tracked = _Tracked(schema)
    except SchemaRefused as refused:
        return Fault("schema id", 1, f"{number} cannot be read safely: {refused}")
    return tracked.fault(value)


class _Tracked(scan.Writer):
    """A scan that remembers in which field it is."""

    def __init__(self, schema: dict[str, Any]) -> None:
        super().__init__(schema)
        self._path: list[str] = []
        self._at = self._end = 0

    def fault(self, value: bytes) -> Fault | None:
        """The place where `value` stops being one encoding of the schema."""
        try:
            self.scan(value[_FRAME:])
        except (Poison, IndexError, ValueError) as error:
            reason = str(error) if isinstance(error, Poison) else _why(error)
            if not self._path:
                return Fault("end", _FRAME + self._end, reason)
            return Fault(".".join(self._path), _FRAME + self._at, reason)
        return None

    def _walk(self, schema: Any, data: bytes, at: int, *more: Any) -> int:
        self._at = at
        return super()._walk(schema, data, at, *more)

    def _walk_complex(self, schema: dict[str, Any], data: bytes, at: int, *more: Any) -> int:
        if schema["type"] not in {"record", "error"}:
            return super()._walk_complex(schema, data, at, *more)
        for field in schema["fields"]:
            self._path.append(field["name"])
            at = self._walk(field["type"], data, at, *more)
            self._path.pop()  # only when all is well: a fault leaves the path that led to it
        self._end = at
        return at


class _Walk:
    """One walk over one value."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.spots: list[Spot] = []

    def whole(self, shape: Group) -> Any:
        """The fields of an event, to the last byte. Raises _Stop at the first fault."""
        found = self.value(shape, "", _FRAME)
        if found.end != len(self._data):
            raise _Stop(Fault("end", found.end, _left_over(self._data, found.end)))
        return found.value

    def value(self, shape: Shape, path: str, at: int) -> Spot:
        """The value of `shape` at `at`. Raises _Stop at its first fault."""
        match shape:
            case Group(slots=slots):
                fields, start = {}, at
                for slot in slots:
                    spot = self.value(slot.shape, f"{path}.{slot.name}".lstrip("."), at)
                    fields[slot.name], at = spot.value, spot.end
                return Spot(path, start, at, fields)
            case Maybe(item):
                return self._maybe(item, path, at)
            case Many(item):
                return self._many(item, path, at)
            case Table(item):
                return self._table(item, path, at)
            case _:
                return self._keep(self._leaf(shape, path, at))

    def _keep(self, spot: Spot) -> Spot:
        if len(self.spots) < _MOST:
            self.spots.append(spot)
        return spot

    def _byte(self, path: str, at: int) -> int:
        if at >= len(self._data):
            raise _Stop(Fault(path, at, "the bytes end here"))
        return self._data[at]

    def _maybe(self, item: Shape, path: str, at: int) -> Spot:
        branch = self._byte(path, at)
        if branch == 0:
            return self._keep(Spot(path, at, at + 1, None))
        if branch != 2:
            raise _Stop(Fault(path, at, "the union has no such branch; 0x00 is absent, 0x02 present"))
        return self.value(item, path, at + 1)

    def _count(self, path: str, at: int) -> tuple[int, int]:
        return self._try(read_size, path, at)  # type: ignore[no-any-return]  # a number and a place

    def _block_end(self, path: str, at: int) -> int:
        if self._byte(path, at):
            raise _Stop(Fault(path, at, "a list or map has more than one block"))
        return at + 1

    def _many(self, item: Shape, path: str, start: int) -> Spot:
        count, at = self._count(path, start)
        if not count:
            return self._keep(Spot(path, start, at, []))
        items = []
        for index in range(count):
            spot = self.value(item, f"{path}.{index}", at)
            items.append(spot.value)
            at = spot.end
        return Spot(path, start, self._block_end(path, at), items)

    def _table(self, item: Shape, path: str, start: int) -> Spot:
        count, at = self._count(path, start)
        if not count:
            return self._keep(Spot(path, start, at, {}))
        rows: dict[str, Any] = {}
        for _ in range(count):
            before = at
            key, at = self._try(reader.read_text, path, at)
            if key in rows:
                raise _Stop(Fault(path, before, "a map has one key twice"))
            spot = self.value(item, f"{path}.{key}", at)
            rows[key], at = spot.value, spot.end
        return Spot(path, start, self._block_end(path, at), rows)

    def _leaf(self, shape: Shape, path: str, at: int) -> Spot:
        first = self._byte(path, at)
        if isinstance(shape, Choice):
            members = list(shape.enum)
            if first & 1 or first >= 2 * len(members):
                raise _Stop(Fault(path, at, f"{shape.enum.__name__} has no such symbol"))
            return Spot(path, at, at + 1, members[first >> 1])
        if isinstance(shape, Money):
            if first > 31 or first & 1:
                raise _Stop(Fault(path, at, "a decimal is too long"))
            end = self._enough(path, at + 1, first >> 1)
            return Spot(
                path,
                at,
                end,
                self._try(lambda d, a: (reader.money(d[a + 1 : end], shape.scale, 10**shape.precision), a), path, at)[
                    0
                ],
            )
        assert isinstance(shape, Leaf)
        if shape.kind == "boolean":
            if first > 1:
                raise _Stop(Fault(path, at, "a boolean is neither 0 nor 1"))
            return Spot(path, at, at + 1, bool(first))
        if shape.kind == "bytes":
            size, body = self._try(read_size, path, at)
            return Spot(path, at, body + size, self._data[body : body + size])
        found, end = self._try(_LEAVES[shape.kind], path, at)
        return Spot(path, at, end, found)

    def _enough(self, path: str, at: int, size: int) -> int:
        if at + size > len(self._data):
            raise _Stop(Fault(path, len(self._data), "the bytes end here"))
        return at + size

    def _try(self, read: Any, path: str, at: int) -> Any:
        """What `read` finds at `at`. Raises _Stop with its reason when it finds nothing."""
        try:
            return read(self._data, at)
        except Poison as poison:
            raise _Stop(Fault(path, at, str(poison))) from None
        except (IndexError, ValueError, OverflowError, DecimalException) as error:
            if isinstance(error, UnicodeDecodeError):
                at = read_size(self._data, at)[1] + error.start
            raise _Stop(Fault(path, at, _why(error))) from None


def _left_over(value: bytes, end: int) -> str:
    return f"{len(value) - end} byte(s) are left over"


def _why(error: Exception) -> str:
    """A clause for what Python says of bytes that are no such value; its own text may quote them."""
    if isinstance(error, IndexError):
        return "the bytes end here"
    return "the text is not UTF-8 here" if isinstance(error, UnicodeDecodeError) else "the bytes hold no such value"

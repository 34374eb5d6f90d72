"""Events to bytes and back: the Confluent frame around Avro.

Called by the publisher and by every reader. The traps it avoids: a decoder that fills gigabytes from five bytes, that
takes trailing bytes or an enum index of -1, or that fails with any error but one (research/trust.md section 4). What
is read under the contract's own schema is the one canonical encoding; what another known schema wrote is scanned
first, then resolved by fastavro.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import DecimalException
from io import BytesIO
from typing import Any, TypeVar

import fastavro
from pydantic import ValidationError
from pydantic_core import SchemaValidator

from schemas import avro, scan
from schemas.catalogue import Catalogue
from schemas.errors import EventRefused, Poison, SchemaRefused, UnknownType
from schemas.event import Event
from schemas.reader import compile_reader
from schemas.validator import fields_validator_of, validator_of
from schemas.writer import compile_writer

MAX_VALUE = 256 * 1024  # bytes with frame; larger things travel by reference (research/trust.md section 4)
GUID_HEADER = "__value_schema_id"  # Confluent platform 8: 0x01 and 16 bytes, the value is bare Avro
_FRAME = 5  # 0x00 and a 32-bit id
_UNREADABLE = (IndexError, KeyError, ValueError, OverflowError, DecimalException)
_UNWRITABLE = (OverflowError, UnicodeEncodeError, DecimalException, KeyError)
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything about one contract that is worked out once."""

    schema: dict[str, Any]
    prefix: bytes
    number: int
    write: Callable[[Any], bytes]
    read: Callable[[bytes, int], dict[str, Any]]
    validator: SchemaValidator
    judge: Callable[[dict[str, Any]], Mapping[str, Any]]


class Codec:
    """Encodes and decodes the events of a catalogue.

    Args:
        catalogue: the contracts this process knows; others are refused.
        writers: schemas of other versions by id, as they stand in `_schemas`. One that is no Avro schema or could be
            abused (recursion, items without bytes) makes poison of its own events only, not of this process.
        guids: ids by 16-byte schema GUID, for writers that put it in a header.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        writers: Mapping[int, dict[str, Any]] | None = None,
        *,
        guids: Mapping[bytes, int] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._schemas = dict(writers or {})
        self._writers: dict[int, scan.Writer] = {}
        self._guids = dict(guids or {})
        self._plans: dict[type[Event], _Plan] = {}

    def schema_id(self, model: type[Event]) -> int:
        """Return the id of a contract's schema. Raises UnknownType, SchemaRefused."""
        return (self._plans.get(model) or self._plan(model)).number

    def encode(self, event: Event) -> bytes:
        """Return the framed bytes of an event.

        Raises:
            EventRefused: when it holds what its schema cannot carry, or is larger than `MAX_VALUE`.
            UnknownType: when its contract is not in the catalogue.
        """
        plan = self._plans.get(type(event)) or self._plan(type(event))
        try:
            value = plan.prefix + plan.write(event)
        except _UNWRITABLE as fault:
            raise EventRefused(f"{event.contract}: a value cannot be written: {type(fault).__name__}") from None
        return self._sized(value, type(event))

    def encode_json(self, said: Sequence[tuple[type[Event], bytes]]) -> list[bytes]:
        """Return the framed bytes of events that are given as JSON.

        All are validated, then all are written: a tenth less than event by event.

        Args:
            said: contract and fields, as one JSON object, of each event.

        Raises:
            ValidationError: one is no event of its contract; pydantic's, which names the field.
            EventRefused, UnknownType: as `encode`.
        """
        plans = [self._plans.get(model) or self._plan(model) for model, _ in said]
        try:  # digits and time zones are the writer's affair, as they are the reader's: see `schemas.validator`
            events = [plan.validator.validate_json(text) for plan, (_, text) in zip(plans, said, strict=True)]
            values = [plan.prefix + plan.write(event) for plan, event in zip(plans, events, strict=True)]
        except (ValidationError, *_UNWRITABLE):
            return [self.encode(model.__pydantic_validator__.validate_json(text)) for model, text in said]
        return [self._sized(value, model) for value, (model, _) in zip(values, said, strict=True)]

    def decode(self, value: bytes | None, model: type[E], headers: Iterable[tuple[str, bytes | None]] = ()) -> E:
        """Return the event in `value`.

        Args:
            value: the record's value as it came.
            model: the contract of the topic it came from.
            headers: the record's headers, looked at for a schema GUID only.

        Raises:
            Poison: on anything that is not one encoding of a valid event; no value is quoted.
            UnknownType: when the contract is not in the catalogue.
        """
        plan = self._plans.get(model) or self._plan(model)
        if value is None or len(value) > MAX_VALUE:
            raise Poison(f"{model.contract}: the value is empty or above {MAX_VALUE} bytes")
        framed = value.startswith(plan.prefix)  # our own frame needs no look at the headers
        number, start = (plan.number, _FRAME) if framed else self._frame(value, headers, model)
        try:
            if number == plan.number:
                found: E = plan.validator.validate_python(plan.read(value, start))
                return found
            return self._resolve(value[start:], number, plan, model)
        except ValidationError as fault:
            raise Poison(f"{model.contract}: {_said(fault)}") from None
        except Poison as fault:
            raise Poison(f"{model.contract}: {fault}") from None
        except _UNREADABLE as fault:
            raise Poison(f"{model.contract}: bytes end early or hold no such value ({type(fault).__name__})") from None

    def decode_fields(
        self, told: Sequence[tuple[bytes | None, type[Event], Iterable[tuple[str, bytes | None]]]]
    ) -> list[Mapping[str, Any]]:
        """Return the fields of the events in values, by name, of parts as their models.

        All are read, then all are validated, which takes less time than one by one.

        Args:
            told: value, contract and headers of each, as `decode` takes them.

        Raises:
            Poison, UnknownType: of the first that is no event, as `decode`.
        """
        plans = [self._plans.get(model) or self._plan(model) for _, model, _ in told]
        ours = [
            (plan, value)
            for plan, (value, *_) in zip(plans, told, strict=True)
            if value and len(value) <= MAX_VALUE and value.startswith(plan.prefix)
        ]
        if len(ours) == len(told):
            try:
                found = [plan.read(value, _FRAME) for plan, value in ours]
                return [plan.judge(fields) for plan, fields in zip(plans, found, strict=True)]
            except (ValidationError, Poison, *_UNREADABLE):
                pass  # which of them, and why, is said below
        return [vars(self.decode(value, model, headers)) for value, model, headers in told]

    def _sized(self, value: bytes, model: type[Event]) -> bytes:
        if len(value) > MAX_VALUE:
            raise EventRefused(f"{model.contract}: {len(value)} bytes; at most {MAX_VALUE}, send a reference instead")
        return value

    def _frame(self, value: bytes, headers: Iterable[tuple[str, bytes | None]], model: type[Event]) -> tuple[int, int]:
        """Return the schema id and where the Avro bytes start: from the header if it is there, else the frame."""
        for name, raw in headers:
            if name == GUID_HEADER:
                number = self._guids.get(raw[1:]) if raw and raw[0] == 1 else None
                if number is None:
                    raise Poison(f"{model.contract}: the schema GUID in the header is not known")
                return number, 0
        if len(value) < _FRAME or value[0] != 0:
            raise Poison(f"{model.contract}: no Confluent frame (0x00 and a schema id)")
        return int.from_bytes(value[1:_FRAME], "big"), _FRAME

    def _resolve(self, body: bytes, number: int, plan: _Plan, model: type[E]) -> E:
        """Read what another version of the contract wrote."""
        writer = self._writers.get(number) or self._writer(number)
        if writer.name != f"{plan.schema['namespace']}.{plan.schema['name']}":
            raise Poison(f"schema id {number} is of another contract")
        writer.scan(body)
        found = fastavro.schemaless_reader(BytesIO(body), writer.parsed, plan.schema)
        return model.model_validate(found, strict=False)  # fastavro gives enum values as text

    def _writer(self, number: int) -> scan.Writer:
        """Check another version's schema on first use, and keep it."""
        if number not in self._schemas:
            raise Poison(f"schema id {number} is not known")
        try:
            writer = self._writers[number] = scan.Writer(self._schemas[number])
        except SchemaRefused as fault:
            raise Poison(f"schema id {number} cannot be read safely: {fault}") from None
        return writer

    def _plan(self, model: type[Event]) -> _Plan:
        """Work out a contract on first use, and keep it."""
        if model not in self._catalogue:
            raise UnknownType(f"{model.__name__} is not in the catalogue; add it to the models it is built from")
        shape, schema = avro.shape_and_schema(model)
        number = avro.schema_id(schema)
        plan = self._plans[model] = _Plan(
            schema=schema,
            prefix=b"\x00" + number.to_bytes(4, "big"),
            number=number,
            write=compile_writer(shape)[0],
            read=compile_reader(shape)[0],
            validator=validator_of(model),
            judge=fields_validator_of(model),
        )
        return plan


def _said(fault: ValidationError) -> str:
    """Say which fields were refused and why, without the values: they may be personal."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'event'}: {e['msg']}" for e in fault.errors(include_input=False)
    )

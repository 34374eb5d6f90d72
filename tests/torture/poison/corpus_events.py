"""Hostile events in honest batches: envelopes, keys and values that no reader may act on.

Brokers store all of them. A `KafkaReader` delivers them, for it opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bus.partitioner import partition_for
from schemas.codec import MAX_VALUE
from tests.agents.harness import PARTITIONS
from tests.torture.poison.kit import (
    DECODE,
    ENVELOPE,
    FINE,
    OFFICE,
    OLDER,
    PLACE,
    RECURSIVE,
    STRANGER,
    UNKNOWN,
    WEIGHTLESS,
    WORKFLOW,
    Evil,
    Fate,
    Kit,
    header,
)
from tests.torture.poison.wire import Item, varint

Bend = Callable[[Kit, Item], Item]


def _said(name: str, *values: bytes | None) -> Bend:
    return lambda kit, item: header(item, name, *values)


def _value(make: Callable[[Kit], bytes | None]) -> Bend:
    return lambda kit, item: replace(item, value=make(kit))


def _twice(name: str) -> Bend:
    return lambda kit, item: replace(item, headers=(*item.headers, (name.encode(), dict(item.headers)[name.encode()])))


def _other_key(kit: Kit, item: Item) -> Item:
    return replace(item, key=kit.token().encode())


def _wrong_partition(kit: Kit, item: Item) -> Item:
    """An honest event of a case that belongs elsewhere."""
    number = 0
    while partition_for(token := f"{(item.key or b'').decode()}-{number}".encode(), PARTITIONS) == kit.partition:
        number += 1
    return kit.good(token.decode())


def _case(text: str) -> Bend:
    raw = text.encode()
    return lambda kit, item: replace(header(item, "ce_correlationid", raw), key=raw)


def _body(value: bytes, number: int | None = None) -> Bend:
    """Avro bytes behind the frame of the contract's own schema, or of another."""
    return _value(lambda kit: (kit.prefix if number is None else kit.frame(number)) + value)


def _evils() -> list[Evil]:
    envelope: dict[str, tuple[Bend, Fate]] = {
        "no headers": (lambda kit, item: replace(item, headers=()), ENVELOPE),
        **{f"no {name}": (_said(name), ENVELOPE) for name in ("ce_id", "ce_source", "ce_type", "ce_time")},
        **{f"{name} twice": (_twice(name), ENVELOPE) for name in ("ce_id", "ce_type", "ce_specversion")},
        "empty ce_id": (_said("ce_id", b""), ENVELOPE),
        "ce_id without a value": (_said("ce_id", None), ENVELOPE),
        "ce_id is not UTF-8": (_said("ce_id", b"\xff\xfe"), ENVELOPE),
        "ce_id of 5,000 bytes": (_said("ce_id", b"x" * 5_000), ENVELOPE),
        "another specversion": (_said("ce_specversion", b"2.0"), ENVELOPE),
        "ce_type of another topic": (_said("ce_type", b"portal.request.created.v1"), ENVELOPE),
        "ce_source of another agency": (_said("ce_source", b"/agencies/mallory"), ENVELOPE),
        "ce_time without a zone": (_said("ce_time", b"2026-11-24T09:00:00"), ENVELOPE),
        "ce_time before all time": (_said("ce_time", b"0000-00-00T00:00:00Z"), ENVELOPE),
        "a case id that is no name": (_case("!parked/x"), ENVELOPE),
        "a case id with a NUL": (_case("c\0d"), ENVELOPE),
        "a case id of 300 letters": (_case("c" * 300), ENVELOPE),
        "no case": (_said("ce_correlationid"), {WORKFLOW: "envelope", OFFICE: "handler"}),
        "no key": (lambda kit, item: replace(item, key=None), PLACE),
        "another case's key": (_other_key, PLACE),
        "the wrong partition": (_wrong_partition, PLACE),
    }
    values: dict[str, tuple[Bend, Fate]] = {
        "no value": (_value(lambda kit: None), DECODE),
        "an empty value": (_value(lambda kit: b""), DECODE),
        "text for a value": (_value(lambda kit: b'{"number": 1}'), DECODE),
        "a frame that begins with 1": (_value(lambda kit: b"\1" + kit.value()[1:]), DECODE),
        "only a frame": (_value(lambda kit: kit.prefix), DECODE),
        "an unknown schema id": (_value(lambda kit: kit.frame(UNKNOWN) + kit.value()[5:]), DECODE),
        "another contract's schema": (_value(lambda kit: kit.frame(STRANGER)), DECODE),
        "an unknown schema GUID": (
            lambda kit, item: header(replace(item, value=kit.value()[5:]), "__value_schema_id", b"\1" + bytes(16)),
            DECODE,
        ),
        "bytes left over": (_value(lambda kit: kit.value() + b"\0"), DECODE),
        "bytes cut off": (_value(lambda kit: kit.value()[:-1]), DECODE),
        "a value of 256 KiB and one": (_value(lambda kit: kit.prefix + bytes(MAX_VALUE - 4)), DECODE),
        "an enumeration's symbol -1": (_value(lambda kit: kit.value()[:-1] + varint(-1)), DECODE),
        "an enumeration's symbol 99": (_value(lambda kit: kit.value()[:-1] + varint(99)), DECODE),
        "text that is not UTF-8": (_body(varint(1) + varint(2) + b"\xed\xa0" + varint(0) + varint(0)), DECODE),
        "text of a negative length": (_body(varint(1) + varint(-5) + varint(0) + varint(0)), DECODE),
        "text of 2 GB less what is there": (_body(varint(1) + varint(2**31 - 1) + b"x"), DECODE),
        "a list of 2^62 items": (_body(varint(1) + varint(0) + varint(2**62)), DECODE),
        "a list of a negative count": (_body(varint(1) + varint(0) + varint(-3) + b"abc"), DECODE),
        "a number of eleven bytes": (_body(b"\xff" * 10 + b"\1"), DECODE),
        "Avro 5,000 deep": (_body(b"\2" * 5_000 + b"\0", RECURSIVE), DECODE),
        "Avro 200,000 deep": (_body(b"\2" * 200_000 + b"\0", RECURSIVE), DECODE),
        "10 million items of no bytes": (_body(varint(10_000_000) + b"\0", WEIGHTLESS), DECODE),
        "an older list with a block that lies about its size": (
            _body(varint(1) + varint(-1) + varint(2**40) + varint(1) + b"x" + b"\0", OLDER),
            DECODE,
        ),
        "an older list of -2^63 items": (_body(varint(1) + b"\xff" * 9 + b"\1" + b"\0", OLDER), DECODE),
        "an older list in honest blocks": (
            _body(varint(1) + (varint(-1) + varint(2) + varint(1) + b"x") * 3 + b"\0", OLDER),
            FINE,
        ),
    }
    return [Evil(name, fate, bend) for name, (bend, fate) in {**envelope, **values}.items()]


EVENTS = _evils()

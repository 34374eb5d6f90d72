"""The codec: exact bytes, exact values, and one error for everything else."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.avro import schema_id, schema_of
from schemas.birth import BirthNotified, Sex
from schemas.catalogue import Catalogue, standard
from schemas.codec import GUID_HEADER, MAX_VALUE, Codec
from schemas.errors import EventRefused, Poison, UnknownType
from schemas.event import Event
from schemas.recorded import ActivityRecorded
from tests.schemas.samples import EVENTS, Colour, Everything, Place
from tests.schemas.strategies import events

MODELS: tuple[type[Event], ...] = (*standard().models(), Everything)
CATALOGUE = Catalogue(MODELS)
CODEC = Codec(CATALOGUE)
SLOW = settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None
)
ANY_EVENT = st.sampled_from(MODELS).flatmap(events)


def sample() -> Everything:
    place = Place(street="Synthetic street 1", since=date(2001, 2, 3))
    return Everything(
        text="Bakı",
        number=-(2**63),
        flag=True,
        raw=b"\x00\xff",
        day=date(1, 1, 1),
        moment=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        uid=UUID("0193f5a0-0000-7000-8000-000000000001"),
        money=Decimal("-128.0000"),
        colour=Colour.BLUE,
        place=place,
        places=[place, place],
        table={"a": [Colour.RED], "b": []},
        maybes=[None, UUID(int=0)],
    )


def fastavro_bytes(event: Event) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema_of(type(event)), event.model_dump(), strict=True)
    return out.getvalue()


@SLOW
@given(ANY_EVENT)
@example(sample())
def test_our_bytes_are_those_of_fastavro_and_read_back_equal(event: Event) -> None:
    value = CODEC.encode(event)
    assert value[:5] == b"\x00" + schema_id(schema_of(type(event))).to_bytes(4, "big")
    assert value[5:] == fastavro_bytes(event)
    assert CODEC.decode(value, type(event)) == event


def poison_or_canonical(value: bytes, model: type[Event]) -> bool:
    """Whether the value is an event; then it must be its one encoding."""
    try:
        event = CODEC.decode(value, model)
    except Poison:
        with pytest.raises(Poison):
            CODEC.decode_fields([(value, model, ())])
        return False
    assert CODEC.encode(event) == value, "two encodings of one event"
    assert CODEC.decode_fields([(value, model, ())]) == [vars(event)]
    return True


@SLOW
@given(st.sampled_from(MODELS), st.binary(max_size=300), st.booleans())
def test_random_bytes_are_poison_or_the_one_encoding(model: type[Event], junk: bytes, framed: bool) -> None:
    poison_or_canonical(CODEC._plan(model).prefix + junk if framed else junk, model)


def test_twenty_thousand_damaged_encodings_are_poison_or_the_one_encoding() -> None:
    rng = random.Random(20260304)
    values = [(CODEC.encode(event), type(event)) for event in EVENTS]
    accepted = 0
    for _ in range(20_000):
        value, model = rng.choice(values)
        damaged = bytearray(value)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(5, len(damaged) + 1)
            damaged[at : at + rng.randint(0, 3)] = rng.randbytes(rng.choice((0, 1, 1, 2, 10)))
        accepted += poison_or_canonical(bytes(damaged), model)
    assert 500 < accepted < 15_000  # both sides are tried


@SLOW
@given(ANY_EVENT, st.data())
def test_damaged_encodings_are_poison_or_the_one_encoding(event: Event, data: st.DataObject) -> None:
    value = bytearray(CODEC.encode(event))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(5, max(5, len(value) - 1)))
        cut = data.draw(st.integers(0, 3))
        value[at : at + cut] = data.draw(st.binary(max_size=10))
    poison_or_canonical(bytes(value), type(event))


def test_every_single_bit_flip_is_poison_or_the_one_encoding() -> None:
    value = CODEC.encode(sample())
    for at in range(5, len(value)):
        for bit in range(8):
            damaged = bytearray(value)
            damaged[at] ^= 1 << bit
            poison_or_canonical(bytes(damaged), Everything)


def test_every_truncation_and_extension_is_poison() -> None:
    value = CODEC.encode(sample())
    for end in range(len(value)):
        with pytest.raises(Poison):
            CODEC.decode(value[:end], Everything)
    for tail in (b"\x00", b"\x02", b"\xff" * 9):
        with pytest.raises(Poison):
            CODEC.decode(value + tail, Everything)


def body(event: ActivityRecorded) -> bytes:
    return CODEC.encode(event)[5:]


RECORDED = ActivityRecorded(run="r1", activity="a", sequence=1, last=False)
HEAD = body(RECORDED)[:-3]  # up to the absent deadline and the two empty maps


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        HEAD[:-1] + b"\x07\x00\x00\x00",  # boolean 7
        HEAD + b"\x01\x00\x00",  # union branch -1
        HEAD + b"\x04\x00\x00",  # union branch 2
        HEAD + b"\x80\x00\x00\x00",  # branch 0 in two bytes
        HEAD + b"\x00\x01\x00",  # map count -1
        HEAD + b"\x00\x01" + b"\x80\x80\x80\x80\x80\x20" + b"\x02a\x02b\x00\x00",  # negative count, huge block size
        HEAD + b"\x00" + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00",  # count 2**63 - 1
        HEAD + b"\x00" + b"\xff" * 40,  # a number that never ends
        HEAD + b"\x00\x04\x02a\x02b\x02a\x02c\x00\x00",  # one key twice
        HEAD + b"\x00\x02\x02a\x02b\x02\x02c\x02d\x00\x00",  # two blocks
        HEAD + b"\x00\x02\x02\xff\x02b\x00\x00",  # not UTF-8
        b"\xfe\xff\xff\xff\x0f" + HEAD,  # text of 2 GiB
        b"\x01" + HEAD,  # text of length -1
        body(RECORDED) + b"\x00",
    ],
)
def test_known_attacks_are_poison(hostile: bytes) -> None:
    prefix = CODEC._plan(ActivityRecorded).prefix
    with pytest.raises(Poison, match=r"activity\.recorded"):
        CODEC.decode(prefix + hostile, ActivityRecorded)


def test_an_enum_index_out_of_range_is_poison() -> None:
    event = BirthNotified(
        child="ps-0001",
        mother="AZ-0001",
        born_at=datetime(2026, 1, 1, tzinfo=UTC),
        sex=Sex.FEMALE,
        plurality=1,
        birth_order=1,
        stillborn=False,
        weight_g=3000,
        facility="clinic-1",
        mother_citizenship="AZ",
    )
    value = CODEC.encode(event)
    at = value.index(b"\x00\x02\x02\x00")  # sex, plurality, order, stillborn
    for index in (b"\x01", b"\x06", b"\x80"):
        with pytest.raises(Poison):
            CODEC.decode(value[:at] + index + value[at + 1 :], BirthNotified)


def test_a_valid_encoding_of_an_invalid_event_is_poison_naming_the_field_and_not_the_value() -> None:
    wrong = RECORDED.model_copy(update={"sequence": 0, "run": "secret person!"})
    with pytest.raises(Poison, match="sequence") as caught:
        CODEC.decode(CODEC.encode(wrong), ActivityRecorded)
    assert "run" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_hostile_bytes_take_memory_in_proportion() -> None:
    rng = random.Random(7)
    prefix = CODEC._plan(Everything).prefix
    good = CODEC.encode(sample())
    for _ in range(300):
        at = rng.randrange(5, len(good))
        value = good[:at] + rng.randbytes(rng.randrange(60_000)) if rng.random() < 0.5 else prefix + b"\x02" * 60_000
        tracemalloc.start()
        poison_or_canonical(value, Everything)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 64 * len(value) + 100_000


def test_a_value_is_taken_up_to_the_limit_and_not_beyond() -> None:
    def of(size: int) -> ActivityRecorded:
        parts = {f"k{i}": "x" * 60_000 for i in range(4)}
        return RECORDED.model_copy(update={"attributes": {**parts, "last": "x" * (size - 240_000)}})

    room = MAX_VALUE - len(CODEC.encode(of(250_000))) + 250_000
    value = CODEC.encode(of(room))
    assert len(value) == MAX_VALUE
    assert CODEC.decode(value, ActivityRecorded) == of(room)
    with pytest.raises(EventRefused, match="reference"):
        CODEC.encode(of(room + 1))
    with pytest.raises(Poison, match="above"):
        CODEC.decode(value + b"\x00", ActivityRecorded)


@pytest.mark.parametrize("value", [None, b"", b"\x00", b"\x00\x00\x00\x00", b"\x01\x00\x00\x00\x01x", b"{}"])
def test_a_value_without_frame_is_poison(value: bytes | None) -> None:
    with pytest.raises(Poison):
        CODEC.decode(value, ActivityRecorded)


def test_an_unknown_schema_id_and_one_of_another_contract_are_poison() -> None:
    value = CODEC.encode(RECORDED)
    with pytest.raises(Poison, match="not known"):
        CODEC.decode(b"\x00\x00\x00\x00\x01" + value[5:], ActivityRecorded)
    foreign = Codec(CATALOGUE, {1: schema_of(BirthNotified)})
    with pytest.raises(Poison, match="another contract"):
        foreign.decode(b"\x00\x00\x00\x00\x01" + value[5:], ActivityRecorded)


def test_a_model_outside_the_catalogue_is_refused() -> None:
    codec = Codec(Catalogue([ActivityRecorded]))
    with pytest.raises(UnknownType, match="Everything"):
        codec.encode(sample())


def test_a_schema_guid_in_the_header_is_taken_when_it_is_known() -> None:
    guid = bytes(range(16))
    codec = Codec(CATALOGUE, guids={guid: CODEC.schema_id(ActivityRecorded)})
    bare = CODEC.encode(RECORDED)[5:]
    assert codec.decode(bare, ActivityRecorded, [("x", b"y"), (GUID_HEADER, b"\x01" + guid)]) == RECORDED
    for header in (b"\x00" + guid, b"\x01" + guid[:-1], b"", None):
        with pytest.raises(Poison, match="GUID"):
            codec.decode(bare, ActivityRecorded, [(GUID_HEADER, header)])


def older(model: type[Event], **changes: Any) -> dict[str, Any]:
    """The model's schema as another version would have it: fields dropped, added or changed."""
    schema = schema_of(model)
    fields = [f for f in schema["fields"] if changes.get(f["name"], f) is not None]
    schema["fields"] = [{**f, **changes.get(f["name"], {})} for f in fields]
    schema["fields"] += changes.get("added", [])
    return schema


def foreign_value(schema: dict[str, Any], data: dict[str, Any]) -> bytes:
    out = io.BytesIO(b"\x00\x00\x00\x00\x09")
    out.seek(5)
    fastavro.schemaless_writer(out, schema, data)
    return out.getvalue()


def test_another_versions_bytes_are_resolved_into_the_model() -> None:
    schema = older(
        ActivityRecorded, deadline=None, added=[{"name": "extra", "type": {"type": "array", "items": "long"}}]
    )
    codec = Codec(CATALOGUE, {9: schema})
    value = foreign_value(schema, {**RECORDED.model_dump(), "extra": [1, 2, 3]})
    assert codec.decode(value, ActivityRecorded) == RECORDED
    for end in range(5, len(value)):
        with pytest.raises(Poison):
            codec.decode(value[:end], ActivityRecorded)


def test_blocks_with_byte_sizes_of_another_writer_pass_when_the_size_is_right() -> None:
    schema = older(ActivityRecorded, deadline=None)
    codec = Codec(CATALOGUE, {9: schema})
    plain = foreign_value(schema, RECORDED.model_dump())
    sized = plain[:-2] + b"\x01\x08\x02a\x02b\x00" + b"\x00"
    assert codec.decode(sized, ActivityRecorded).attributes == {"a": "b"}
    for wrong in (b"\x01\x0a\x02a\x02b\x00\x00", b"\x01\xfe\xff\xff\xff\x0f\x02a\x02b\x00\x00"):
        with pytest.raises(Poison):
            codec.decode(plain[:-2] + wrong, ActivityRecorded)


@SLOW
@given(events(ActivityRecorded), st.data())
def test_damaged_bytes_of_another_version_are_poison_or_an_event(event: ActivityRecorded, data: st.DataObject) -> None:
    schema = older(
        ActivityRecorded,
        deadline=None,
        added=[
            {"name": "f", "type": {"type": "fixed", "name": "F", "size": 3}},
            {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
            {
                "name": "u",
                "type": ["null", "double", {"type": "array", "items": {"type": "int", "logicalType": "date"}}],
            },
        ],
    )
    codec = Codec(CATALOGUE, {9: schema})
    value = bytearray(foreign_value(schema, {**event.model_dump(), "f": b"abc", "e": "B", "u": [date(2026, 1, 1)]}))
    at = data.draw(st.integers(5, len(value) - 1))
    value[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=10))
    with suppress(Poison):
        assert isinstance(codec.decode(bytes(value), ActivityRecorded), ActivityRecorded)


def test_a_newer_enum_symbol_is_read_as_the_fallback() -> None:
    schema = schema_of(Everything)
    colour = next(f for f in schema["fields"] if f["name"] == "colour")["type"]
    colour["symbols"] = ["violet", *colour["symbols"]]
    codec = Codec(CATALOGUE, {9: schema})
    value = foreign_value(schema, {**sample().model_dump(), "colour": "violet"})
    assert codec.decode(value, Everything) == sample().model_copy(update={"colour": Colour.UNKNOWN})


@pytest.mark.parametrize(
    "field",
    [
        {"name": "x", "type": {"type": "array", "items": "null"}},
        {"name": "x", "type": {"type": "array", "items": {"type": "record", "name": "Nothing", "fields": []}}},
        {"name": "x", "type": {"type": "array", "items": {"type": "fixed", "name": "None_", "size": 0}}},
        {"name": "x", "type": ["null", "agencybus.activity.ActivityRecorded"]},
    ],
)
def test_a_writer_schema_that_could_be_abused_makes_poison_of_its_own_events_only(field: dict[str, Any]) -> None:
    codec = Codec(CATALOGUE, {9: older(ActivityRecorded, added=[field]), 8: "nonsense", 7: schema_of(ActivityRecorded)})  # type: ignore[dict-item]
    value = codec.encode(RECORDED)
    for number in (9, 8):
        with pytest.raises(Poison, match="cannot be read safely"):
            codec.decode(bytes((0, 0, 0, 0, number)) + value[5:], ActivityRecorded)
    assert codec.decode(bytes((0, 0, 0, 0, 7)) + value[5:], ActivityRecorded) == RECORDED


def test_what_cannot_be_written_is_refused_and_not_cut() -> None:
    for change in ({"number": 2**63}, {"text": "\ud800"}, {"money": Decimal("1.23456")}, {"colour": "violet"}):
        with pytest.raises(EventRefused):
            CODEC.encode(sample().model_copy(update=change))
    east = timezone(timedelta(hours=-14))
    with pytest.raises(EventRefused):
        CODEC.encode(sample().model_copy(update={"moment": datetime(9999, 12, 31, 23, tzinfo=east)}))


NUMBERS = ["-1", "1e3", "0.00005", "1.50000", "99999999999999999999999999", "NaN", "Infinity", "12345.6789"]
TIMES = ["2026-01-01T00:00:00", "2026-01-01T00:00:00+04:00", "9999-12-31T23:00:00-04:00", "0001-01-01T00:00:00+14:00"]
TEXTS = ["", "x", "2026-01-01", "0193F5A0-0000-7000-8000-000000000001", "\ud800"]
OTHERS: list[object] = [2**63, -(2**63) - 1, 1.5, True, None, [], {}]
HARD = st.sampled_from([*NUMBERS, *TIMES, *TEXTS, *OTHERS])


@SLOW
@given(ANY_EVENT, st.data())
def test_json_is_written_as_the_event_it_makes_or_refused_for_the_same_reason(
    event: Event, data: st.DataObject
) -> None:
    said = event.model_dump(mode="json")
    for name in data.draw(st.lists(st.sampled_from(sorted(said)), max_size=2)):
        said[name] = data.draw(HARD)
    text = json.dumps(said).encode()

    def outcome(encode: Callable[[], bytes]) -> tuple[str, object]:
        try:
            return "bytes", encode()
        except ValidationError as fault:
            return "invalid", [(error["loc"], error["msg"]) for error in fault.errors()]
        except EventRefused as fault:
            return "refused", str(fault)

    model = type(event)
    by_way_of_the_model = outcome(lambda: CODEC.encode(model.model_validate_json(text)))
    assert outcome(lambda: CODEC.encode_json([(model, text)])[0]) == by_way_of_the_model


def test_json_with_more_digits_than_its_contract_allows_is_refused_naming_the_field() -> None:
    said = sample().model_dump(mode="json") | {"maybe_money": "123456"}
    with pytest.raises(ValidationError, match="maybe_money"):
        CODEC.encode_json([(Everything, json.dumps(said).encode())])


def test_a_decimal_with_more_digits_than_its_contract_allows_is_not_written() -> None:
    with pytest.raises(EventRefused, match="OverflowError"):
        CODEC.encode(sample().model_copy(update={"maybe_money": Decimal(123456)}))


def test_events_of_several_contracts_are_written_together_in_their_order_all_or_none() -> None:
    said = [(type(event), event.model_dump_json().encode()) for event in EVENTS]
    assert CODEC.encode_json(said) == [CODEC.encode(event) for event in EVENTS]
    assert CODEC.encode_json([]) == []
    with pytest.raises(ValidationError):
        CODEC.encode_json([*said, (ActivityRecorded, b"{}")])


def test_values_are_read_together_in_their_order_whoever_wrote_them() -> None:
    told = [(CODEC.encode(event), type(event), ()) for event in EVENTS]
    assert CODEC.decode_fields(told) == [vars(event) for event in EVENTS]
    assert CODEC.decode_fields([]) == []
    first = EVENTS[0]
    guids = Codec(CATALOGUE, guids={b"g" * 16: CODEC.schema_id(type(first))})
    by_guid = (CODEC.encode(first)[5:], type(first), ((GUID_HEADER, b"\x01" + b"g" * 16),))
    assert guids.decode_fields([*told, by_guid]) == [vars(event) for event in [*EVENTS, first]]


@pytest.mark.parametrize("bad", [None, b"", b"junk", b"\0" * 9, b"\0" * (MAX_VALUE + 1)])
def test_one_value_that_is_poison_is_told_as_if_it_stood_alone(bad: bytes | None) -> None:
    good = CODEC.encode(sample())
    for value in (bad, good[:-1], good + b"\0"):
        with pytest.raises(Poison) as alone:
            CODEC.decode(value, Everything)
        with pytest.raises(Poison) as among:
            CODEC.decode_fields([(good, Everything, ()), (value, Everything, ()), (good, Everything, ())])
        assert str(among.value) == str(alone.value)


def test_a_value_above_the_limit_is_poison_among_others_as_well() -> None:
    event = ActivityRecorded(
        run="r", activity="a", sequence=1, last=False, attributes={str(n): "x" * 60_000 for n in range(5)}
    )
    large = Codec(CATALOGUE)._plan(ActivityRecorded)
    with pytest.raises(Poison, match="above"):
        CODEC.decode_fields([(large.prefix + large.write(event), ActivityRecorded, ())])

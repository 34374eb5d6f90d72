"""Where bytes stop being an event: the walk agrees with the codec on every mutation, and names field and byte."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import avro
from schemas.avro import schema_of
from schemas.catalogue import Catalogue, standard
from schemas.codec import Codec
from schemas.errors import Poison
from schemas.event import Event
from schemas.explain import Fault, explain
from schemas.requests import RequestCreated
from tests.schemas.samples import EVENTS, Everything

CODEC = Codec(Catalogue([*standard().models(), Everything]))
VALUES = [(CODEC.encode(event), event) for event in EVENTS]
REQUEST = next(event for event in EVENTS if isinstance(event, RequestCreated))
GOOD = CODEC.encode(REQUEST)


def decodes(value: bytes, model: type[Event]) -> bool:
    try:
        CODEC.decode(value, model)
    except Poison:
        return False
    return True


@pytest.mark.parametrize(("value", "event"), VALUES, ids=lambda v: type(v).__name__ if isinstance(v, Event) else "")
def test_a_good_event_has_no_fault_and_its_spots_cover_its_bytes(value: bytes, event: Event) -> None:
    found = explain(value, type(event))
    assert found.fault is None
    assert found.spots[0].at in {5, 6}
    assert all(one.end <= two.at for one, two in zip(found.spots, found.spots[1:], strict=False))
    assert len(value) - found.spots[-1].end <= 2
    assert {spot.path.split(".")[0] for spot in found.spots} >= set(type(event).model_fields) - {"place", "other_place"}


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_the_walk_and_the_codec_agree_on_any_bytes(data: st.DataObject) -> None:
    value, event = data.draw(st.sampled_from(VALUES))
    raw = bytearray(value)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(5, len(raw)))
        match data.draw(st.sampled_from(["set", "cut", "put", "bit"])):
            case "set" if at < len(raw):
                raw[at] = data.draw(st.integers(0, 255))
            case "bit" if at < len(raw):
                raw[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del raw[at : at + data.draw(st.integers(1, 8))]
            case _:
                raw[at:at] = data.draw(st.binary(min_size=1, max_size=12))
    fault = explain(bytes(raw), type(event)).fault
    assert (fault is None) == decodes(bytes(raw), type(event)), fault
    assert fault is None or 5 <= fault.at <= len(raw)


def spot_of(path: str) -> int:
    return next(spot.at for spot in explain(GOOD, RequestCreated).spots if spot.path == path)


def test_the_field_and_the_byte_at_fault_are_named() -> None:
    at = spot_of("channel")
    broken = bytearray(GOOD)
    broken[at] = 126
    assert explain(bytes(broken), RequestCreated).fault == Fault("channel", at, "Channel has no such symbol")
    cut = GOOD[: spot_of("subject") + 3]
    fault = explain(cut, RequestCreated).fault
    assert fault is not None
    assert (fault.path, fault.at) == ("subject", spot_of("subject"))
    text = bytearray(GOOD)
    text[spot_of("kind") + 3] = 0xFF
    assert explain(bytes(text), RequestCreated).fault == Fault(
        "kind", spot_of("kind") + 3, "the text is not UTF-8 here"
    )
    fault = explain(GOOD + b"\0\0", RequestCreated).fault
    assert fault == Fault("end", len(GOOD), "2 byte(s) are left over")


def test_what_the_contract_s_own_rules_refuse_is_found_at_its_field_without_its_value() -> None:
    bad = CODEC.encode(REQUEST.model_copy(update={"kind": "Not A Code"}))
    fault = explain(bad, RequestCreated).fault
    assert fault is not None
    assert (fault.path, fault.at) == ("kind", spot_of("kind"))
    assert "pattern" in fault.reason
    assert "Not A Code" not in fault.reason


def test_no_frame_and_an_unknown_schema_are_said_before_any_field() -> None:
    for value in (b"", b"\0\0", b"\1" + GOOD[1:]):
        fault = explain(value, RequestCreated).fault
        assert fault is not None
        assert (fault.path, fault.at) == ("frame", 0)
    other = b"\0\0\0\0\7" + GOOD[5:]
    fault = explain(other, RequestCreated).fault
    assert fault is not None
    assert (fault.path, fault.at) == ("schema id", 1)
    assert "7 is not known" in fault.reason


def test_bytes_of_another_version_are_scanned_by_its_own_schema() -> None:
    older = copy.deepcopy(schema_of(RequestCreated))
    older["fields"] = older["fields"][:3]
    number = avro.schema_id(older)
    ends = spot_of("subject") + GOOD[spot_of("subject")] // 2 + 1
    value = b"\0" + number.to_bytes(4, "big") + GOOD[5:ends]
    assert explain(value, RequestCreated, writers={number: older}).fault is None
    fault = explain(value[:-2], RequestCreated, writers={number: older}).fault
    assert fault is not None
    assert (fault.path, fault.at) == (older["fields"][2]["name"], spot_of("subject"))
    fault = explain(value + b"x", RequestCreated, writers={number: older}).fault
    assert fault == Fault("end", len(value), "bytes are left over or missing at the end")
    broken = {**older, "fields": "none"}
    fault = explain(value, RequestCreated, writers={number: broken}).fault
    assert fault is not None
    assert fault.path == "schema id"

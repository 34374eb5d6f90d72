"""The envelope survives headers, and headers that lie are refused with the header named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from schemas.envelope import (
    MAX_ATTRIBUTE,
    Envelope,
    Letterhead,
    fingerprint,
    format_time,
    format_us,
    from_headers,
    from_ms,
    parse_time,
    to_headers,
    to_ms,
    to_us,
)
from schemas.errors import EnvelopeRefused

NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
PLAIN = Envelope(id="1", source="/agencies/justice", type="justice.birth.registered.v1", time=NOW)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
TIMES = st.datetimes(min_value=datetime(1, 1, 1), timezones=st.just(UTC))
ENVELOPES = st.builds(
    Envelope,
    id=TEXT,
    source=TEXT,
    type=TEXT,
    time=TIMES,
    correlationid=st.none() | TEXT,
    causationid=st.none() | TEXT,
    partitionkey=st.none() | TEXT,
    subject=st.none() | TEXT,
    purpose=st.none() | TEXT,
    legalbasis=st.none() | TEXT,
    recordedtime=st.none() | TIMES,
    dataschema=st.none() | TEXT,
    traceparent=st.none() | TEXT,
    seal=st.none() | st.binary(),
)


@given(ENVELOPES, st.randoms())
def test_an_envelope_comes_back_from_its_headers_in_any_order_among_others(envelope: Envelope, rng: object) -> None:
    headers: list[tuple[str, bytes | None]] = [*to_headers(envelope), ("foreign", b"\xff"), ("foreign", None)]
    rng.shuffle(headers)  # type: ignore[attr-defined]
    assert from_headers(headers) == envelope


def test_the_headers_are_those_of_cloudevents_in_binary_mode() -> None:
    assert to_headers(PLAIN) == [
        ("ce_specversion", b"1.0"),
        ("content-type", b"application/avro"),
        ("ce_id", b"1"),
        ("ce_source", b"/agencies/justice"),
        ("ce_type", b"justice.birth.registered.v1"),
        ("ce_time", b"2026-03-04T05:06:07.890123Z"),
    ]
    for name, _ in to_headers(PLAIN):
        attribute = name.removeprefix("ce_")
        assert name == "content-type" or (attribute.isascii() and attribute.isalnum() and len(attribute) <= 20)


@pytest.mark.parametrize("name", ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"])
@pytest.mark.parametrize("hostile", ["missing", "empty", "none", "not UTF-8", "doubled"])
def test_a_required_header_that_is_not_there_once_as_text_is_refused(name: str, hostile: str) -> None:
    headers: list[tuple[str, bytes | None]] = []
    for header, value in to_headers(PLAIN):
        changed: dict[str, list[tuple[str, bytes | None]]] = {
            "missing": [],
            "empty": [(header, b"")],
            "none": [(header, None)],
            "not UTF-8": [(header, b"\xff")],
            "doubled": [(header, b"other"), (header, value)],
        }
        headers += changed[hostile] if header == name else [(header, value)]
    with pytest.raises(EnvelopeRefused) as caught:
        from_headers(headers)
    assert caught.value.field == name


def test_the_seal_cannot_stand_twice() -> None:
    with pytest.raises(EnvelopeRefused) as caught:
        from_headers([*to_headers(PLAIN), ("seal", b"a"), ("seal", b"b")])
    assert caught.value.field == "seal"


@pytest.mark.parametrize("header", ["ce_correlationid", "ce_recordedtime", "ce_purpose"])
def test_an_optional_header_of_ours_is_read_as_strictly(header: str) -> None:
    for extra in ([(header, None)], [(header, b"\xff")], [(header, b"a"), (header, b"a")]):
        with pytest.raises(EnvelopeRefused) as caught:
            from_headers([*to_headers(PLAIN), *extra])
        assert caught.value.field == header


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-03-04", "2026-03-04T05:06:07", "2026-13-04T05:06:07Z", "0001-01-01T00:00:00+10:00", "9" * 999],
)
def test_a_time_without_zone_or_sense_is_refused(text: str) -> None:
    headers = [(n, text.encode() if n == "ce_time" else v) for n, v in to_headers(PLAIN)]
    with pytest.raises(EnvelopeRefused) as caught:
        from_headers(headers)
    assert caught.value.field == "ce_time"


@given(
    st.lists(st.tuples(st.sampled_from(["ce_id", "ce_time", "ce_specversion", "seal", "x"]), st.none() | st.binary()))
)
def test_any_headers_are_an_envelope_or_refused(headers: list[tuple[str, bytes | None]]) -> None:
    with pytest.raises(EnvelopeRefused):
        from_headers(headers)


@given(TIMES, TIMES)
def test_text_order_is_time_order(one: datetime, other: datetime) -> None:
    assert (format_time(one) < format_time(other)) == (one < other)
    assert parse_time(format_time(one)) == one


def test_times_of_any_zone_are_written_in_utc() -> None:
    assert format_time(NOW.astimezone(timezone(timedelta(hours=4)))) == "2026-03-04T05:06:07.890123Z"
    assert parse_time("2026-03-04T09:06:07.890123+04:00") == NOW


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_count_of_microseconds_is_written_as_the_time_it_counts(moment: datetime) -> None:
    assert format_us(to_us(moment)) == format_time(moment)


SAID = st.none() | st.text()


@given(
    st.text(min_size=1),
    st.datetimes(timezones=st.just(UTC)),
    st.fixed_dictionaries(
        {"case": SAID, "cause": SAID},
        optional=dict.fromkeys(("partitionkey", "purpose", "legalbasis", "traceparent"), SAID),
    ),
)
def test_a_letterhead_writes_what_an_envelope_says(event_id: str, at: datetime, said: dict[str, Any]) -> None:
    shared: dict[str, Any] = {
        "source": "/agencies/justice",
        "type": "justice.birth.registered.v1",
        "dataschema": "urn:1",
    }
    others = {"correlationid" if n == "case" else "causationid" if n == "cause" else n: v for n, v in said.items()}
    written = Letterhead(**shared).headers(id=event_id, at=to_us(at), **said)
    assert written == tuple(to_headers(Envelope(id=event_id, time=at, **shared, **others)))


@pytest.mark.parametrize("field", ["id", "case", "cause", "partitionkey", "purpose", "legalbasis", "traceparent"])
@pytest.mark.parametrize("bad", ["x" * (MAX_ATTRIBUTE + 1), "\ud800"])
def test_a_letterhead_refuses_what_an_envelope_may_not_say(field: str, bad: str) -> None:
    told = {"id": "1", "case": "c", "cause": "2", field: bad}
    with pytest.raises(EnvelopeRefused):
        Letterhead(source="/agencies/a", type="t", dataschema="s").headers(at=0, **told)


def test_milliseconds_are_rounded_down_also_before_1970() -> None:
    assert to_ms(NOW) == 1772600767890
    assert to_ms(datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)) == -1
    assert from_ms(1772600767890) == NOW.replace(microsecond=890000)


def test_the_agency_is_the_last_part_of_the_source() -> None:
    assert PLAIN.agency == "justice"


def test_a_fingerprint_tells_source_and_id_apart() -> None:
    assert fingerprint("a", "b") == "59b271ae1bbcb1d3"  # stored with effects: it may not change
    assert len({fingerprint("a", "bc"), fingerprint("ab", "c"), fingerprint("bc", "a")}) == 3


def test_an_attribute_too_long_to_be_repeated_in_an_answer_is_refused_both_ways() -> None:
    long = "x" * (MAX_ATTRIBUTE + 1)
    fits = Envelope(id="x" * MAX_ATTRIBUTE, source="/agencies/a", type="t", time=datetime(2026, 1, 5, tzinfo=UTC))
    assert from_headers(to_headers(fits)) == fits
    with pytest.raises(EnvelopeRefused, match="ce_id: is longer"):
        to_headers(structs.replace(fits, id=long))
    headers = [(name, long.encode() if name == "ce_id" else raw) for name, raw in to_headers(fits)]
    with pytest.raises(EnvelopeRefused, match="ce_id: is longer"):
        from_headers(headers)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999000Z"),
        (-(2**63), "0001-01-01T00:00:00.000000Z"),
        (2**63 - 1, "9999-12-31T23:59:59.999000Z"),
    ],
)
def test_any_time_a_record_may_carry_can_be_told(ms: int, text: str) -> None:
    assert format_time(from_ms(ms)) == text

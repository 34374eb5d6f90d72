from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bus.message import Outgoing, Partition, Record, Unreadable
from bus.middleware.dead_letter import DeadLetters, Failure, dead_record, letter_id, place_of
from bus.middleware.retry import Kind
from bus.partitioner import partition_for
from bus.transport.rules import check_sizes

WHEN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
RECORD = Record("a.b.c.v1", 2, 17, 1_000, b"case", b"\xff secret", (("ce_id", b"\xff"), ("x", None), ("x", b"2")))
FAILURE = Failure(
    stage="handler", kind=Kind.BUG, error="KeyError", attempt=5, first=WHEN, last=WHEN + timedelta(seconds=3)
)


def test_bytes_and_headers_stay_and_place_and_cause_are_added() -> None:
    letter = dead_record(RECORD, FAILURE, group="g")
    assert (letter.key, letter.value, letter.headers[:3]) == (RECORD.key, RECORD.value, RECORD.headers)
    assert dict(letter.headers[3:]) == {
        "dead_id": b"28c982454caca908",
        "dead_group": b"g",
        "dead_topic": b"a.b.c.v1",
        "dead_partition": b"2",
        "dead_offset": b"17",
        "dead_appended": b"1970-01-01T00:00:01.000000Z",
        "dead_stage": b"handler",
        "dead_kind": b"bug",
        "dead_error": b"KeyError",
        "dead_attempt": b"5",
        "dead_first": b"2026-01-05T08:00:00.000000Z",
        "dead_last": b"2026-01-05T08:00:03.000000Z",
    }


def test_a_letter_has_one_identity_per_group_place_and_redrive_and_says_how_often_it_came_back() -> None:
    known = sha256(b"g\x00a.b.c.v1\x002\x0017\x000").hexdigest()[:16]
    later = replace(FAILURE, attempt=9, last=WHEN + timedelta(days=1))
    assert dict(dead_record(RECORD, later, group="g").headers)["dead_id"] == known.encode()
    assert letter_id(RECORD, group="g") == known
    redriven = dict(dead_record(RECORD, FAILURE, group="g", redrive=2).headers)
    assert (redriven["dead_id"], redriven["dead_redrive"]) == (
        letter_id(RECORD, group="g", redrive=2).encode(),
        b"2",
    )
    moved = [
        structs.replace(RECORD, offset=18),
        structs.replace(RECORD, partition=1),
        structs.replace(RECORD, topic="a.b.c.v2"),
    ]
    ids = {known, letter_id(RECORD, group="h"), letter_id(RECORD, group="g", redrive=2)}
    assert len(ids | {letter_id(record, group="g") for record in moved}) == 6


def test_the_letter_of_what_no_client_could_parse_names_its_scope_and_offsets_and_keeps_the_bytes() -> None:
    value = Unreadable(b"\xff raw", reason="header-key", scope="batch", first=15, last=17)
    letter = dead_record(structs.replace(RECORD, key=None, value=value, headers=()), FAILURE, group="g")
    told = dict(letter.headers)
    assert (told["dead_scope"], told["dead_first_offset"], told["dead_last_offset"]) == (b"batch", b"15", b"17")
    assert letter.value == value
    assert type(letter.value) is bytes
    assert not {"dead_scope", "dead_first_offset"} & dict(dead_record(RECORD, FAILURE, group="g").headers).keys()


@given(
    key=st.sampled_from([None, b"case", b"k" * 1_100_000]),
    value=st.sampled_from([0, 900_000, 949_000, 950_000, 999_500, 1_048_300, 5_000_000]),
    header=st.sampled_from([0, 999_500, 1_048_000]),
)
def test_the_letter_of_a_record_that_leaves_no_room_names_its_place_alone(
    key: bytes | None, value: int, header: int
) -> None:
    record = structs.replace(RECORD, key=key, value=b"v" * value, headers=(("h", b"h" * header),))
    letter = dead_record(record, FAILURE, group="g")
    check_sizes([letter])  # what every producer asks
    told = dict(letter.headers)
    assert (told["dead_topic"], told["dead_partition"], told["dead_offset"]) == (b"a.b.c.v1", b"2", b"17")
    assert ("dead_left_out" in told) == (len(key or b"") + value + header > 949_900)
    if "dead_left_out" in told:
        assert letter.value is None
        assert "h" not in told
        assert int(told["dead_left_out"] or 0) >= value + header
        assert letter.key == (key if key == b"case" else None)
    else:
        assert (letter.key, letter.value, told["h"]) == (record.key, record.value, record.headers[0][1])


def test_a_case_s_dead_letters_stay_on_one_partition_of_the_group_s_topic() -> None:
    written: list[tuple[Partition, Sequence[Outgoing]]] = []

    def append(place: Partition, records: Sequence[Outgoing]) -> int:
        written.append((place, records))
        return 0

    letters = DeadLetters(group="g", append=append, partitions=lambda topic: 3)
    assert letters.write(RECORD, FAILURE) == letters.write(RECORD, FAILURE)
    assert {place for place, _ in written} == {place_of(RECORD, group="g", partitions=3)}


@given(key=st.none() | st.binary(), number=st.integers(0, 99), partitions=st.integers(1, 12))
def test_the_key_alone_decides_the_place(key: bytes | None, number: int, partitions: int) -> None:
    place = place_of(structs.replace(RECORD, key=key, partition=number), group="g", partitions=partitions)
    assert place.topic == "g.dead"
    assert 0 <= place.number < partitions
    assert place == place_of(structs.replace(RECORD, key=key), group="g", partitions=partitions)
    assert place.number == partition_for(key or b"", partitions)

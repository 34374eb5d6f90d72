from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from bus.message import Outgoing, Partition, Record
from bus.middleware.dead_letter import DeadLetters, Failure, dead_record
from bus.middleware.retry import Kind

WHEN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
RECORD = Record("a.b.c.v1", 2, 17, 1_000, b"case", b"\xff secret", (("ce_id", b"\xff"), ("x", None), ("x", b"2")))
FAILURE = Failure(
    stage="handler", kind=Kind.BUG, error="KeyError", attempt=5, first=WHEN, last=WHEN + timedelta(seconds=3)
)


def test_bytes_and_headers_stay_and_place_and_cause_are_added() -> None:
    letter = dead_record(RECORD, FAILURE, group="g")
    assert (letter.key, letter.value, letter.headers[:3]) == (RECORD.key, RECORD.value, RECORD.headers)
    assert dict(letter.headers[3:]) == {
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


def test_a_case_s_dead_letters_stay_on_one_partition_of_the_group_s_topic() -> None:
    written: list[tuple[Partition, Sequence[Outgoing]]] = []

    def append(place: Partition, records: Sequence[Outgoing]) -> int:
        written.append((place, records))
        return 0

    letters = DeadLetters(group="g", append=append, partitions=lambda topic: 3)
    assert letters.write(RECORD, FAILURE) == letters.write(RECORD, FAILURE)
    assert {place.topic for place, _ in written} == {"g.dead"}
    assert len({place for place, _ in written}) == 1

"""The input of the workflow scenarios: events of recorded cases, the same content for every side.

Called by the scenarios. Typed for our worker, as JSON for plain Faust (`faust.Record`, as its documentation shows).
Cases are mixed as they are in a log sorted by time, from a fixed seed; attributes are those of a real permit log in
number and size. All of it is synthetic.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from bus.message import Record
from bus.publish import Publication
from schemas.recorded import ActivityRecorded

TOPIC, FOLLOWED = "replay.activity.recorded.v1", "replay.activity.followed.v1"
LATE = "bus.deadline.missed.v1"  # the process may emit it; these cases have no deadline
PLAIN_TOPIC, PLAIN_FOLLOWED = "bench.plain.recorded", "bench.plain.followed"
EVENTS_PER_CASE = 20
_START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_ACTIVITIES = ("Confirmation of receipt", "T02 Check confirmation", "T04 Determine confirmation", "T10 Determine stop")
_CASE_ATTRIBUTES = {
    "channel": "Internet",
    "department": "General",
    "group": "Group 2",
    "responsible": "Resource21",
    "startdate": "2026-01-05T08:00:00+01:00",
}


def events(count: int, *, run: str) -> Iterator[tuple[str, str, datetime, ActivityRecorded]]:
    """(case, id, time, event) of `count` events, cases mixed, the order within a case kept."""
    cases = [f"{run}-case-{number:06d}" for number in range(max(1, count // EVENTS_PER_CASE))]
    order = [case for case in cases for _ in range(EVENTS_PER_CASE)][:count]
    order += cases[: count - len(order)]
    lengths = {case: order.count(case) for case in cases} if len(order) != len(cases) * EVENTS_PER_CASE else {}
    random.Random(20).shuffle(order)
    done = dict.fromkeys(cases, 0)
    for number, case in enumerate(order):
        done[case] += 1
        sequence = done[case]
        moment = _START + timedelta(seconds=number)
        event = ActivityRecorded(
            run=run,
            activity=_ACTIVITIES[sequence % len(_ACTIVITIES)],
            sequence=sequence,
            last=sequence == lengths.get(case, EVENTS_PER_CASE),
            attributes={"org:group": "Group 1", "org:resource": f"Resource{sequence:02d}", "lifecycle": "complete"},
            case_attributes=_CASE_ATTRIBUTES if sequence == 1 else {},
        )
        yield case, f"{case}-{sequence}", moment, event


def publications(count: int, *, run: str) -> Iterator[Publication]:
    """The events as our publisher takes them."""
    for case, event_id, moment, event in events(count, run=run):
        yield Publication(event=event, case=case, id=event_id, time=moment)


def plain(count: int, *, run: str) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of the same events for plain Faust."""
    for case, event_id, moment, event in events(count, run=run):
        body = {"id": event_id, "case": case, "time": moment.isoformat(), **event.model_dump(mode="json")}
        del body["deadline"]
        yield case.encode(), json.dumps(body).encode()


def answered(record: Record) -> str:
    """Which input event a follow-up answers."""
    for name, value in record.headers:
        if name == "ce_causationid":
            return (value or b"").decode()
    return str(json.loads(record.value or b"{}")["caused_by"])

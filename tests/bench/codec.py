"""What encoding and decoding cost beside the obvious way, in one process. Run: ``python -m tests.bench.codec``.

Prints one JSON document: microseconds per event (median of the rounds, interleaved) and the two ratios of
research/performance.md section 2: our writer over model_dump + fastavro, our reader over fastavro + model_validate.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from statistics import median
from typing import Annotated, Any
from uuid import UUID

import fastavro
from pydantic import Field

from schemas.avro import schema_of
from schemas.birth import BirthNotified, Sex
from schemas.catalogue import Catalogue
from schemas.codec import Codec
from schemas.event import Event, Part, PersonalData
from schemas.fields import Amount, Moment
from schemas.recorded import ActivityRecorded

ROUNDS, CALLS = 9, 2000
_Text = Annotated[str, Field(max_length=200)]


class Kind(StrEnum):
    """Kind of the synthetic case."""

    FIRST = "first"
    OTHER = "other"


class Place(Part):
    """A synthetic address."""

    street: _Text
    """Street and number."""

    town: _Text
    """Town."""

    since: date
    """Living there since."""


class Wide(Event, contract="bench.wide", agencies=("bench",), personal_data=PersonalData.NONE):
    """The payload of research/performance.md section 2: identifiers, 4 dates, 4 decimals, an enum, 3 nested records."""

    id: UUID
    """Identifier."""

    at: Moment
    """Moment of the fact."""

    seen: Moment
    """Moment of the note."""

    kind: Kind
    """Kind."""

    source: _Text
    """Source."""

    subject: _Text
    """Subject."""

    count: int
    """A count."""

    flag: bool
    """A flag."""

    fee: Amount
    """Fee."""

    tax: Amount
    """Tax."""

    paid: Amount
    """Paid."""

    due: Amount
    """Due."""

    opened: date
    """Opened on."""

    closed: date | None = None
    """Closed on."""

    home: Place
    """Home."""

    work: Place
    """Work."""

    post: Place
    """Post."""


def samples() -> list[Event]:
    """One synthetic event of each measured contract."""
    moment = datetime(2026, 3, 4, 5, 6, 7, 8999, tzinfo=UTC)
    place = Place(street="Synthetic street 12", town="Bakı", since=date(2011, 5, 6))
    return [
        BirthNotified(
            child="ps-000017",
            mother="AZ-1234567",
            born_at=moment,
            sex=Sex.FEMALE,
            plurality=2,
            birth_order=1,
            stillborn=False,
            weight_g=3200,
            facility="clinic-7",
            mother_citizenship="AZ",
        ),
        ActivityRecorded(
            run="r1",
            activity="Confirmation of receipt",
            sequence=3,
            last=False,
            attributes={"org:group": "Group 1", "org:resource": "Resource21", "concept:instance": "task-42933"},
        ),
        Wide(
            id=UUID("0193f5a0-0000-7000-8000-000000000001"),
            at=moment,
            seen=moment,
            kind=Kind.FIRST,
            source="/agencies/justice",
            subject="ps-000017",
            count=31234,
            flag=True,
            fee=Decimal("12.50"),
            tax=Decimal("2.25"),
            paid=Decimal("14.75"),
            due=Decimal("1234567.00"),
            opened=date(2026, 1, 2),
            closed=date(2026, 3, 4),
            home=place,
            work=place,
            post=place,
        ),
    ]


def _paths(event: Event) -> dict[str, Callable[[], Any]]:
    """The four ways, each as a call without arguments."""
    model = type(event)
    codec = Codec(Catalogue([model]))
    schema = fastavro.parse_schema(schema_of(model))
    value = codec.encode(event)
    body = value[5:]

    def obvious_write() -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, event.model_dump())
        return out.getvalue()

    def obvious_read() -> Event:
        return model.model_validate(fastavro.schemaless_reader(io.BytesIO(body), schema, None), strict=False)

    if obvious_write() != body or obvious_read() != event or codec.decode(value, model) != event:
        raise AssertionError("the ways disagree; nothing to measure")
    return {
        "encode": lambda: codec.encode(event),
        "dump_fastavro": obvious_write,
        "decode": lambda: codec.decode(value, model),
        "fastavro_validate": obvious_read,
    }


def measure() -> list[dict[str, Any]]:
    """Microseconds per call and ratios, one entry per contract."""
    results = []
    for event in samples():
        paths = _paths(event)
        times: dict[str, list[float]] = {name: [] for name in paths}
        for _ in range(ROUNDS):
            for name, call in paths.items():
                start = time.perf_counter()
                for _ in range(CALLS):
                    call()
                times[name].append((time.perf_counter() - start) / CALLS * 1e6)
        us = {name: round(median(found), 2) for name, found in times.items()}
        ratios = {
            "encode_ratio": round(us["encode"] / us["dump_fastavro"], 2),
            "decode_ratio": round(us["decode"] / us["fastavro_validate"], 2),
        }
        results.append({"contract": type(event).__name__, **us, **ratios})
    return results


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=2)
    sys.stdout.write("\n")

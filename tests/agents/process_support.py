"""A small catalogue, compiled test processes and arrivals, for the tests of the workflow core."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from hypothesis import strategies as st
from pydantic import Field

from agents.compile import compile_document
from agents.definition import Process
from agents.graph import Graph
from agents.machine import Arrival
from bus import document
from bus.errors import CheckFailed, Finding
from schemas.bus_events import DeadlineMissed
from schemas.catalogue import Catalogue
from schemas.event import Event, Part, PersonalData
from schemas.fields import Code, Moment, Reference

SECOND = 1_000_000
BMP = st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])
"""Characters that `json.dumps` writes as one escape, as YAML wants it."""


class Colour(StrEnum):
    """An enumeration."""

    RED = "red"
    GREEN = "green"


class Address(Part):
    town: str
    zip_code: str | None = None


class Thing(Event, contract="thing.done", agencies=tuple("abcdefghij"), personal_data=PersonalData.NONE):
    number: int = 0
    flag: bool = False
    maybe: bool | None = None
    colour: Colour = Colour.RED
    text: str = "x"
    note: str | None = None
    when: Moment | None = None
    day: date = date(2026, 1, 1)
    price: Decimal = Decimal("1.50")
    address: Address | None = None
    tags: list[str] = Field(default_factory=list)
    reference: Reference = "r1"


class Answer(Event, contract="answer.given", agencies=("z",), personal_data=PersonalData.NONE):
    number: int
    text: str | None = None
    colour: Colour | None = None
    when: Moment | None = None
    day: date | None = None
    price: Decimal | None = None
    address: Address | None = None
    reference: Reference | None = None
    code: Code | None = None
    short: Annotated[str, Field(max_length=3)] | None = None


CATALOGUE = Catalogue((Thing, Answer, DeadlineMissed))
ANSWER = "z.answer.given.v1"
MISSED = "bus.deadline.missed.v1"


def thing(agency: str) -> str:
    return f"{agency}.thing.done.v1"


def definition(steps: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    head = {"process": "p", "title": "A test", "opens_on": thing("a"), "as": "opened"}
    return {**head, **more, "do": steps}


def compiled(steps: list[dict[str, Any]], **more: Any) -> Graph:
    return from_text(json.dumps(definition(steps, **more)))


def from_text(text: str) -> Graph:
    return compile_document(document.parse(text.encode(), Process, file="p.yaml"), CATALOGUE)


def findings(text: str) -> list[Finding]:
    try:
        from_text(text)
    except CheckFailed as failed:
        return failed.findings
    return []


def refused(steps: list[dict[str, Any]], **more: Any) -> dict[str, Finding]:
    """The findings of a process by rule."""
    return {finding.rule: finding for finding in findings(json.dumps(definition(steps, **more)))}


def listen(agency: str, **more: Any) -> dict[str, Any]:
    return {"listen": thing(agency), "owner": agency, "deadline": "none", **more}


END: dict[str, Any] = {"done": {"end": "completed"}}


def arrival(agency: str, at: int, number: int | None = None, case: str = "c1", **values: Any) -> Arrival:
    """An event of `agency` at `at` seconds; `number` tells events apart (default: the time)."""
    serial = at if number is None else number
    full = {"number": 0, "flag": False, "maybe": None, "colour": "red", "text": "x", "note": None, "when": None}
    topic = thing(agency)
    fields = {**full, "day": "2026-01-01", "price": "1.50", "reference": "r1", **values}
    return Arrival(case, topic, 0, serial, f"{agency}{serial:015x}", f"{agency}-{serial}", at * SECOND, fields)

"""JSON lines in and results out: what `agencybus publish` reads and writes, without a command line around it.

Called by `bus.cli.events`. Every input line gives exactly one result, in input order. The traps it avoids: a line of a
gigabyte held in memory, a bad line that ends the run, and an error text that repeats a citizen's data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from bus import printable
from bus.errors import BusError, OutcomeUnknown, Refused, Unreachable
from bus.message import Receipt
from bus.publish import Publication
from schemas.event import Event

MAX_LINE = 1 << 20  # a record is at most 1 MB, so a longer line cannot become one
_CHUNK = 1 << 16
_MAX_FIELD = 200  # characters; an unknown field has whatever name the line gives it
_Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Parse = Callable[[int, bytes | None], Publication | BusError]


def lines_of(read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Split a byte stream into numbered lines (from 1); blank lines are passed over.

    Args:
        read: returns up to so many bytes as soon as there are any, empty at the end (an unbuffered file's `read`).

    Yields:
        Line number and bytes; None in place of a line longer than `MAX_LINE`, whose bytes are dropped as they come.
    """
    number, kept, dropping = 1, bytearray(), False
    while chunk := read(_CHUNK):
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            if dropping or len(kept) + len(part) > MAX_LINE:
                yield number, None
            elif (line := bytes(kept + part)).strip():
                yield number, line
            kept.clear()
            number, dropping = number + 1, False
        dropping = dropping or len(kept) + len(rest) > MAX_LINE
        if dropping:
            kept.clear()
        else:
            kept += rest
    if dropping:
        yield number, None
    elif kept.strip():
        yield number, bytes(kept)


def parser_of(model: type[Event]) -> Parse:
    """Make the function that turns one input line into a publication of `model`, or into what is wrong with it."""
    line: type[BaseModel] = create_model(
        "Line",
        __config__=ConfigDict(extra="forbid", strict=True, frozen=True),
        case=(_Text, Field()),
        data=(model, Field()),
        id=(_Text | None, None),
        time=(AwareDatetime | None, None),
    )

    def parse(number: int, raw: bytes | None) -> Publication | BusError:
        if raw is None:
            return Refused(f"Line {number} is longer than {MAX_LINE:,} bytes.", field="line")
        try:
            found: Any = line.model_validate_json(raw)
        except ValidationError as error:
            return _refusal(number, error)
        return Publication(event=found.data, case=found.case, id=found.id, time=found.time)

    return parse


def _refusal(number: int, error: ValidationError) -> Refused:
    """The first fault of a line, with its field; pydantic's text without the input it quotes."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = printable.clipped(".".join(str(part) for part in first["loc"]), limit=_MAX_FIELD) or "line"
    more = error.error_count() - 1
    also = f" ({more} more)" if more else ""
    return Refused(f"Line {number}: {first['msg']}{also}", field=field)


def result_of(number: int, outcome: Receipt | BusError) -> dict[str, Any]:
    """The result line of one input line: acknowledged, refused (field, reason) or unknown (id, reason).

    An event that was not sent at all counts as unknown too: for both the remedy is to publish the line again, which
    is harmless.
    """
    if isinstance(outcome, Receipt):
        return {
            "line": number,
            "status": "acknowledged",
            "topic": outcome.topic,
            "partition": outcome.partition,
            "offset": outcome.offset,
            "id": outcome.id,
        }
    if isinstance(outcome, OutcomeUnknown):
        return {"line": number, "status": "unknown", "id": outcome.event_id, "reason": outcome.message}
    if isinstance(outcome, Unreachable):
        return {"line": number, "status": "unknown", "id": None, "reason": outcome.message}
    field = outcome.field if isinstance(outcome, Refused) else ""
    return {"line": number, "status": "refused", "field": field or "record", "reason": str(outcome)}


def dump(document: dict[str, Any]) -> str:
    """One line of JSON with its end of line."""
    return printable.json_text(json.dumps(document, ensure_ascii=False, separators=(",", ":"))) + "\n"

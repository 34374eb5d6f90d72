"""One dead letter in full: the screen and the document of `agencybus dlq show`.

Called by `bus.cli.dlq`; `bus.cli.dlq_text` shares the words for outcomes. Every word from outside (names, keys,
headers, payloads) passes `bus.printable` first. The traps it avoids: a payload that moves the cursor of the one who has
to look at it, and a fault beyond the part of the bytes that is shown.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from bus import printable
from bus.cli import context
from bus.ledger import State
from bus.letter_opening import Look
from bus.letters import Letter, as_json, remedy
from bus.message import Record
from schemas.explain import Fault

if TYPE_CHECKING:  # rich is imported where used
    from rich.console import RenderableType

OUTCOMES = {
    "passes": "would pass now",
    "opens": "would reach their handler or workflow again",
    "fails": "would fail again",
    "stuck": "cannot be redriven",
}
_BYTES, _FIELDS, _WIDE = 512, 40, 200  # of a payload shown without --full; characters of one value
_ROW = 16


def document(one: Letter, state: State, record: Record | None, seen: Look) -> dict[str, Any]:
    """What `dlq show --json` writes; the payload in hexadecimal digits.

    Args:
        one: the letter.
        state: what has become of it.
        record: the original, None when its bytes are nowhere any more.
        seen: what they say.
    """
    fault = seen.fault
    return {
        **as_json(one),
        "state": state.value,
        "remedy": remedy(one.cause),
        "today": {"outcome": seen.verdict.outcome, "stage": seen.verdict.stage, "reason": seen.verdict.reason},
        "fault": None if fault is None else {"field": fault.path, "byte": fault.at, "reason": fault.reason},
        "fields": [{"field": s.path, "at": s.at, "end": s.end, "value": _said(s.value)} for s in seen.spots],
        "headers": [] if record is None else [[name, _header(value)] for name, value in record.headers],
        "value_hex": None if record is None or record.value is None else record.value.hex(),
    }


def screen(one: Letter, state: State, record: Record | None, seen: Look, *, full: bool) -> RenderableType:
    """The screen of `dlq show`.

    Args:
        one: the letter.
        state: what has become of it.
        record: the original, None when its bytes are nowhere any more.
        seen: what they say.
        full: every field and byte.
    """
    from rich.console import Group

    shown: list[RenderableType] = [_facts(one, state, seen)]
    if record is not None and record.headers:
        rows = [(name, printable.clipped(_header(value), limit=_WIDE)) for name, value in record.headers]
        shown.append(context.table("\nheaders of the record", ("name", "value"), rows))
    if seen.spots:
        spots = seen.spots if full else seen.spots[:_FIELDS]
        fields = [(s.path, f"{s.at}-{s.end - 1}", printable.clipped(_said(s.value), limit=_WIDE)) for s in spots]
        shown.append(context.table("\nfields that could be read", ("field", "bytes", "value"), fields))
        shown += _more(len(seen.spots) - len(spots), "fields")
    if record is not None and record.value is not None:
        shown.append(f"\nvalue, {len(record.value):,} bytes")
        shown += _dump(record.value, seen.fault, full=full)
    return Group(*shown)


def _facts(one: Letter, state: State, seen: Look) -> RenderableType:
    from rich.table import Table

    told, verdict = one.failure, seen.verdict
    offset = f"offset {one.offset}" if one.span is None else f"offsets {one.span[0]} to {one.span[1]}"
    tries = "once" if told.attempt == 1 else f"{told.attempt} times"
    today = OUTCOMES[verdict.outcome].replace("their", "its")
    facts = [
        ("letter", f"{one.id}, {state.value}, cause {one.cause.id}"),
        ("why", f"{told.stage}: {told.error} ({told.kind.value}), tried {tries}"),
        ("when", f"given up {_utc(told.last)}, first tried {_utc(told.first)}"),
        ("record", f"{one.place.topic}[{one.place.number}] {offset}, appended {_utc(one.appended)}"),
        ("case", one.case),
        ("group", f"{one.group}; the letter is {one.stands[0].topic}[{one.stands[0].number}] offset {one.stands[1]}"),
        ("redriven", f"{one.redrive} times before" if one.redrive else "never before"),
        ("today", f"{today}{': ' if verdict.reason else ''}{verdict.reason}"),
    ]
    if one.left_out is not None:
        facts.append(("left out", f"its {one.left_out:,} bytes did not fit into the letter; shown from their topic"))
    if seen.fault is not None:
        facts.append(("fault", f"{seen.fault.path}, byte {seen.fault.at}: {seen.fault.reason}"))
    facts.append(("do", remedy(one.cause)))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, "–" if value is None else printable.line(value))
    return table


def _dump(value: bytes, fault: Fault | None, *, full: bool) -> list[str]:
    """Bytes in rows of 16 with their text; a > marks the row of the fault, which is always shown."""
    at_fault = None if fault is None else fault.at - fault.at % _ROW
    rows, hidden = [], 0
    for at in range(0, len(value), _ROW):
        if not full and at >= _BYTES and (at_fault is None or abs(at - at_fault) > _ROW):
            hidden += len(value[at : at + _ROW])
            continue
        part = value[at : at + _ROW]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        rows.append(f"{'>' if at == at_fault else ' '} {at:06d}  {part.hex(' '):<47}  {text}")
    return rows + _more(hidden, "bytes")


def _more(count: int, what: str) -> list[str]:
    return [f"… and {count:,} more {what}: --full"] if count else []


def _header(value: bytes | None) -> str:
    if value is None:
        return "(null)"
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


def _said(value: Any) -> str:
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return "(absent)" if value is None else str(value)


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"

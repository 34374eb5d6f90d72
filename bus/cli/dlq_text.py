"""What the commands `dlq` write: causes, letters, verdicts and actions, for people and as JSON.

Called by `bus.cli.dlq` only. Every word from outside (names, keys, headers, payloads) passes `bus.printable` first. The
trap it avoids: a payload that moves the cursor of the one who has to look at it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bus import printable
from bus.cli import context
from bus.ledger import Action, State, Tally
from bus.letter_desk import Findings, Stray
from bus.letter_opening import Look, Verdict
from bus.letters import Letter, as_json, remedy
from bus.message import Record
from bus.redrive import Done
from schemas.envelope import format_time
from schemas.explain import Fault

if TYPE_CHECKING:  # rich is imported where used
    from rich.console import RenderableType

_BYTES, _FIELDS, _WIDE = 512, 40, 200  # of a payload shown without --full; characters of one value
_ROW = 16
_SHOWN = 20
_OUTCOMES = {
    "passes": "would pass now",
    "opens": "would reach their handler or workflow again",
    "fails": "would fail again",
    "stuck": "cannot be redriven",
}


def list_document(found: Findings, letters: Sequence[Letter], now: datetime, *, each: bool) -> dict[str, Any]:
    """What `dlq list --json` writes.

    Args:
        found: everything that was read.
        letters: those selected.
        now: when.
        each: whether every letter stands in it.
    """
    ledger = found.ledger
    document: dict[str, Any] = {
        "at": format_time(now),
        "counts": {state.value: count for state, count in ledger.counts(letters).items()},
        "causes": [_tally(tally) for tally in ledger.tallies(letters)],
        "strays": [
            {"topic": s.place.topic, "partition": s.place.number, "offset": s.offset, "reason": s.reason}
            for s in found.strays
        ],
    }
    if each:
        document["letters"] = [{**as_json(one), "state": ledger.state(one).value} for one in letters]
    return document


def _tally(tally: Tally) -> dict[str, Any]:
    cause = tally.cause
    return {
        "cause": cause.id,
        "group": cause.group,
        "topic": cause.topic,
        "stage": cause.stage,
        "error": cause.error,
        "kind": cause.kind.value,
        **{state.value: count for state, count in tally.counts.items()},
        "oldest": format_time(tally.oldest),
        "newest": format_time(tally.newest),
        "sample": tally.sample,
        "remedy": remedy(cause),
    }


def by_cause(found: Findings, letters: Sequence[Letter], now: datetime) -> RenderableType:
    """The screen of `dlq list`: a block per cause, and beneath it what cannot be read.

    Args:
        found: everything that was read.
        letters: those selected.
        now: when.
    """
    from rich.console import Group
    from rich.table import Table

    blocks = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 1, 0))
    blocks.add_column(justify="right", no_wrap=True)
    blocks.add_column(overflow="fold")
    for tally in found.ledger.tallies(letters):
        cause = tally.cause
        spread = _ago(tally.oldest, now)
        if _ago(tally.newest, now) != spread:
            spread = f"{_ago(tally.newest, now).removesuffix(' ago')} to {spread}"
        settled = [f"{count:,} {state.value}" for state, count in tally.counts.items() if count and state != State.OPEN]
        lines = [
            f"{cause.stage} {cause.error} ({cause.kind.value}), cause {cause.id}",
            f"group {cause.group}, topic {cause.topic}",
            f"given up {spread}, for example {tally.sample}",
            *([f"besides {', '.join(settled)}"] if settled else []),
            *([remedy(cause)] if tally.counts[State.OPEN] else []),
        ]
        blocks.add_row(f"{tally.counts[State.OPEN]:,} open", "\n".join(map(printable.line, lines)))
    shown: list[RenderableType] = [_counts(found, letters), ""]
    if letters:
        shown += [blocks, "Next: agencybus dlq show LETTER, then agencybus dlq redrive --cause CAUSE --dry-run"]
    return Group(*shown, *_strays(found.strays))


def each_letter(found: Findings, letters: Sequence[Letter], now: datetime) -> RenderableType:
    """The screen of `dlq list --each`: a row per letter.

    Args:
        found: everything that was read.
        letters: those selected.
        now: when.
    """
    from rich.console import Group

    rows = [
        (
            one.id,
            found.ledger.state(one).value,
            f"{one.place.topic}[{one.place.number}]@{one.offset}",
            one.case,
            f"{one.failure.stage} {one.failure.error}",
            _ago(one.failure.last, now),
            one.group,
        )
        for one in letters
    ]
    columns = ("letter", "state", "record", "case", "failed in", "given up", "group")
    return Group(_counts(found, letters), context.table("", columns, rows), *_strays(found.strays))


def _counts(found: Findings, letters: Sequence[Letter]) -> str:
    counts = found.ledger.counts(letters)
    if not letters:
        return "No dead letters."
    return (
        f"{counts[State.OPEN]:,} open, {counts[State.REDRIVEN]:,} redriven, {counts[State.DROPPED]:,} dropped: "
        f"{len(letters):,} dead letters"
    )


def _strays(strays: Sequence[Stray]) -> list[str]:
    lines = [
        printable.line(f"{s.place.topic}[{s.place.number}] offset {s.offset} cannot be read: {s.reason}.")
        for s in strays[:_SHOWN]
    ]
    return [*lines, *([f"… and {len(strays) - _SHOWN:,} more records."] if len(strays) > _SHOWN else [])]


def _ago(when: datetime, now: datetime) -> str:
    return f"{context.age(max(0.0, (now - when).total_seconds()))} ago"


def letter_document(one: Letter, state: State, record: Record | None, seen: Look) -> dict[str, Any]:
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


def letter(one: Letter, state: State, record: Record | None, seen: Look, *, full: bool) -> RenderableType:
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
    today = _OUTCOMES[verdict.outcome].replace("their", "its")
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


def verdicts_document(found: Iterable[tuple[Letter, Verdict]]) -> dict[str, Any]:
    """What `dlq redrive --dry-run --json` writes: what each letter would come to."""
    listed = [
        {"id": one.id, "cause": one.cause.id, "outcome": v.outcome, "stage": v.stage, "reason": v.reason}
        for one, v in found
    ]
    return {"dry_run": True, "counts": Counter(entry["outcome"] for entry in listed), "letters": listed}


def verdicts(found: Sequence[tuple[Letter, Verdict]]) -> RenderableType:
    """The screen of `dlq redrive --dry-run`: how many letters would come to what, and why."""
    from rich.console import Group

    counts = Counter((v.outcome, one.cause.id, v.stage, v.reason) for one, v in found)
    rows = [
        (
            count,
            _OUTCOMES[outcome],
            cause,
            printable.clipped(reason if outcome == "opens" else f"{stage}: {reason}" * bool(reason), limit=_WIDE),
        )
        for (outcome, cause, stage, reason), count in counts.most_common(_SHOWN)
    ]
    table = context.table("Nothing is changed yet.", ("letters", "today they", "cause", "why"), rows)
    more = len(counts) - len(rows)
    return Group(table, *([f"… and {more:,} more rows; --json has them all."] if more else []))


def done_document(act: str, action: str, so_far: Done) -> dict[str, Any]:
    """What an action writes with --json.

    Args:
        act: redrive or drop.
        action: its id.
        so_far: what came of it.
    """
    left = [{"id": one.id, "reason": reason} for one, reason in so_far.left]
    return {"act": act, "action": action, "letters": so_far.letters, "left": left, "stopped": so_far.stopped}


def done(act: str, action: str, so_far: Done, count: int) -> str:
    """What an action says at its end.

    Args:
        act: redrive or drop.
        action: its id.
        so_far: what came of it.
        count: how many letters were meant.
    """
    word = {"redrive": "redriven", "drop": "dropped"}[act]
    if not count:
        again = "; --again repeats those redriven or dropped before" if act == "redrive" else ""
        return f"No letter of this selection is open: nothing to {act}{again}."
    lines = [f"{so_far.letters:,} of {count:,} letters {word} (action {action})."]
    lines += [f"  left open: {one.id}: {reason}." for one, reason in so_far.left[:_SHOWN]]
    if len(so_far.left) > _SHOWN:
        lines.append(f"  … and {len(so_far.left) - _SHOWN:,} more.")
    if so_far.stopped:
        lines.append("Stopped; the same command goes on with what is still open.")
    if so_far.letters:
        lines.append(f"To take it back: agencybus dlq undo {action}")
    return "\n".join(lines)


def history(actions: Sequence[Action]) -> RenderableType:
    """The screen of `dlq history`."""
    rows = [
        (
            f"{one.at:%Y-%m-%d %H:%M:%S}",
            one.id,
            one.act.value + (f" of {one.undoes}" if one.undoes else ""),
            one.group,
            f"{len(one.letters):,}" if len(one.letters) == one.planned else f"{len(one.letters):,} of {one.planned:,}",
            "undone" if one.undone else "",
            one.by,
            one.reason,
        )
        for one in actions
    ]
    columns = ("when (UTC)", "action", "act", "group", "letters", "", "by", "reason")
    return context.table("", columns, rows) if rows else "No operator has acted on dead letters yet."

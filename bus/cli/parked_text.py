"""What the commands `parked` write: keys that stand still, their queues, and what became of a command.

Called by `bus.cli.parked` only. Every word from outside passes `bus.printable`. The trap it avoids: a key that is no
text shown as something that cannot be typed; `key_text` is what ``--key`` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bus import printable
from bus.cli import context
from bus.message import Record
from bus.middleware.parking import Entry
from bus.parked_desk import Held, Unread
from bus.release import Outcome
from schemas.envelope import format_time, format_us

if TYPE_CHECKING:  # rich is imported where used
    from rich.console import RenderableType

_SHOWN = 40


def key_text(key: bytes | None) -> str:
    """A key as it is typed: text where it is some that can be printed, else 0x and digits."""
    if key is None:
        return "(none)"
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return f"0x{key.hex()}"
    return text if text.isprintable() and not text.startswith("0x") else f"0x{key.hex()}"


def _state(one: Held, now: datetime) -> str:
    if one.asked is not None:
        return f"{one.asked.do} asked by {one.asked.by}, not obeyed yet"
    if one.rows[0].entry.queued:
        return "goes on by itself once its group runs"
    if one.due is None:
        return "stands until it is released"
    left = (one.due - now).total_seconds()
    if left > 0:
        return f"tried again in {context.age(left)}"
    return "redriven, not taken by its group yet" if one.rows[0].entry.action else "to be tried now"


def overview(found: Sequence[Held], unread: Sequence[Unread], now: datetime, *, besides: int) -> RenderableType:
    """The screen of `parked list`: a block per key.

    Args:
        found: keys, in the order to be shown.
        unread: rows that cannot be read.
        now: when.
        besides: how many keys stand that the options leave out.
    """
    from rich.console import Group as Several
    from rich.table import Table

    blocks = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 1, 0))
    blocks.add_column(justify="right", no_wrap=True)
    blocks.add_column(overflow="fold")
    for one in found[:_SHOWN]:
        since = context.age(max(0.0, (now - one.why.first).total_seconds()))
        lines = (
            f"{'case' if one.topic is None else 'key'} {key_text(one.key)}, {_state(one, now)}",
            f"group {one.group}{'' if one.topic is None else f', topic {one.topic}'}",
            f"{one.why.stage} {one.why.error} ({one.why.kind.value}), first failed {since} ago",
        )
        blocks.add_row(_count(len(one.rows), "record"), "\n".join(map(printable.line, lines)))
    total = sum(len(one.rows) for one in found)
    shown: list[RenderableType] = ["Nothing is parked."]
    if besides and not found:
        shown = [f"Nothing of this selection is parked; besides it stand still: {_count(besides, 'key')}."]
    if found:
        shown = [f"{_count(len(found), 'key')} with {_count(total, 'record')} set aside", "", blocks]
        shown.append("Next: agencybus parked show --key KEY, then agencybus parked release --key KEY")
    if len(found) > _SHOWN:
        shown.append(f"… and {len(found) - _SHOWN:,} more keys; --json has them all.")
    shown += [
        printable.line(f"{one.place.topic}[{one.place.number}]: a row cannot be read: {one.reason}") for one in unread
    ]
    return Several(*shown)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def queues(found: Sequence[Held], now: datetime) -> RenderableType:
    """The screen of `parked show`.

    Args:
        found: keys.
        now: when.
    """
    from rich.console import Group as Several

    shown: list[RenderableType] = []
    for one in found:
        rows = [
            (
                _place(entry.record),
                "waits behind it"
                if entry.queued
                else f"{entry.failure.stage} {entry.failure.error}, try {entry.failure.attempt}",
                f"{entry.failure.last:%Y-%m-%d %H:%M:%S}",
                entry.redrive or None,
                len(entry.record.value or b""),
            )
            for entry in (row.entry for row in one.rows)
        ]
        columns = ("record", "why", "last tried (UTC)", "redrive", "bytes")
        title = printable.line(f"{one.group}: {key_text(one.key)}, {_state(one, now)}")
        shown.append(context.table(title, columns, rows))
    return Several(*shown)


def _place(record: Record) -> str:
    """Where a record stood; of a workflow's timer, which has no record, when it was due."""
    if record.topic.startswith("!"):  # no topic does (`agents.parked`)
        return f"timer due {format_us(record.offset)}"
    return f"{record.topic}[{record.partition}]@{record.offset}"


def would(do: str, keyed: Sequence[Held], meant: Sequence[Held], *, dry_run: bool) -> str:
    """What a command says that writes nothing.

    Args:
        do: release or drop.
        keyed: keys it is about.
        meant: those and records without a key.
        dry_run: whether it was asked only to look.
    """
    records = sum(len(one.rows) for one in keyed)
    lines = [
        f"Would {do} {_count(len(keyed), 'key')} with {_count(records, 'record')}." if dry_run else f"Nothing to {do}."
    ]
    if len(meant) > len(keyed):
        lines.append(f"{_count(len(meant) - len(keyed), 'record')} without a key cannot be named and are left alone.")
    return "\n".join(lines)


def outcome_document(do: str, action: str, outcome: Outcome) -> dict[str, Any]:
    """What a command writes with --json.

    Args:
        do: release or drop.
        action: its id.
        outcome: what became of each key.
    """
    found: dict[str, Any] = {"act": do, "action": action}
    for name in ("settled", "failed", "waiting"):
        found[name] = [document(one) for one in getattr(outcome, name)]
    return found


def outcome_text(do: str, action: str, outcome: Outcome) -> str:
    """What a command says at its end.

    Args:
        do: release or drop.
        action: its id.
        outcome: what became of each key.
    """
    done = {"release": "released", "drop": "dropped"}[do]
    total = len(outcome.settled) + len(outcome.failed) + len(outcome.waiting)
    lines = [f"{len(outcome.settled):,} of {_count(total, 'key')} {done} and settled (action {action})."]
    lines += [
        f"  failed again: {key_text(one.key)} in {one.group}: {one.why.stage} {one.why.error}."
        for one in outcome.failed[:_SHOWN]
    ]
    if len(outcome.failed) > _SHOWN:
        lines.append(f"  … and {len(outcome.failed) - _SHOWN:,} more.")
    if outcome.failed:
        lines.append(
            "Mend what fails (`agencybus parked show`), then release again; `agencybus parked drop` gives it up."
        )
    if outcome.waiting:
        groups = ", ".join(sorted({one.group for one in outcome.waiting}))
        lines.append(f"{len(outcome.waiting):,} are not done yet. Is a consumer or worker of {groups} running?")
        lines.append("The command stands until then: see `agencybus parked list`.")
    return "\n".join(map(printable.line, lines))


def document(one: Held) -> dict[str, Any]:
    """A key for machines."""
    why = one.why
    return {
        "group": one.group,
        "key": key_text(one.key),
        "topic": one.topic,
        "partition": one.place.number,
        "in": one.place.topic,
        "alone": one.alone,
        "entries": len(one.rows),
        "stage": why.stage,
        "error": why.error,
        "kind": why.kind.value,
        "attempt": why.attempt,
        "since": format_time(why.first),
        "last": format_time(why.last),
        "due": None if one.due is None else format_time(one.due),
        "asked": None
        if one.asked is None
        else {"do": one.asked.do, "by": one.asked.by, "at": format_time(one.asked.at)},
    }


def record_document(entry: Entry) -> dict[str, Any]:
    """A parked record for machines; of the payload only its size."""
    record = entry.record
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "queued": entry.queued,
        "redrive": entry.redrive,
        "action": entry.action,
        "size": len(record.value or b""),
    }


def unread_document(one: Unread) -> dict[str, Any]:
    """A row that cannot be read, for machines."""
    return {"topic": one.place.topic, "partition": one.place.number, "reason": one.reason}

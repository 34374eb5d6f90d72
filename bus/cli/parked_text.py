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
from bus.middleware.parking import Entry
from bus.parked_desk import Held, Unread
from bus.release import Outcome
from schemas.envelope import format_time

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
    if one.due is None:
        return "until it is released"
    left = (one.due - now).total_seconds()
    return "to be tried now" if left <= 0 else f"tried again in {context.age(left)}"


def overview(found: Sequence[Held], unread: Sequence[Unread], now: datetime) -> RenderableType:
    """The screen of `parked list`.

    Args:
        found: keys, in the order to be shown.
        unread: rows that cannot be read.
        now: when.
    """
    from rich.console import Group as Several

    rows = [
        (
            one.group,
            key_text(one.key),
            one.topic or "(case)",
            len(one.rows),
            f"{one.why.stage} {one.why.error} ({one.why.kind.value})",
            f"{context.age(max(0.0, (now - one.why.first).total_seconds()))}",
            _state(one, now),
        )
        for one in found[:_SHOWN]
    ]
    columns = ("group", "key", "topic", "records", "failed in", "since", "stands")
    total = sum(len(one.rows) for one in found)
    shown: list[RenderableType] = ["Nothing is parked."]
    if found:
        shown = [f"{len(found):,} keys stand still, {total:,} records of them wait.", context.table("", columns, rows)]
    if len(found) > _SHOWN:
        shown.append(f"… and {len(found) - _SHOWN:,} more keys; --json has them all.")
    shown += [
        printable.line(f"{one.place.topic}[{one.place.number}]: a row cannot be read: {one.reason}") for one in unread
    ]
    return Several(*shown)


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
                f"{entry.record.topic}[{entry.record.partition}]@{entry.record.offset}",
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


def would(do: str, keyed: Sequence[Held], meant: Sequence[Held], *, dry_run: bool) -> str:
    """What a command says that writes nothing.

    Args:
        do: release or drop.
        keyed: keys it is about.
        meant: those and records without a key.
        dry_run: whether it was asked only to look.
    """
    records = sum(len(one.rows) for one in keyed)
    lines = [f"Would {do} {len(keyed):,} keys with {records:,} records." if dry_run else f"Nothing to {do}."]
    if len(meant) > len(keyed):
        lines.append(f"{len(meant) - len(keyed):,} records have no key: they cannot be named and are left alone.")
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
    lines = [f"{len(outcome.settled):,} of {total:,} keys {done} and settled (action {action})."]
    lines += [
        f"  failed again: {key_text(one.key)} in {one.group}: {one.why.stage} {one.why.error}."
        for one in outcome.failed[:_SHOWN]
    ]
    if len(outcome.failed) > _SHOWN:
        lines.append(f"  … and {len(outcome.failed) - _SHOWN:,} more.")
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

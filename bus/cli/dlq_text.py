"""What the commands `dlq` write but for one letter in full: causes, verdicts and actions, for people and as JSON.

Called by `bus.cli.dlq` only; `bus.cli.letter_text` shows one letter. Every word from outside passes `bus.printable`.
The trap it avoids: a thousand lines where one says it; what is alike is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bus import printable
from bus.cli import context
from bus.cli.letter_text import OUTCOMES
from bus.ledger import Action, State, Tally
from bus.letter_desk import Findings, Stray
from bus.letter_opening import Verdict
from bus.letters import Letter, as_json, remedy
from bus.redrive import Done
from schemas.envelope import format_time

if TYPE_CHECKING:  # rich is imported where used
    from rich.console import RenderableType

_WIDE = 200  # characters of one reason
_SHOWN = 20
_NOTHING = "No letter of this selection is open: nothing to {act}."
_AGAIN = " --again takes those redriven or dropped before."


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
    tallies = found.ledger.tallies(letters)
    for tally in tallies:
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
        shown.append(blocks)
    if any(tally.counts[State.OPEN] for tally in tallies):
        shown.append("Next: agencybus dlq show LETTER, then agencybus dlq redrive --cause CAUSE --dry-run")
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

    if not found:
        return _NOTHING.format(act="redrive") + _AGAIN
    counts = Counter((v.outcome, one.cause.id, v.stage, v.reason) for one, v in found)
    rows = [
        (
            count,
            OUTCOMES[outcome],
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
        return _NOTHING.format(act=act) + _AGAIN * (act == "redrive")
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

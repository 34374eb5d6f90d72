"""`agencybus parked`: which keys and cases stand still and why, and letting them go on.

Registered by `bus.cli.main`; `bus.cli.parked_text` writes what people and machines read. The trap it avoids: a release
that only looks done; it waits until the group has obeyed, and says how it stands when it has not.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bus import printable
from bus.cli import acting, context
from bus.cli.acting import By, DryRun, Group, Json, Reason
from bus.errors import UsageError

if TYPE_CHECKING:  # clients, pydantic and rich are imported where used
    from bus.parked_desk import Held, ParkedDesk

_Key = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="Records of this key; 0x and hexadecimal digits for bytes.")
]
_Case = Annotated[str | None, typer.Option("--case", metavar="CASE", help="Records of this case: its id is their key.")]
_Topic = Annotated[str | None, typer.Option("--topic", metavar="TOPIC", help="Only records of this topic.")]
_All = Annotated[bool, typer.Option("--all", help="Every key that the other options leave.")]
_Wait = Annotated[float, typer.Option("--wait", metavar="S", min=0, max=86_400, help="Seconds to see it done.")]
_STOPPED = 130


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    parked = typer.Typer(
        no_args_is_help=True, help="Parked keys and cases: what stands still, why, and letting it go on."
    )
    parked.command("list")(list_)
    for command in (show, release, drop):
        parked.command()(command)
    app.add_typer(parked, name="parked")


def list_(
    ctx: typer.Context,
    *,
    group: Group = None,
    key: _Key = None,
    case: _Case = None,
    topic: _Topic = None,
    json: Json = False,
) -> None:
    """Keys and cases that stand still, longest first: what failed, how many records wait, when it is tried again."""
    from bus.cli import parked_text as text

    wanted = _wanted(key, case, everything=True)
    with _desk(ctx, group, topic) as desk:
        held, unread = desk.held(desk.groups(group))
    found = _chosen(held, wanted, topic, must=False)
    document = {
        "parked": [text.document(one) for one in found],
        "unread": [text.unread_document(one) for one in unread],
    }
    acting.tell(document, text.overview(found, unread, _now(), besides=len(held) - len(found)), json=json)


def show(
    ctx: typer.Context,
    *,
    group: Group = None,
    key: _Key = None,
    case: _Case = None,
    topic: _Topic = None,
    json: Json = False,
) -> None:
    """The records of one key or case in their order, and what holds them up."""
    from bus.cli import parked_text as text

    wanted = _wanted(key, case, everything=False)
    with _desk(ctx, group, topic) as desk:
        held, _ = desk.held(desk.groups(group))
    found = _chosen(held, wanted, topic, must=True)
    document = [
        {**text.document(one), "records": [text.record_document(row.entry) for row in one.rows]} for one in found
    ]
    acting.tell({"parked": document}, text.queues(found, _now()), json=json)


def release(
    ctx: typer.Context,
    *,
    group: Group = None,
    key: _Key = None,
    case: _Case = None,
    topic: _Topic = None,
    everything: _All = False,
    wait: _Wait = 10,
    reason: Reason = None,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Try a key's records again now, in their order; those behind the first follow when it succeeds.

    Exits 1 when one failed again or is not done within --wait seconds; the command stands until its group obeys it.
    """
    chosen = (key, case, topic, everything)
    _act(ctx, "release", group, chosen, wait=wait, by=by, reason=reason, dry_run=dry_run, json=json)


def drop(
    ctx: typer.Context,
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why the failed one is given up; is kept.")],
    group: Group = None,
    key: _Key = None,
    case: _Case = None,
    topic: _Topic = None,
    everything: _All = False,
    wait: _Wait = 10,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Give up the record that failed: it becomes a dead letter; those behind it are released.

    Exits as `parked release`.
    """
    chosen = (key, case, topic, everything)
    _act(ctx, "drop", group, chosen, wait=wait, by=by, reason=reason, dry_run=dry_run, json=json)


def _act(
    ctx: typer.Context,
    do: Literal["release", "drop"],
    group: str | None,
    chosen: tuple[str | None, str | None, str | None, bool],
    *,
    wait: float,
    by: str | None,
    reason: str | None,
    dry_run: bool,
    json: bool,
) -> None:
    """Write the commands, then see what becomes of them."""
    from bus.cli import parked_text as text
    from bus.letter_desk import ACTIONS
    from bus.release import follow, send
    from bus.transport.rules import no_topic

    key, case, topic, everything = chosen
    acting.check_words(by=by, reason=reason)
    wanted = _wanted(key, case, everything=everything)
    with _desk(ctx, group, topic) as desk:
        held, _ = desk.held(desk.groups(group))
        meant = _chosen(held, wanted, topic, must=not everything)
        keyed = [one for one in meant if one.key is not None]
        if dry_run or not keyed:
            document = {"act": do, "dry_run": dry_run, "keys": [text.document(one) for one in keyed]}
            acting.tell(document, text.would(do, keyed, meant, dry_run=dry_run), json=json)
            return
        if ACTIONS not in desk.topics:
            raise no_topic(ACTIONS)
        action = secrets.token_hex(8)
        with context.stop_on_interrupt() as stop:
            with acting.operator(ctx, action, by=by, reason=reason) as operator:
                send(keyed, do, operator, at=_now())
            with acting.counted("Settled", len(keyed)) as progress:
                outcome = follow(keyed, desk, patience_s=wait, stop=stop.is_set, progress=progress)
    acting.tell(text.outcome_document(do, action, outcome), text.outcome_text(do, action, outcome), json=json)
    if outcome.waiting and stop.is_set():
        raise typer.Exit(_STOPPED)
    if outcome.failed or (outcome.waiting and wait):
        raise typer.Exit(1)


@contextmanager
def _desk(ctx: typer.Context, group: str | None, topic: str | None) -> Iterator[ParkedDesk]:
    """Has read what is parked, with progress on stderr. Raises UsageError when there is no such group or topic."""
    from bus.cli.progress import ProgressLine
    from bus.parked_desk import ParkedDesk

    with acting.cluster(ctx) as (topics, reader), ProgressLine() as progress:
        if topic is not None and topic not in topics:
            name = printable.clipped(topic, limit=100)
            raise UsageError(
                f"There is no topic {name}.", remedy="`agencybus parked list` names those of what is parked."
            )
        desk = ParkedDesk(reader, topics, progress=progress)
        desk.read(desk.groups(group))
        yield desk


def _wanted(key: str | None, case: str | None, *, everything: bool) -> bytes | None:
    """The key that is meant, None for every key. Raises UsageError when none is named, or two are."""
    if key is not None and case is not None:
        raise UsageError("Give --key or --case, not both: a case id is a key.")
    if key is None and case is None and not everything:
        raise UsageError(
            "Say which keys are meant.", remedy="Give --key or --case (see `agencybus parked list`), or --all."
        )
    return _bytes(key) if key is not None else case.encode(errors="surrogateescape") if case is not None else None


def _chosen(held: Sequence[Held], wanted: bytes | None, topic: str | None, *, must: bool) -> list[Held]:
    """What the options mean. Raises UsageError when it `must` be something and is not."""
    found = [
        one
        for one in held
        if (wanted is None or one.key == wanted)
        and (topic is None or any(row.entry.record.topic == topic for row in one.rows))
    ]
    if must and not found:
        name = printable.clipped(wanted.decode(errors="backslashreplace"), limit=100) if wanted else "that"
        raise UsageError(f"Nothing of {name} is parked.", remedy="`agencybus parked list` shows what is.")
    return found


def _bytes(key: str) -> bytes:
    if not key.startswith("0x"):
        return key.encode(errors="surrogateescape")
    try:
        return bytes.fromhex(key[2:])
    except ValueError:
        raise UsageError(
            f"--key {printable.clipped(key, limit=100)} is not 0x and hexadecimal digits.",
            remedy="Write, for example, --key 0x00ff.",
        ) from None


def _now() -> datetime:
    from bus.clock import SystemClock

    return SystemClock().now()

"""`agencybus dlq`: dead letters by cause, one of them in full, and giving back, dropping or undoing many at once.

Registered by `bus.cli.main`; `bus.cli.dlq_text` and `bus.cli.letter_text` write what people read. The traps it avoids:
an action whose end nobody can see or resume, and a misspelt selection taken for "nothing to do".
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from bus.cli import acting, context
from bus.cli.acting import By, DryRun, Group, Json, Reason
from bus.errors import UsageError

if TYPE_CHECKING:  # clients, pydantic and rich are imported where used
    from bus.ledger import Ledger
    from bus.letter_desk import LetterDesk
    from bus.letter_opening import Verdict
    from bus.letters import Letter
    from bus.redrive import Done

_Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="This letter; may be repeated.")]
_Causes = Annotated[list[str] | None, typer.Option("--cause", metavar="CAUSE", help="Letters of this cause.")]
_Topics = Annotated[list[str] | None, typer.Option("--topic", metavar="TOPIC", help="Letters of this topic.")]
_All = Annotated[bool, typer.Option("--all", help="Every open letter that the other options leave.")]
_UNPACED = 1e9  # letters a second
_STOPPED = 130


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    dlq = typer.Typer(no_args_is_help=True, help="Dead letters: what failed, why, and what to do about it.")
    dlq.command("list")(list_)
    for command in (show, redrive, drop, undo, history):
        dlq.command()(command)
    app.add_typer(dlq, name="dlq")


def list_(
    ctx: typer.Context,
    *,
    group: Group = None,
    cause: _Causes = None,
    topic: _Topics = None,
    each: Annotated[bool, typer.Option("--each", help="One row per letter instead of per cause.")] = False,
    json: Json = False,
) -> None:
    """Dead letters by cause, most open ones first, each cause with what to do about it."""
    from bus.cli import dlq_text
    from bus.clock import SystemClock

    with _desk(ctx) as desk:
        found = desk.read(desk.groups(group))
    letters = _chosen(found.ledger, None, cause, topic, everything=True)
    now = SystemClock().now()
    text = dlq_text.each_letter(found, letters, now) if each else dlq_text.by_cause(found, letters, now)
    acting.tell(dlq_text.list_document(found, letters, now, each=each), text, json=json)


def show(
    ctx: typer.Context,
    letter: Annotated[str, typer.Argument(metavar="ID", help="A letter's id, or its first digits.")],
    *,
    group: Group = None,
    full: Annotated[bool, typer.Option("--full", help="Every byte and field, not only the first.")] = False,
    json: Json = False,
) -> None:
    """One letter: where and why it failed, its headers and bytes, the field at fault, what would happen today.

    Shows the payload, which may tell of a person: look only when you have to.
    """
    from bus.cli import letter_text
    from bus.letter_opening import look

    with _desk(ctx) as desk:
        ledger = desk.read(desk.groups(group)).ledger
        chosen = ledger.letters[ledger.letter(letter)]
        ((_, record),) = desk.records([chosen])
        seen = look(
            chosen,
            record,
            catalogue=desk.catalogue,
            codec=desk.codec,
            writers=desk.writers,
            case_partitions=desk.case_partitions(chosen.group),
        )
    state = ledger.state(chosen)
    if json:
        context.print_json(letter_text.document(chosen, state, record, seen))
    else:
        context.show(letter_text.screen(chosen, state, record, seen, full=full))


def redrive(
    ctx: typer.Context,
    *,
    group: Group = None,
    ids: _Ids = None,
    cause: _Causes = None,
    topic: _Topics = None,
    everything: _All = False,
    rate: Annotated[str, typer.Option(metavar="N", help="Letters a second, or max.")] = "100",
    again: Annotated[bool, typer.Option("--again", help="Also those redriven or dropped before.")] = False,
    reason: Reason = None,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Give open letters back to their group, with their own ids, headers, bytes and order; other groups see nothing.

    Ctrl-C is safe: the same command goes on with what is still open. --dry-run opens each letter by today's contracts
    and exits 3 when some would fail again. Exits 1 when some could not be redriven; the others were.
    """
    from bus import redrive as work
    from bus.cli import dlq_text
    from bus.cli.options import pace

    speed = pace(rate, option="--rate", example=100) or _UNPACED
    acting.check_words(by=by, reason=reason)
    _some(ids, cause, topic, everything=everything)
    with _desk(ctx) as desk:
        ledger = desk.read(desk.groups(group)).ledger
        chosen = _chosen(ledger, ids, cause, topic, everything=again)
        if dry_run:
            verdicts = _judged(desk, chosen)
            acting.tell(dlq_text.verdicts_document(verdicts), dlq_text.verdicts(verdicts), json=json)
            raise typer.Exit(3 if any(verdict.outcome in {"fails", "stuck"} for _, verdict in verdicts) else 0)
        action, done = secrets.token_hex(8), work.Done()
        if chosen:
            jobs = ledger.jobs(chosen)
            with acting.admin(ctx) as admin:
                work.prepare(jobs, desk, admin)
            with (
                context.stop_on_interrupt() as stop,
                acting.operator(ctx, action, by=by, reason=reason) as operator,
                acting.counted("Redriven", len(chosen)) as progress,
            ):
                pace_ = work.Pace(speed, stop.is_set)
                done = work.redrive(jobs, desk, operator, pace=pace_, progress=lambda so_far: progress(so_far.letters))
    _finish("redrive", action, done, count=len(chosen), json=json)


def drop(
    ctx: typer.Context,
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why nothing more is to be done; is kept.")],
    group: Group = None,
    ids: _Ids = None,
    cause: _Causes = None,
    topic: _Topics = None,
    everything: _All = False,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Mark open letters as settled by other means. Nothing is deleted, and `dlq undo` opens them again."""
    from bus import redrive as work

    acting.check_words(by=by, reason=reason)
    _some(ids, cause, topic, everything=everything)
    with _desk(ctx) as desk:
        chosen = _chosen(desk.read(desk.groups(group)).ledger, ids, cause, topic)
        work.check_topics(desk)
    if dry_run:
        told = {"act": "drop", "dry_run": True, "letters": len(chosen)}
        acting.tell(told, f"Would drop {len(chosen):,} letters.", json=json)
        return
    action, done = secrets.token_hex(8), work.Done()
    if chosen:
        with (
            context.stop_on_interrupt() as stop,
            acting.operator(ctx, action, by=by, reason=reason) as operator,
            acting.counted("Dropped", len(chosen)) as progress,
        ):
            done = work.drop(chosen, operator, stop=stop.is_set, progress=lambda so_far: progress(so_far.letters))
    _finish("drop", action, done, count=len(chosen), json=json)


def undo(
    ctx: typer.Context,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Id of a redrive or drop; see `dlq history`.")],
    *,
    reason: Reason = None,
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Open the letters of a redrive or drop again. What a redrive has given back stays given back."""
    from bus import redrive as work

    acting.check_words(by=by, reason=reason)
    with _desk(ctx) as desk:
        meant = desk.read(()).ledger.action(action)
    left = [one for one in meant if not one.undone]
    count = sum(len(one.letters) for one in left)
    what, mine = f"{meant[0].act.value} {meant[0].id}", secrets.token_hex(8)
    if not left:
        said = f"{what} is undone already."
    elif dry_run:
        said = f"Would open the {count:,} letters of {what} again."
    else:
        with acting.operator(ctx, mine, by=by, reason=reason) as operator:
            for one in left:
                work.undo(one, operator)
        said = f"The {count:,} letters of {what} are open again (action {mine})."
        if meant[0].act.value == "redrive":
            said += "\nWhat was given back stays given back: `agencybus parked list` shows what still waits."
    told = {"act": "undo", "action": mine, "undoes": meant[0].id, "letters": count, "dry_run": dry_run}
    acting.tell(told, said, json=json)


def history(ctx: typer.Context, *, group: Group = None, json: Json = False) -> None:
    """Every action of operators, newest first: what, when, who, why, how many letters, and whether it was undone."""
    from bus.cli import dlq_text

    with _desk(ctx) as desk:
        actions = desk.read(()).ledger.actions.values()
    shown = sorted((one for one in actions if group in {None, one.group}), key=lambda one: one.at, reverse=True)
    acting.tell({"actions": [one.as_json() for one in shown]}, dlq_text.history(shown), json=json)


@contextmanager
def _desk(ctx: typer.Context) -> Iterator[LetterDesk]:
    """Reads letters, with progress on stderr."""
    from bus.cli.progress import ProgressLine
    from bus.letter_desk import LetterDesk
    from bus.transport.schema_topic import SchemaTopic
    from schemas.catalogue import standard
    from schemas.codec import Codec

    with acting.cluster(ctx) as (topics, reader), ProgressLine() as progress:
        catalogue, writers = standard(), SchemaTopic(reader).read_all()
        codec = Codec(catalogue, writers=writers)
        yield LetterDesk(reader, topics, catalogue=catalogue, codec=codec, writers=writers, progress=progress)


def _some(ids: list[str] | None, causes: list[str] | None, topics: list[str] | None, *, everything: bool) -> None:
    """Raises UsageError when an action names no letter at all."""
    if not (ids or causes or topics or everything):
        raise UsageError(
            "Say which letters are meant.", remedy="Give --cause (see `agencybus dlq list`), --topic, --id, or --all."
        )


def _chosen(
    ledger: Ledger,
    ids: list[str] | None,
    causes: list[str] | None,
    topics: list[str] | None,
    *,
    everything: bool = False,
) -> list[Letter]:
    """The letters that the options mean, only open ones unless `everything`. Raises UsageError."""
    from bus.ledger import State

    meant = ledger.selection(ids=ids or (), causes=causes or (), topics=topics or ())
    return ledger.chosen(meant, *(() if everything else (State.OPEN,)))


def _judged(desk: LetterDesk, letters: list[Letter]) -> list[tuple[Letter, Verdict]]:
    """What a redrive of each letter would come to, in the order it would happen."""
    from bus.ledger import in_order
    from bus.letter_opening import judge

    found = []
    for letter, record in desk.records(in_order(letters)):
        partitions = desk.case_partitions(letter.group)
        verdict = judge(letter, record, catalogue=desk.catalogue, codec=desk.codec, case_partitions=partitions)
        found.append((letter, verdict))
    return found


def _finish(act: str, action: str, done: Done, *, count: int, json: bool) -> None:
    """Say what came of an action, and how it goes on or back. Exits 130 when stopped, 1 when letters were left."""
    from bus.cli import dlq_text

    acting.tell(dlq_text.done_document(act, action, done), dlq_text.done(act, action, done, count), json=json)
    if done.stopped:
        raise typer.Exit(_STOPPED)
    if done.left:
        raise typer.Exit(1)

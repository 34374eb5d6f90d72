"""What the commands share with which an operator acts: the cluster, who acts, and a count that goes on to the end.

Called by `bus.cli.dlq` and `bus.cli.parked`. The trap it avoids: an action that breaks off without saying how far it
came and how it goes on.
"""

from __future__ import annotations

import getpass
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bus.cli import context
from bus.errors import BusError

if TYPE_CHECKING:  # clients are imported where used
    from bus.operators import Operator
    from bus.ports import Admin, Reader, TopicState

Group = Annotated[str | None, typer.Option("--group", metavar="G", help="Only this consumer group.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
By = Annotated[str | None, typer.Option("--by", metavar="WHO", help="Who acts; default this account and machine.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="WHY", help="Kept with the action; name no citizen.")]
_MOST = {"by": 100, "reason": 500}  # characters, as `schemas.bus_events.OperatorActed` takes


@contextmanager
def cluster(ctx: typer.Context) -> Iterator[tuple[Mapping[str, TopicState], Reader]]:
    """The topics of the cluster, and a reader of them."""
    from bus import core

    with admin(ctx) as asked:
        topics = asked.topics()
    reader = core.transport_of(context.settings(ctx)).reader()
    try:
        yield topics, reader
    finally:
        reader.close()


@contextmanager
def admin(ctx: typer.Context) -> Iterator[Admin]:
    """Makes topics."""
    from bus import core

    found = core.transport_of(context.settings(ctx)).admin()
    try:
        yield found
    finally:
        found.close()


@contextmanager
def operator(ctx: typer.Context, action: str, *, by: str | None, reason: str | None) -> Iterator[Operator]:
    """Writes in the name of the bus what an operator does.

    Args:
        ctx: of the command.
        action: its id.
        by: who, as given; None is this account and machine.
        reason: as given.
    """
    from bus import core
    from bus.operators import Operator
    from bus.wiring import connect

    settings = context.settings(ctx, agency="bus")
    with connect(settings=settings, transport=core.transport_of(settings)) as bus:
        yield Operator(writer=bus, by=by or _account(), action=action, reason=reason)


def check_words(**words: str | None) -> None:
    """Refuse a `by` or `reason` that no record of the action could carry. Raises UsageError."""
    from bus.errors import UsageError

    for name, word in words.items():
        if word is not None and not 1 <= len(word.strip()) <= len(word) <= _MOST[name]:
            raise UsageError(f"--{name} has {len(word)} characters.", remedy=f"Write 1 to {_MOST[name]}.")


@contextmanager
def counted(word: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr how many of `total` are done; when an error ends it, how far it came and how it goes on.

    Args:
        word: begins the sentence, such as Redriven.
        total: how many there are to do.
    """
    from bus.cli.progress import ProgressLine

    done = 0
    with ProgressLine() as line:

        def tell(count: int) -> None:
            nonlocal done
            done = count
            line(f"{word} {count:,} of {total:,}")

        try:
            yield tell
        except BusError:
            context.note(f"{word} {done:,} of {total:,}. The same command goes on with the rest.")
            raise


def tell(document: dict[str, Any], text: object, *, json: bool) -> None:
    """The one or the other on stdout.

    Args:
        document: for machines.
        text: for people.
        json: which.
    """
    if json:
        context.print_json(document)
    else:
        context.show(text)


def _account() -> str:
    try:
        who = getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name, as in many containers
        who = "unknown"
    return f"{who}@{platform.node() or 'unknown'}"[: _MOST["by"]]

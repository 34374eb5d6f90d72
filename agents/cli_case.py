"""`agencybus case trace`: where one case stands and how it came there.

Registered by `agents.commands`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bus.cli import context
from bus.errors import BusError, UsageError
from schemas import names
from schemas.envelope import format_time, format_us
from schemas.errors import NameRefused

if TYPE_CHECKING:  # imported where used, so that `--help` stays quick
    from agents.parked import Standstill
    from agents.trace import Entry, Found

app = typer.Typer(name="case", help="Look at cases.", no_args_is_help=True)


@app.command("trace")
def trace_case(
    ctx: typer.Context,
    case: Annotated[str, typer.Argument(help="The case id, for example birth-2026-000017.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show each event of a case over all agencies: who, what, when, what it waited for, which paper it replaced."""
    from agents import trace
    from bus.transport.kafka_admin import KafkaAdmin
    from bus.transport.kafka_reader import KafkaReader

    try:
        names.case_id(case)
    except NameRefused as error:
        raise UsageError(str(error)) from None
    settings = context.settings(ctx)
    admin = KafkaAdmin(settings.bootstrap)
    reader = KafkaReader(settings.bootstrap)
    try:
        found = [(f, trace.entries(reader, f)) for f in trace.find(reader, admin.topics(), case)]
    finally:
        reader.close()
        admin.close()
    if not found:
        raise BusError(
            f"No workflow knows case {case}.",
            remedy="Check the id; a case shows up when its opening event has been taken in.",
        )
    if as_json:
        documents = [_document(*one) for one in found]
        context.print_json(documents[0] if len(documents) == 1 else documents)
        return
    for one in found:
        _print(*one)


def _document(found: Found, entries: list[Entry]) -> dict[str, object]:
    case = found.case
    return {
        "case": case.id,
        "group": found.group,
        "opened": format_us(case.opened),
        "outcome": case.outcome,
        "waiting_for": sorted(case.active),
        "parked": None if found.parked is None else _standstill(found.parked),
        "events": [asdict(entry) for entry in entries],
    }


def _standstill(parked: Standstill) -> dict[str, object]:
    return {
        "since": format_time(parked.since),
        "stage": parked.stage,
        "error": parked.error,
        "entries": parked.entries,
    }


def _print(found: Found, entries: list[Entry]) -> None:
    case = found.case
    waiting = ", ".join(sorted(case.active)) or "nothing"
    state = f"closed: {case.outcome}" if case.closed else f"open, waiting at {waiting}"
    rows = [
        (
            entry.at[:23].replace("T", " "),
            entry.agency,
            entry.event,
            entry.title or entry.step,
            entry.waited_for,
            ", ".join(entry.replaced),
            f"{entry.partition}@{'gone' if entry.offset is None else entry.offset}",
        )
        for entry in entries
    ]
    columns = ("when (UTC)", "agency", "event", "step", "it waited for", "paper replaced", "position")
    context.show(context.table(f"{case.id} ({found.group}), {state}", columns, rows))
    if found.parked is not None:
        context.show(found.parked.text(found.group, case.id))

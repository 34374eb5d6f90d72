"""`agencybus lag`: one row per group, topic and partition; who waits, how long, and which case.

Registered by `bus.cli.main`. The trap it avoids: a dash that means "unknown" shown as 0.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bus.cli import context

if TYPE_CHECKING:  # clients and rich are imported where used
    from rich.table import Table

    from bus.lag import Row
    from bus.lag_probe import LagProbe

_SHOWN = 40  # rows of the live table: more than a screen holds; the worst come first


def register(app: typer.Typer) -> None:
    """Add the command of this file to `app`."""
    app.command("lag")(lag)


def lag(
    ctx: typer.Context,
    *,
    group: Annotated[str | None, typer.Option(help="Only this consumer group.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing, oldest first, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON document per look.")] = False,
) -> None:
    """Show how far consumer groups are behind. A dash is unknown or not committed, never zero."""
    from bus import lag as rules
    from bus.clock import SystemClock

    clock = SystemClock()
    with _probe(ctx) as probe:
        if watch and not json:
            _watch(probe, group, every)
            return
        while True:
            found, at = probe.sample(group), clock.now()
            if json:
                context.print_json(rules.document(found, at))
            else:
                context.show(_table(found, at))
            if not watch:
                return
            time.sleep(every)


@contextmanager
def _probe(ctx: typer.Context) -> Iterator[LagProbe]:
    from bus.clock import SystemClock
    from bus.core import transport_of
    from bus.lag_probe import LagProbe

    transport = transport_of(context.settings(ctx))
    admin = transport.admin()
    try:
        reader = transport.reader()
        try:
            yield LagProbe(admin, reader, clock=SystemClock())
        finally:
            reader.close()
    finally:
        admin.close()


def _watch(probe: LagProbe, group: str | None, every: float) -> None:
    """Show the oldest waiting rows until interrupted; a broker that goes away is said and asked again."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from bus.clock import SystemClock
    from bus.errors import Unreachable

    clock = SystemClock()
    found = _worst(probe.sample(group))
    with Live(_table(found, clock.now()), refresh_per_second=4, screen=False) as live:
        while True:
            time.sleep(every)
            try:
                found = _worst(probe.sample(group))
            except Unreachable as error:
                live.update(Group(_table(found, clock.now()), Text(f"Not current: {error}", style="red")))
                continue
            live.update(_table(found, clock.now()))


def _worst(found: list[Row]) -> list[Row]:
    """The rows a person should see first."""
    return sorted(found, key=lambda row: (-(row.oldest_age_s or 0), -(row.lag or 0)))[:_SHOWN]


def _table(found: list[Row], at: datetime) -> Table:
    columns = ["group", "topic", "partition", "committed", "end", "lag", "state", "oldest", "case"]
    cells = [
        [r.group, r.topic, r.partition, r.committed, r.end, r.lag, r.state, context.age(r.oldest_age_s), r.case]
        for r in found
    ]
    return context.table(f"Lag at {at:%H:%M:%S} UTC", columns, cells)

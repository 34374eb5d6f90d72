"""`agencybus replay FILE`: puts the steps of `connectors.replay` in order and shows what they say.

Registered by `connectors.commands`. The trap it avoids: Ctrl-C or SIGTERM in the middle leaves a worker behind; both
end the blocks in order, say how far the run got, and give 130.
"""

from __future__ import annotations

import secrets
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bus.cli import context, options

if TYPE_CHECKING:  # imported where used, so that --help stays quick
    from bus.settings import Settings
    from connectors.replay import ReplayPlan
    from connectors.replay_report import Report

_INTERRUPTED = 130


def replay(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="An event log: XES or CSV, plain or gzip.")],
    *,
    speed: Annotated[str, typer.Option(help="max, or recorded seconds per second, e.g. 3600.")] = "max",
    deadline: Annotated[
        str | None, typer.Option(help="Case attribute that holds the deadline; default `deadline` where there is one.")
    ] = None,
    host: Annotated[str, typer.Option(help="What runs the workflow: faust or aiokafka.")] = "faust",
    run: Annotated[str | None, typer.Option(help="Id of the run, part of its case ids; default from the time.")] = None,
    case: Annotated[str | None, typer.Option(help="Column (XES: attribute) that names the case.")] = None,
    activity: Annotated[str | None, typer.Option(help="Column (XES: attribute) that names the activity.")] = None,
    timestamp: Annotated[str | None, typer.Option(help="Column (XES: attribute) that holds the time.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Delimiter of a CSV log.")] = None,
    time_format: Annotated[str | None, typer.Option(help="iso, s, ms, us, or a strptime format (CSV).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of a CSV log, e.g. latin-1.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON document.")] = False,
) -> None:
    """Publish a recorded log in time order, let a workflow follow every case, and report what it found."""
    from connectors.csv_log import CsvOptions
    from connectors.replay import ReplayPlan
    from connectors.replay_events import run_id

    plan = ReplayPlan(
        path=file,
        run=run_id(run, now=datetime.now(UTC), token=secrets.token_hex(2)),
        host=options.known_host(host),
        speed=options.pace(speed, option="--speed", example=3600),
        deadline=deadline,
        columns=CsvOptions(
            case=case,
            activity=activity,
            timestamp=timestamp,
            delimiter="\t" if delimiter in ("tab", "\\t") else delimiter,
            time_format=time_format,
            encoding=encoding,
        ),
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _show(_replay(plan, context.settings(ctx)), as_json=as_json)


def _replay(plan: ReplayPlan, settings: Settings) -> Report:
    from bus.children import Children
    from bus.wiring import connect
    from connectors import replay as steps
    from connectors.merge_sort import Sorter

    watch = steps.Watch(say=context.note)
    sender: steps.Sender | None = None
    try:
        with Sorter() as sorter:
            deadlines = steps.sort(plan, sorter, watch.say)
            with connect(agency="replay", settings=settings) as bus:
                admin, reader = bus.core.transport.admin(), bus.core.transport.reader()
                starts = steps.prepare(plan, admin, reader)
                watch.say(f"run {plan.run}, group {plan.group}, host {plan.host}")
                sender = steps.Sender(bus, plan, deadlines, watch)
                with Children(settings.bootstrap) as worker:
                    worker.start("workflow worker", _worker(plan))
                    begun = time.monotonic()
                    sender.send(sorter.ordered(), total=sorter.events, worker=worker)
                    steps.wait(plan, admin, targets=sender.targets, worker=worker, watch=watch)
                    seconds = time.monotonic() - begun
                if deadlines.passed_over:
                    watch.say(f"{deadlines.passed_over:,} values of {deadlines.attribute} are no times: not armed")
                return steps.report(plan, bus, reader, starts=starts, published=sender.tally, seconds=seconds)
    except KeyboardInterrupt:
        sent = sender.tally.events if sender else 0
        context.note(f"stopped: {sent:,} events of run {plan.run} were published, the worker is stopped")
        raise typer.Exit(_INTERRUPTED) from None


def _worker(plan: ReplayPlan) -> list[str]:
    options = {"group": plan.group, "case-prefix": f"{plan.run}/", "host": plan.host}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return ["worker", "run", "recorded", *words]


def _show(report: Report, *, as_json: bool) -> None:
    document = report.document()
    if as_json:
        context.print_json(document)
        return
    plain = ("run", "cases", "events", "deadline_breaches", "first", "last", "host", "seconds")
    context.show(context.table("Replay", ("", ""), [(word.replace("_", " "), _text(document[word])) for word in plain]))
    for word in ("activities", "outcomes"):
        rows = sorted(document[word].items(), key=lambda row: (-row[1], row[0]))
        title = {"activities": "Events by activity", "outcomes": "Cases by last activity"}[word]
        context.show(context.table(title, ("activity", "count"), rows))


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)

"""`agencybus connector run|check`: simulated offices and relays as processes, offices one each or all in one.

Registered by `connectors.commands`. The trap it avoids: an office that dies alone in a process of several leaves the
others working on a case that cannot end; the first failure stops all and is the command's own.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from bus.cli import context, options
from bus.errors import Refused, UsageError

if TYPE_CHECKING:  # imported where used, so that --help stays quick
    from bus.settings import Settings
    from connectors.office import Desk
    from connectors.simulators.civil_registry import CivilRegistry
    from connectors.simulators.id_office import IdOffice
    from connectors.simulators.social_fund import SocialFund

app = typer.Typer(name="connector", help="Run the simulated offices.", no_args_is_help=True)


class Name(StrEnum):
    """What can be run: one office, `offices` for all that answer events, or the relay of an outbox."""

    CLINIC = "clinic"
    CIVIL_REGISTRY = "civil-registry"
    ID_OFFICE = "id-office"
    SOCIAL_FUND = "social-fund"
    OFFICES = "offices"
    OUTBOX_RELAY = "outbox-relay"


_TARGETS = (Name.CIVIL_REGISTRY, Name.ID_OFFICE, Name.SOCIAL_FUND)


@app.command("run")
def run(
    ctx: typer.Context,
    name: Annotated[Name, typer.Argument(help="Which; offices is all but the clinic, in one process.")],
    *,
    births: Annotated[int, typer.Option(min=1, help="Clinic: how many children.")] = 100,
    seed: Annotated[int, typer.Option(help="Clinic: chooses the families.")] = 1,
    rate: Annotated[str, typer.Option(help="Clinic: births a second, or max.")] = "max",
    year: Annotated[int | None, typer.Option(min=1900, max=2100, help="Clinic: year of birth; default this.")] = None,
    run_id: Annotated[str | None, typer.Option("--run", help="Clinic: part of case ids; default the year.")] = None,
    exit_when_idle: Annotated[
        float | None, typer.Option(min=0.5, help="Offices and relay: end after so many seconds without an event.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="AGENCYBUS_DATABASE",
            show_envvar=True,
            help="Relay, social fund: postgresql://USER:PASSWORD@HOST/NAME or sqlite:///FILE.",
        ),
    ] = None,
) -> None:
    """Run one office, or all that answer, until done, Ctrl-C or SIGTERM. People and names are synthetic.

    With a database the social fund keeps its books there, and answers through an outbox; the relay publishes one.
    """
    settings = context.settings(ctx)
    stop = _stopper()
    if name is Name.OUTBOX_RELAY or (name is Name.SOCIAL_FUND and database is not None):
        _on_database(name, settings, database, stop, idle_s=exit_when_idle)
        return
    if name is Name.CLINIC:
        year = year or datetime.now(UTC).year
        _clinic(
            settings,
            stop,
            births=births,
            seed=seed,
            rate=options.pace(rate, option="--rate", example=50),
            year=year,
            run_id=run_id or str(year),
        )
        return
    _offices(_TARGETS if name is Name.OFFICES else (name,), settings, stop, idle_s=exit_when_idle)


@app.command("check")
def check(ctx: typer.Context) -> None:
    """Check that the broker answers and has the offices' topics."""
    from bus.core import transport_of
    from connectors.simulators.social_fund import ASSIGNED

    wanted = ["health.birth.notified.v1", "justice.document.issued.v1", ASSIGNED, "interior.identity.entered.v1"]
    wanted += [_target(name).listens for name in _TARGETS]
    admin = transport_of(context.settings(ctx)).admin()
    try:
        missing = sorted(set(wanted) - admin.topics().keys())
    finally:
        admin.close()
    if missing:
        text = f"Topics are missing: {', '.join(missing)}."
        raise Refused(text, field="topics", remedy="Run `agencybus topics apply`.")
    context.note(f"ok: the broker has the {len(set(wanted))} topics of the offices")


def _stopper() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set, so that every office ends after its batch."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _on_database(
    name: Name, settings: Settings, database: str | None, stop: threading.Event, *, idle_s: float | None
) -> None:
    if database is None:
        raise UsageError("The relay needs a database.", remedy="Give --database, or set AGENCYBUS_DATABASE.")
    try:
        from connectors import cli_database
    except ModuleNotFoundError as missing:
        if missing.name not in ("sqlalchemy", "pg8000"):
            raise
        raise UsageError("Databases are an extra.", remedy="Install agencybus[sql].") from None
    serve = cli_database.relay if name is Name.OUTBOX_RELAY else cli_database.fund
    serve(settings, database, stop, idle_s=idle_s)


def _clinic(
    settings: Settings, stop: threading.Event, *, births: int, seed: int, rate: float | None, year: int, run_id: str
) -> None:
    from bus.wiring import connect
    from connectors.feed import Feed
    from connectors.simulators.clinic import Clinic
    from schemas import names

    names.case_id(f"birth-{run_id}-{births:06d}")
    clinic = Clinic(births=births, seed=seed, year=year, run=run_id)
    with connect(agency=clinic.agency, settings=settings) as bus:
        published = Feed(bus, rate=rate, stop=stop.is_set).run(clinic)
    context.note(f"clinic: {published:,} of {births:,} births told (synthetic families, seed {seed})")


@dataclass(slots=True)
class _Failure:
    """The first failure of an office."""

    error: BaseException | None = None


def _offices(names: tuple[Name, ...], settings: Settings, stop: threading.Event, *, idle_s: float | None) -> None:
    """Serve each office in a thread of its own. Raises what the first one raised."""
    failure = _Failure()
    with ExitStack() as opened:
        threads = []
        for name in names:
            desk, say = _open(name, settings, stop, opened)
            work = partial(_serve, name, desk, say, stop=stop, failure=failure, idle_s=idle_s)
            threads.append(threading.Thread(target=work, name=name))
        context.note(f"serving: {', '.join(names)}")
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)  # in turns, so that signals are heard
    if failure.error is not None:
        raise failure.error


def _serve(
    name: Name,
    desk: Desk,
    say: Callable[[], str],
    *,
    stop: threading.Event,
    failure: _Failure,
    idle_s: float | None,
) -> None:
    try:
        counts = desk.serve(idle_s=idle_s)
        context.note(f"{name}: {counts.handled:,} events handled, {counts.published:,} published{say()}")
    except BaseException as error:  # noqa: BLE001  # handed to the main thread, which raises it
        failure.error = failure.error or error
        stop.set()


def _open(name: Name, settings: Settings, stop: threading.Event, opened: ExitStack) -> tuple[Desk, Callable[[], str]]:
    """A connected office, closed with `opened`, and what it has to say at the end."""
    from bus.wiring import connect
    from connectors.office import Desk
    from connectors.simulators.social_fund import Ledger, SocialFund

    target = _target(name)
    bus = opened.enter_context(connect(agency=target.agency, settings=settings))
    if not isinstance(target, SocialFund):
        return Desk(bus, target, stop=stop.is_set), lambda: ""
    reader = bus.core.transport.reader()
    opened.callback(reader.close)
    ledger = Ledger(reader, target)

    def words() -> str:
        return f"; {ledger.effects:,} benefits assigned in all, {ledger.repetitions:,} repetitions recognised"

    return Desk(bus, target, stop=stop.is_set, memory=ledger), words


def _target(name: Name) -> CivilRegistry | IdOffice | SocialFund:
    from connectors.simulators.civil_registry import CivilRegistry
    from connectors.simulators.id_office import IdOffice
    from connectors.simulators.social_fund import SocialFund

    if name is Name.CIVIL_REGISTRY:
        return CivilRegistry()
    return IdOffice() if name is Name.ID_OFFICE else SocialFund()
